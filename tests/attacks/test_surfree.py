import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from iqattack.attacks.decision_based.surfree import RELEASED, Constants, shorten, surfree
from iqattack.attacks.shared.start import towards_image
from iqattack.objectives import ScoreBoundary

GOAL = ScoreBoundary(reach=1.0, fraction=0.2)
OPTIMUM = 40.0  # distance of the boundary from the image in the linear models below


@pytest.fixture(scope="module")
def smooth_model(make_task, linear):
    """A linear model with smooth weights, and an image that crosses 3 times as far as needed."""

    def model(side: int, noise: float = 6.0, seed: int = 0):
        values = np.random.default_rng(seed).standard_normal((3, side, side))
        w = torch.from_numpy(gaussian_filter(values, (0, 4, 4)).astype(np.float32))
        w /= w.norm()
        task = make_task(torch.full((3, side, side), 128.0), radius=128.0)
        v = torch.randn(w.shape, generator=task.rng)
        v -= (v * w).sum() * w
        x_b = task.image + OPTIMUM * (3.0 * w + noise * v / v.norm())
        return task, linear(task.image, w * GOAL.gain / OPTIMUM), x_b

    return model


def distance(task, x) -> float:
    return float(torch.linalg.vector_norm(x - task.image))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), side=st.integers(1, 12))
def test_a_round_never_lengthens_and_ends_across(
    smooth_model, play, linear, make_task, seed, side
) -> None:
    rng = torch.Generator().manual_seed(seed)
    task = make_task(torch.full((3, side, side), 128.0), radius=128.0, seed=seed)
    w, noise = torch.randn(2, 3, side, side, generator=rng)
    x_b = task.image + 20.0 * (w / w.norm() + noise / noise.norm())
    gain = linear(task.image, w)
    goal = ScoreBoundary(1e6, gain(x_b) / 2e6)
    if gain(x_b) <= 0.0:
        return
    theta = RELEASED.theta_max
    for _ in range(3):
        before = distance(task, x_b)
        played = play(shorten(task, x_b, goal, 60, theta), task, gain, 1000, rounded=False)
        x_b, theta = played.result
        assert len(played.gains) <= 60
        assert all(distance(task, z) <= before * (1 + 1e-5) for z in played.candidates)
        assert distance(task, x_b) <= before * (1 + 1e-5)
        assert gain(x_b) >= goal.gain - 1e-4


def test_every_point_it_returns_was_scored_and_crossed(smooth_model, play) -> None:
    task, gain, x_b = smooth_model(8)
    theta = RELEASED.theta_max
    for _ in range(20):
        played = play(shorten(task, x_b, GOAL, 100, theta), task, gain, 1000)
        found, theta = played.result
        if not torch.equal(found, x_b):
            which = [n for n, z in enumerate(played.candidates) if torch.equal(z, found)]
            assert GOAL.crossed(played.gains[which[-1]])
        x_b = found


@pytest.mark.parametrize(("rounded", "factor"), [(False, 1.05), (True, 1.35)])
def test_on_a_linear_model_it_approaches_the_known_optimum(
    smooth_model, play, rounded, factor
) -> None:
    """gain·range/‖w‖; rounding to 8 bits stops it earlier, since last steps are below one level."""
    task, gain, x_b = smooth_model(8)
    assert distance(task, x_b) > 6 * OPTIMUM
    theta, left = RELEASED.theta_max, 1000
    while left > 0:
        played = play(shorten(task, x_b, GOAL, min(100, left), theta), task, gain, 1000, rounded)
        x_b, theta = played.result
        left -= len(played.gains)
    assert OPTIMUM * 0.98 <= distance(task, x_b) <= factor * OPTIMUM


@pytest.mark.parametrize("queries", [0, 1, 2, 7, 100])
def test_a_round_spends_no_more_than_given(smooth_model, play, queries) -> None:
    task, gain, x_b = smooth_model(8)
    played = play(shorten(task, x_b, GOAL, queries, 0.5, Constants(steps=60)), task, gain, 10_000)
    assert played.ended
    assert len(played.gains) <= queries
    if queries == 0:
        assert torch.equal(played.result[0], x_b)


def test_angles_shrink_on_failure_and_grow_on_success(smooth_model, play) -> None:
    task, _, x_b = smooth_model(8)
    # Where nothing crosses there are two trials a step, and nothing moves.
    played = play(shorten(task, x_b, GOAL, 1000, 0.3), task, lambda x: 0.0, 10_000)
    assert played.result[1] == pytest.approx(0.3 * 0.98**10)
    assert len(played.gains) == 20
    assert torch.equal(played.result[0], x_b)
    # Where all crosses the first step leads to the image, and there is no second.
    played = play(shorten(task, x_b, GOAL, 1000, 0.3), task, lambda x: 1.0, 10_000)
    assert played.result[1] == pytest.approx(0.3 / 0.98)
    assert distance(task, played.result[0]) == pytest.approx(0.0, abs=1e-3)


def test_candidates_lie_on_the_circle_through_the_image(smooth_model, play) -> None:
    """Its diameter is the perturbation (eq. 6), so |z − (x + x_b)/2| = d/2 (Thales)."""
    task, _, x_b = smooth_model(8)
    played = play(shorten(task, x_b, GOAL, 1000, 0.3), task, lambda x: 0.0, 10_000)
    d = distance(task, x_b)
    for n, z in enumerate(played.candidates):
        assert float((z - (task.image + x_b) / 2).norm()) == pytest.approx(d / 2, rel=1e-4)
        theta = 0.3 * 0.98 ** (n // 2)
        assert distance(task, z) == pytest.approx(d * math.cos(theta), rel=1e-4)


def test_on_the_image_there_is_nothing_to_shorten(smooth_model, play) -> None:
    task, gain, _ = smooth_model(4)
    played = play(shorten(task, task.image, GOAL, 100, 0.5), task, gain, 100)
    assert played.ended
    assert not played.gains


@settings(max_examples=30, deadline=None)
@given(crossing=st.floats(0.001, 1.0), halvings=st.integers(0, 12))
def test_towards_image_halves_the_segment(make_task, play, linear, crossing, halvings) -> None:
    image, x_b = torch.full((3, 4, 4), 10.0), torch.full((3, 4, 4), 210.0)
    task = make_task(image, radius=255.0)
    gain = linear(image, torch.ones(3, 4, 4) / (48 * 200.0))  # 0 at the image, 1 at x_b
    goal = ScoreBoundary(1.0, crossing)
    played = play(towards_image(task, x_b, goal, halvings), task, gain, 100, rounded=False)
    assert len(played.gains) == halvings
    found = gain(played.result)
    assert crossing - 1e-6 <= found <= crossing + 2.0**-halvings + 1e-6


def test_the_attack_shortens_on_its_own_boundary(natural, make_task, play, linear) -> None:
    image = natural(24, 24)
    task = make_task(image, radius=30.0, queries=600)
    w = natural(48, 24)[:, 24:] - 128.0  # any weights with structure
    gain = linear(image, w / (w.abs().sum() * 30.0))
    played = play(surfree(task, boundary=0.05), task, gain)
    crossing = [i for i, g in zip(played.images, played.gains, strict=True) if g >= 0.05]
    first, *_, last = (distance(task, x) for x in crossing)
    assert last < 0.7 * first
    assert len(played.gains) == 600


def test_a_boundary_of_the_task_goes_before_its_own(natural, make_task, play, linear) -> None:
    image = natural(16, 16)
    w = natural(32, 16)[:, 16:] - 128.0
    gain = linear(image, w / (w.abs().sum() * 8.0))
    plain = make_task(image, boundary=None)
    given = make_task(image, boundary=ScoreBoundary(1.0, 0.03))
    expected = play(surfree(plain, boundary=0.03), plain, gain)
    found = play(surfree(given, boundary=0.9), given, gain)
    assert found.gains == expected.gains
    assert max(found.gains) >= 0.03


def test_without_a_crossing_candidate_it_gives_up(natural, make_task, play) -> None:
    task = make_task(natural(16, 16))
    played = play(surfree(task, starts=17), task, lambda x: -0.1)
    assert played.ended
    assert len(played.gains) == 17


def test_where_the_image_itself_is_across_it_ends(natural, make_task, play) -> None:
    task = make_task(natural(16, 16), reach=0.0)
    played = play(surfree(task), task, lambda x: 0.0)
    assert played.ended
