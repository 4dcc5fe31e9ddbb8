import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.constraints import L0, Unconstrained, parse_constraint
from iqattack.errors import InputError


def changed(image, candidates):
    return (candidates.round() != image).any(dim=1).flatten(1).sum(dim=1)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(1, 6), st.integers(0, 2**31))
def test_the_pixels_that_differ_most_stay(pixels, height, width, seed) -> None:
    rng = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=rng).float()
    candidates = image + 40.0 * torch.randn((4, *image.shape), generator=rng)
    found = L0(pixels).around(image).project(candidates)
    inside = candidates.clamp(0.0, 255.0)
    assert (changed(image, found) <= pixels).all()
    stays = (found == inside).all(dim=1)
    assert ((found == image).all(dim=1) | stays).all()
    if pixels < height * width:
        length = (inside - image).square().sum(dim=1)
        for one, kept in zip(length, stays, strict=True):
            assert kept.sum() >= pixels
            assert not (~kept).any() or one[kept].topk(pixels).values.min() >= one[~kept].max()
    else:
        assert stays.all()


def test_what_is_allowed_comes_back_as_it_is() -> None:
    image = torch.full((3, 5, 5), 100.0)
    candidate = image.clone()
    candidate[1, 2, 3] = 103.5
    candidate[:, 0, 0] = 0.0
    assert torch.equal(L0(2).around(image).project(candidate[None])[0], candidate)
    assert changed(image, L0(1).around(image).project(candidate[None])).item() == 1


def test_candidates_that_are_no_numbers() -> None:
    image = torch.full((3, 5, 5), 100.0)
    for value in (math.nan, math.inf, -math.inf):
        found = L0(3).around(image).project(torch.full((1, 3, 5, 5), value))
        assert (found == image).all(dim=1).sum() == 22
    assert len(L0(3).around(image).project(image[None][:0])) == 0


def test_none_allows_everything() -> None:
    image = torch.rand(3, 4, 5) * 255.0
    anything = torch.tensor([-5.0, 0.0, 17.3, 255.0, 300.0]).expand(1, 3, 4, 5)
    found = Unconstrained().around(image).project(anything)
    assert torch.equal(found, anything.clamp(0.0, 255.0))
    assert parse_constraint("none").spec == "none"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("l0", "expected l0:PIXELS, such as l0:500"),
        ("l0:0", "'l0:0': expected a number of pixels, at least 1"),
        ("l0:2.5", "expected a number of pixels"),
        ("l0:inf", "expected a number of pixels"),
        ("l0:nan", "expected a number of pixels"),
        ("l0:many", "'many' is not a number"),
        ("none:1", "none takes no value"),
    ],
)
def test_bad_specs(spec, message) -> None:
    with pytest.raises(InputError, match=message):
        parse_constraint(spec)
