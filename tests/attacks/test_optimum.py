"""How near each attack comes to an optimum that is known: one row each."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from iqattack.attacks import load_attack
from iqattack.objectives import ScoreBoundary

# Queries, and the least share of the largest gain in the box, on 3·8·8 = 192 values whose effects
# on the score add up.
SCORE_BASED = [
    # The last squares are single pixels; a pixel is right once three signs are drawn well at once.
    ("square", 1200, 0.9),
    ("ran", 1200, 0.7),  # of two pixels at once
    # A pattern, not single values, and not to the corner: lengths are at most 0.9 of its own.
    ("square:norm=l2,epsilon=3.6,p_init=0.1", 600, 0.3),
    # Signs of an estimate from 20 samples: a walk that goes the right way somewhat more often.
    ("nes:grey=no", 800, 0.5),
    ("nes:samples=100,grey=no", 1600, 0.75),
    # Each direction once, of the length that a whole box takes.
    ("simba", 400, 0.55),
    # Every value once, or until none is to be flipped: the optimum.
    ("simba:basis=pixel", 400, 1.0),
    ("signhunter", 512, 1.0),
    ("parsimonious", 1000, 1.0),
]


@pytest.mark.parametrize(("spec", "queries", "least"), SCORE_BASED)
@pytest.mark.parametrize("model", ["linear", "quadratic"])
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("even", [True, False])
def test_score_based_attacks_reach_a_share_of_the_optimum(
    natural, make_task, play, spec, queries, least, model, smooth, even
) -> None:
    """In a box of one width, and in one where each value has its own, as the JND gives, or none."""
    radii = torch.randint(0, 9, (3, 8, 8), generator=torch.Generator().manual_seed(4))
    task = make_task(natural(8, 8), 4.0 if even else radii.float(), queries, reach=1e9)
    drawn = np.random.default_rng(3).standard_normal((3, 8, 8))
    w = torch.from_numpy(gaussian_filter(drawn, (0, 2, 2)) if smooth else drawn)
    corner = torch.where(w > 0, task.upper, task.lower).double()
    image = task.image.double()
    if model == "linear":

        def gain(x):
            return float((w * (x - image)).sum())

    else:  # the peak is three times as far out

        def gain(x):
            peak = image + 3.0 * (corner - image)
            return float(((peak - image) ** 2).sum() - ((peak - x) ** 2).sum())

    played = play(load_attack(spec)(task), task, gain)
    best = max(played.gains)
    assert least * gain(corner) <= best * (1 + 1e-9)
    assert best <= gain(corner) * (1 + 1e-9)


# Queries, and the largest distance of a crossing image, in units of the least there is.
DECISION_BASED = [
    ("surfree", 1200, 1.3),
    ("hop-skip-jump", 1200, 1.25),
    ("geoda", 1200, 1.15),
    ("boundary", 2500, 1.5),  # random steps of the length that 8 bits can tell
]


@pytest.mark.parametrize(("spec", "queries", "most"), DECISION_BASED)
@pytest.mark.parametrize("model", ["linear", "quadratic"])
def test_decision_based_attacks_approach_the_nearest_crossing_image(
    make_task, play, spec, queries, most, model
) -> None:
    """Linear: b·reach/‖w‖ (Cauchy-Schwarz). Quadratic: what lies outside a ball crosses."""
    goal, optimum = ScoreBoundary(1.0, 0.2), 42.0
    image = torch.full((3, 8, 8), 128.0)
    task = make_task(image, radius=128.0, queries=queries, boundary=goal)
    drawn = gaussian_filter(np.random.default_rng(0).standard_normal((3, 8, 8)), (0, 4, 4))
    w = torch.from_numpy(drawn / np.linalg.norm(drawn))
    centre = image - 400.0 * w

    def gain(x):
        if model == "linear":
            return goal.gain * float((w * (x - image)).sum()) / optimum
        squared = float(((x - centre) ** 2).sum())
        return goal.gain * (squared - 400.0**2) / ((400.0 + optimum) ** 2 - 400.0**2)

    played = play(load_attack(spec)(task), task, gain)
    distances = [
        float(torch.linalg.vector_norm(x - image))
        for x, g in zip(played.images, played.gains, strict=True)
        if goal.crossed(g)
    ]
    assert distances[0] > 10 * optimum
    assert optimum * 0.999 <= min(distances) <= most * optimum
