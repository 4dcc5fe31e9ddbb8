import importlib

import pytest
import torch
from scipy.fft import dctn
from torch import Tensor

from iqattack.attacks.decision_based.geoda import SIGMA, geoda
from iqattack.attacks.shared.start import towards_image
from iqattack.directions import low_frequency
from iqattack.objectives import ScoreBoundary


@pytest.fixture
def events(monkeypatch):
    """What it did, in order: the probes' directions, and "search" for a binary search."""
    module = importlib.import_module("iqattack.attacks.decision_based.geoda")
    seen: list[Tensor | str] = []

    def probe(*arguments):
        direction = low_frequency(*arguments)
        seen.append(direction)
        return direction.clone()

    def search(*arguments):
        seen.append("search")
        return towards_image(*arguments)

    monkeypatch.setattr(module, "low_frequency", probe)
    monkeypatch.setattr(module, "towards_image", search)
    return seen


def test_estimates_grow_as_the_best_split_of_the_budget_has_it(
    make_task, play, linear, events
) -> None:
    """λ^(−2/3) = 1.41 from one to the next; the first, of at most 80 probes, says how many."""
    image = torch.full((3, 8, 8), 128.0)
    w = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    task = make_task(image, radius=100.0, queries=2000, boundary=ScoreBoundary(1.0, 0.2))
    play(geoda(task), task, linear(image, w * 0.2 / (40.0 * w.norm())))
    sizes, size = [], 0
    for event in events:
        if isinstance(event, str):
            sizes, size = [*sizes, size], 0
        else:
            size += 1
    *found, unfinished = (n for n in (*sizes, size) if n)
    assert found == [75, 105, 148, 208, 292, 411, 577]
    assert unfinished > 0


@pytest.mark.parametrize("queries", [60, 100, 250, 500, 1000])
def test_the_first_estimate_fits_a_small_budget(make_task, play, linear, events, queries) -> None:
    image = torch.full((3, 8, 8), 128.0)
    w = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    task = make_task(image, radius=100.0, queries=queries, boundary=ScoreBoundary(1.0, 0.2))
    play(geoda(task), task, linear(image, w * 0.2 / (40.0 * w.norm())))
    searches = [n for n, event in enumerate(events) if isinstance(event, str)]
    assert len(searches) >= 2  # the first from the start, the others along an estimate
    assert 10 <= searches[1] - searches[0] - 1 <= 80


@pytest.mark.parametrize(("boundary", "first"), [(None, 37), (ScoreBoundary(1.0, 0.2), 78)])
def test_a_boundary_that_adapts_has_estimates_of_its_own_queries(
    make_task, play, linear, events, boundary, first
) -> None:
    """150 queries for each; an objective's own boundary has all 1,000."""
    image = torch.full((3, 8, 8), 128.0)
    w = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    task = make_task(image, radius=100.0, queries=1000, boundary=boundary)
    play(geoda(task, adapt=150), task, linear(image, w * 0.2 / (40.0 * w.norm())))
    searches = [n for n, event in enumerate(events) if isinstance(event, str)]
    assert searches[1] - searches[0] - 1 == first


def test_probes_are_low_frequencies_of_one_grey_level(make_task, play, events) -> None:
    image = torch.full((3, 24, 24), 128.0)
    task = make_task(image, radius=100.0, queries=60, boundary=ScoreBoundary(1.0, 0.2))
    asked = iter(range(60))  # only the first one crosses, so that probes are around it
    played = play(geoda(task), task, lambda x: 0.3 if next(asked) == 0 else 0.0)
    directions = [event for event in events if not isinstance(event, str)]
    spectrum = dctn(directions[0].numpy(), axes=(1, 2), norm="ortho")
    assert abs(spectrum[:, 12:]).max() < 1e-4
    probe = played.candidates[-1] - played.candidates[-2]  # both around the same point
    assert float(probe.std()) == pytest.approx(SIGMA * 2**0.5, rel=0.4)
