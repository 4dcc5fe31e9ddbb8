import importlib
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from iqattack.attacks import load_attack
from iqattack.attacks.score_based.score_boundary import score_boundary as attack
from iqattack.directions import SOURCES, SUPPORTS, SparseNoise


@pytest.fixture(scope="module")
def weights():
    """Smooth weights of a linear model, (3, height, width)."""

    def make(image, sigma: float = 1.0):
        values = np.random.default_rng(0).standard_normal(image.shape)
        return torch.from_numpy(gaussian_filter(values, (0, sigma, sigma)).astype(np.float32))

    return make


def corner(task, w):
    """The image of the largest gain in the box on a linear model."""
    return torch.where(w > 0, task.upper, task.lower)


@pytest.fixture(scope="module")
def best(natural, make_task, play):
    """The largest gain of an attack in 1,000 queries; at the corner that w points at it is 1."""

    def run(name, w, gain_of) -> float:
        task = make_task(natural(32, 32), queries=1000)
        gain, optimum = gain_of(task), gain_of(task)(corner(task, w))
        played = play(load_attack(name)(task), task, lambda x: gain(x) / optimum)
        assert len(played.gains) == 1000
        assert max(played.gains) <= 1.0
        return max(played.gains)

    return run


def test_on_a_linear_model_it_reaches_a_share_of_the_optimum(
    natural, linear, weights, best
) -> None:
    """More than 0.15 of it, and three times what noise does."""
    w = weights(natural(32, 32))
    found = {n: best(n, w, lambda t: linear(t.image, w)) for n in ("score-boundary", "noise")}
    assert found["score-boundary"] > 0.15
    assert found["score-boundary"] > 3 * found["noise"]


def test_on_a_quadratic_model_it_reaches_a_share_of_the_optimum(natural, weights, best) -> None:
    """More than 0.05 of it, where noise does not even gain; the peak is three times as far out."""
    w = weights(natural(32, 32))

    def gain_of(task):
        peak = task.image + 3.0 * (corner(task, w) - task.image)
        far = float(((peak - task.image) ** 2).sum())
        return lambda x: far - float(((peak - x) ** 2).sum())

    assert best("score-boundary", w, gain_of) > 0.05
    assert best("noise", w, gain_of) < 0.0


def test_a_task_decides_everything(natural, make_task, play, linear, weights) -> None:
    image = natural(24, 40)
    gain = linear(image, weights(image) / 2000.0)
    runs = []
    for seed in (3, 3, 4):
        task = make_task(image, queries=250, seed=seed)
        torch.manual_seed(len(runs))  # an attack's randomness is its task's alone
        np.random.seed(len(runs))  # noqa: NPY002
        runs.append(torch.stack(play(attack(task), task, gain).candidates))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


# Which candidate each one starts from, None for the image, where the gains are as below and the
# only boundary lies at 0.05.
GAINS = [0.01, -0.1, 0.03, 0.02, 0.06, 0.01, 0.055, 0.07, 0.0]
GREEDY = [None, 0, 0, 2, 2, 4, 4]
CROSSING = [None, None, None, None, None, 4, 4]


@pytest.mark.parametrize(("greedy", "expected"), [(True, GREEDY), (False, CROSSING)])
def test_candidates_start_from_what_gained_or_from_what_crossed(
    natural, make_task, play, monkeypatch, greedy, expected
) -> None:
    starts = []

    class Recorded(SparseNoise):
        def draw(self, start, share, rng):
            starts.append(start)
            return super().draw(start, share, rng)

    module = importlib.import_module("iqattack.attacks.score_based.score_boundary")
    monkeypatch.setattr(module, "SparseNoise", Recorded)
    task = make_task(natural(24, 24), queries=len(GAINS))
    gains = iter(GAINS)
    options: dict[str, Any] = {"first": 0.05, "boundaries": "fixed", "surfree": 0, "halvings": 0}
    played = play(attack(task, greedy=greedy, **options), task, lambda x: next(gains))
    assert len(played.gains) == len(GAINS)  # neither SurFree nor the binary search asked
    for n, source in enumerate(expected):
        assert torch.equal(starts[n], task.image if source is None else played.images[source])


def test_with_one_support_nothing_else_changes(natural, make_task, play, linear, weights) -> None:
    image = natural(24, 24)
    task = make_task(image, queries=300)
    gain = linear(image, weights(image) / 3000.0)
    played = play(attack(task, surfree=0, supports=("edges",)), task, gain)
    edges = SUPPORTS["edges"](image)
    assert max(played.gains) > 0.01
    for candidate in played.candidates:
        assert torch.equal(candidate[:, ~edges], image[:, ~edges])


def test_it_ends_at_the_end_of_the_score_range(natural, make_task, play) -> None:
    task = make_task(natural(24, 24), queries=3000, reach=0.4)
    played = play(attack(task), task, lambda x: 0.4 if (x != task.image).any() else 0.0)
    assert played.ended
    assert max(played.gains) == task.reach


def test_windows_shrink_but_not_at_first(natural, make_task, play) -> None:
    task = make_task(natural(40, 40), queries=400)
    options: dict[str, Any] = {"supports": ("everywhere",), "sources": ("gaussian",)}
    played = play(attack(task, **options), task, lambda x: -1.0)
    changed = torch.stack(played.candidates) != task.image
    shares = changed.any(dim=1).float().mean(dim=(1, 2))
    assert (shares[:20] > 0.98).all()  # some noise rounds to nothing
    assert shares[20:].max() <= 0.12
    assert shares[300:].mean() < 0.5 * shares[20:120].mean()
    whole = play(attack(task, windows=False, **options), task, lambda x: -1.0)
    everywhere = torch.stack(whole.candidates) != task.image
    assert (everywhere.any(dim=1).float().mean(dim=(1, 2)) > 0.98).all()


def test_after_its_rounds_only_noise_asks(natural, make_task, play, monkeypatch) -> None:
    """Two queries of the binary search follow each of the first three crossings."""
    draws = []

    class Counted(SparseNoise):
        def draw(self, start, share, rng):
            draws.append(start)
            return super().draw(start, share, rng)

    module = importlib.import_module("iqattack.attacks.score_based.score_boundary")
    monkeypatch.setattr(module, "SparseNoise", Counted)
    task = make_task(natural(24, 24), queries=60)
    options: dict[str, Any] = {"boundaries": "fixed", "surfree": 0, "halvings": 2, "rounds": 3}
    play(attack(task, **options), task, lambda x: 0.5)
    assert len(draws) == 60 - 3 * 2 + 1  # the last one was not asked


@pytest.mark.parametrize(
    "options",
    [
        *(f"boundaries={rules}" for rules in ("both", "increase", "fixed")),
        "first=0.2",
        "first=1",
        "greedy=no",
        "windows=no",
        "surfree=0",
        "surfree=100",
        "halvings=0",
        "halvings=8",
        "surfree=0,halvings=0",
        "rounds=0",
        "rounds=2,surfree=100",
        "amplitudes=0.5+4+30",
        *(f"supports={name}" for name in SUPPORTS),
        *(f"sources={name}" for name in SOURCES),
        "supports=salient+edges,sources=smooth+uniform",
    ],
)
def test_every_documented_option_runs(natural, make_task, play, linear, weights, options) -> None:
    image = natural(24, 40)
    task = make_task(image, queries=60)
    gain = linear(image, weights(image) / 2000.0)
    played = play(load_attack(f"score-boundary:{options}")(task), task, gain)
    assert len(played.gains) == 60
    assert all(candidate.isfinite().all() for candidate in played.candidates)
    assert max(played.gains) > 0.0
