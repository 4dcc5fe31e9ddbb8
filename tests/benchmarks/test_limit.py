"""The yardstick itself, against closed forms."""

import sys

import pytest
import torch

from iqattack.models import wrap

pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra 'bench'")


@pytest.fixture
def limit(on_stand_in):
    import limit  # noqa: PLC0415 - from benchmarks/

    yield limit
    for name in ("limit", "cells", "common", "fingerprints", "scorers", "scnn", "max_pooling"):
        sys.modules.pop(name, None)


def test_what_queries_buy(limit):
    assert limit.cosine_of(2000, 20, 224 * 224) == pytest.approx(0.0446, abs=1e-4)
    assert limit.cosine_of(10**9, 1, 100) == 1.0


@pytest.mark.parametrize("cosine", [0.0, 0.045, 0.3, 1.0])
def test_an_estimate_has_its_cosine(limit, cosine):
    gradient = torch.randn(3, 24, 20, generator=torch.Generator().manual_seed(1))
    found = limit.isotropic(cosine, torch.Generator().manual_seed(2))(gradient)
    grey = gradient.sum(0)
    assert found.shape == grey.shape
    assert float(found.norm()) == pytest.approx(1.0, abs=1e-5)
    assert float((found * grey).sum() / grey.norm()) == pytest.approx(cosine, abs=1e-5)


def test_random_queries_buy_no_more(limit):
    """The sum of responses times directions, of independent normal ones."""
    pixels, queries = 400, 40
    chance = torch.Generator().manual_seed(0)
    gradient = torch.randn(pixels, generator=chance)
    found = []
    for _ in range(300):
        directions = torch.randn(queries, pixels, generator=chance)
        estimate = (directions @ gradient) @ directions
        found.append(float(torch.cosine_similarity(estimate, gradient, 0)))
    bound = limit.cosine_of(queries, 1, pixels)
    assert 0.9 * bound < sum(found) / len(found) < bound


@pytest.mark.parametrize("cell", [8, 16, 32])
def test_a_filtered_plane_is_all_filter(limit, cell):
    plane = torch.randn(32, 32, generator=torch.Generator().manual_seed(3))
    filtered = torch.einsum("k,khw->hw", torch.arange(25.0) - 7, limit.shifted(plane))
    assert limit.filtered_share(filtered, plane, cell) == pytest.approx(1.0, abs=1e-3)


def test_noise_has_the_share_of_its_numbers(limit):
    chance = torch.Generator().manual_seed(4)
    plane, gradient = torch.randn(64, 64, generator=chance), torch.randn(64, 64, generator=chance)
    assert limit.filtered_share(gradient, plane, 16) == pytest.approx(25 / 256, rel=0.2)


def test_a_look_at_a_gradient(limit, monkeypatch):
    """Grey, of one frequency, in one corner."""
    monkeypatch.setattr(limit, "CELLS", (64, 32, 16))
    gradient = torch.zeros(3, 64, 64)
    gradient[:, :16, :16] = torch.tensor([1.0, -1.0]).repeat(8)
    image = torch.randint(256, (3, 64, 64), generator=torch.Generator().manual_seed(5))
    found = limit.looked_at(gradient, image.to(torch.uint8))
    assert found["grey"] == pytest.approx(1.0)
    assert found["uneven"] == pytest.approx(4.0)  # one of 16 cells has it all
    bands = [found[str(low)] for low in limit.BANDS[:-1]]
    assert sum(bands) == pytest.approx(1.0, abs=1e-4)
    assert bands[3] + bands[4] > 0.95  # on both sides of half a cycle


def test_the_ascent_stays_in_the_box_and_counts_what_the_range_leaves(limit, monkeypatch):
    known = limit.victim("cnniqa")
    seen, model = [], known.scorer

    def score(images):
        seen.append(images)
        return model(images)

    monkeypatch.setattr(
        known,
        "scorer",
        wrap(score, name="seen", score_range=model.score_range, lower_better=model.lower_better),
    )
    gain = known.ascended(1, 3, lambda gradient: gradient)
    assert 0.0 < gain <= known.targets[1].reach
    away = torch.cat(seen).int() - known.images[1].int()
    assert int(away.abs().max()) == limit.BOX
    assert known.ascended(1, 2, torch.zeros_like) == 0.0


def test_the_victim_of_maxima_is_moved_in_few_places(limit):
    """The largest response of a channel hangs on what that one response sees."""
    from max_pooling import MaxPooling, max_pooling  # noqa: PLC0415 - from benchmarks/

    images = torch.stack(limit.victim("cnniqa").images[:3])
    scores = torch.as_tensor(max_pooling()(images))
    assert scores.shape == (3,)
    assert 0.0 < float(scores.min()) < float(scores.max()) < 1.0
    torch.manual_seed(0)
    pixels = torch.rand(1, 3, 224, 224, requires_grad=True)
    largest = MaxPooling().pooled(pixels).max()
    (gradient,) = torch.autograd.grad(largest, pixels)
    seen = gradient[0].abs().sum(0).nonzero()
    assert len(seen)
    height, width = (seen.max(0).values - seen.min(0).values + 1).tolist()
    assert max(height, width) <= 3 + 2 * (2 + 4 + 8 + 16) + 15  # convolutions, and pools between
