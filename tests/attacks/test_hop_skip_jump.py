import importlib

import pytest
import torch

from iqattack.attacks.decision_based.hop_skip_jump import gradient_direction, hop_skip_jump
from iqattack.objectives import ScoreBoundary

GOAL = ScoreBoundary(1.0, 0.2)


@pytest.fixture
def on_the_boundary(make_task, linear):
    """A point on the boundary of a linear model, its task, its gain and the normal."""

    def make(offset: float = 0.0):
        image = torch.full((3, 8, 8), 128.0)
        task = make_task(image, radius=100.0, queries=10_000)
        w = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
        w /= w.norm()
        gain = linear(image, w * GOAL.gain / 50.0)
        return task, gain, image + (50.0 + offset) * w, w

    return make


@pytest.mark.parametrize(("batch", "cosine"), [(100, 0.50), (1000, 0.88)])
@pytest.mark.parametrize("rounded", [False, True])
def test_the_estimate_points_along_the_normal(
    on_the_boundary, play, batch, cosine, rounded
) -> None:
    """N signs of n Gaussian values: the cosine is about √(2N / (2N + πn)), here n = 192."""
    task, gain, x_t, w = on_the_boundary()
    v = play(
        gradient_direction(task, x_t, GOAL, batch, 192**0.5 * 2), task, gain, rounded=rounded
    ).result
    assert float((v * w).sum() / v.norm()) == pytest.approx(cosine, abs=0.07)


def test_the_baseline_helps_off_the_boundary(on_the_boundary, play) -> None:
    """Eq. 16: where most probes cross, their mean is taken off."""
    task, gain, x_t, w = on_the_boundary(offset=1.5)
    played = play(gradient_direction(task, x_t, GOAL, 1000, 192**0.5), task, gain, rounded=False)
    crossed = sum(GOAL.crossed(g) for g in played.gains)
    assert crossed > 900
    with_baseline = played.result
    u = torch.stack(played.images) - x_t
    phi = torch.tensor([1.0 if GOAL.crossed(g) else -1.0 for g in played.gains])
    without = (phi[:, None, None, None] * u).sum(dim=0)
    assert float((with_baseline * w).sum() / with_baseline.norm()) > float(
        (without * w).sum() / without.norm()
    )


def test_where_all_probes_agree_there_is_still_a_direction(on_the_boundary, play) -> None:
    task, _, x_t, _ = on_the_boundary()
    for gain in (0.0, 1.0):
        played = play(gradient_direction(task, x_t, GOAL, 10, 20.0), task, lambda x, g=gain: g)
        assert played.result.norm() > 0.0


def test_batches_grow_with_the_root_of_t(make_task, play, linear, monkeypatch) -> None:
    module = importlib.import_module("iqattack.attacks.decision_based.hop_skip_jump")
    asked = []

    def recorded(task, x_t, goal, batch, delta):
        asked.append(batch)
        return gradient_direction(task, x_t, goal, batch, delta)

    monkeypatch.setattr(module, "gradient_direction", recorded)
    image = torch.full((3, 8, 8), 128.0)
    task = make_task(image, radius=100.0, queries=1000)
    w = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    play(hop_skip_jump(task), task, linear(image, w * 0.2 / (40.0 * w.norm())))
    assert asked[:5] == [100, 141, 173, 200, 224]


def test_linf_makes_the_largest_change_small(make_task, play, linear) -> None:
    """On a linear model the least largest change that crosses is b·reach/‖w‖₁, here 3 levels."""
    image = torch.full((3, 8, 8), 128.0)
    w = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    gain = linear(image, w * GOAL.gain / (3.0 * w.abs().sum()))
    least = {}
    for norm in ("l2", "linf"):
        task = make_task(image, radius=100.0, queries=1500, boundary=GOAL)
        played = play(hop_skip_jump(task, norm=norm), task, gain)
        pairs = zip(played.images, played.gains, strict=True)
        least[norm] = min(float((x - image).abs().max()) for x, g in pairs if GOAL.crossed(g))
    assert 3.0 <= least["linf"] <= 5.0
    assert least["linf"] < least["l2"]


@pytest.mark.parametrize(("adapt", "least"), [(100, 5), (40, 5), (1000, 4)])
def test_boundaries_that_adapt_have_estimates_that_end(
    make_task, play, linear, monkeypatch, adapt, least
) -> None:
    """A boundary's queries are enough for an estimate, and leave some for the step."""
    module = importlib.import_module("iqattack.attacks.decision_based.hop_skip_jump")
    ended = []

    def counted(*given):
        v = yield from gradient_direction(*given)
        ended.append(given[3])
        return v

    monkeypatch.setattr(module, "gradient_direction", counted)
    image = torch.full((3, 8, 8), 128.0)
    task = make_task(image, radius=8.0, queries=1500)
    w = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    most = float((w.abs() * 8.0).sum())
    play(hop_skip_jump(task, boundary=0.02, adapt=adapt), task, linear(image, w / most))
    assert len(ended) >= least
    assert max(ended[:1]) <= min(100, adapt // 2)
