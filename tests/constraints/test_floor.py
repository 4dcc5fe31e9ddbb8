from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iqattack.constraints import SsimFloor, parse_floor
from iqattack.errors import InputError
from iqattack.perception import linf, rms, ssim


def case(seed: int) -> tuple[Tensor, Tensor]:
    """A smooth ramp and candidates of growing noise, whole grey levels."""
    rng = torch.Generator().manual_seed(seed)
    image = torch.linspace(20, 230, 26).round().expand(3, 18, 26).contiguous()
    strength = torch.tensor([0.0, 1.0, 4.0, 12.0, 80.0])[:, None, None, None]
    change = strength * torch.randn(5, 3, 18, 26, generator=rng)
    return image, (image + change).clamp(0, 255).round()


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), least=st.floats(0.05, 0.999))
def test_the_floor_holds_and_only_pulls_back_what_is_below(seed, least) -> None:
    image, candidates = case(seed)
    enforced = SsimFloor(least).enforce(image, candidates)
    assert (ssim(image, enforced) >= least).all()
    assert torch.equal(enforced, enforced.round())
    # Between the picture and the candidate, so that any box still holds.
    assert (enforced >= torch.minimum(image, candidates)).all()
    assert (enforced <= torch.maximum(image, candidates)).all()
    above = ssim(image, candidates) >= least
    assert torch.equal(enforced[above], candidates[above])
    for one, alone in zip(candidates, enforced, strict=True):
        assert torch.equal(SsimFloor(least).enforce(image, one[None])[0], alone)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), floors=st.lists(st.floats(0.05, 0.999), min_size=2, max_size=4))
def test_a_higher_floor_never_lets_more_through(seed, floors) -> None:
    image, candidates = case(seed)
    kept = [rms(image, SsimFloor(least).enforce(image, candidates)) for least in sorted(floors)]
    for more, less in pairwise(kept):
        assert (less <= more).all()


def test_most_of_the_perturbation_is_kept() -> None:
    """The result is the candidate shortened, and the next longer step would be under the floor."""
    image, candidates = case(3)
    strongest = candidates[-1:]
    enforced = SsimFloor(0.9).enforce(image, strongest)
    t = (linf(image, enforced) / linf(image, strongest)).item()
    assert 0 < t < 1
    longer = torch.round(image + min(1.0, t + 2 / 256) * (strongest - image))
    assert ssim(image, longer).item() < 0.9 <= ssim(image, enforced).item()


def test_a_picture_too_small_for_ssim_is_refused() -> None:
    image = torch.zeros(3, 10, 30)
    with pytest.raises(InputError, match=r"ssim:0.95.*30×10 pixels.*11×11"):
        SsimFloor(0.95).enforce(image, image[None])


def test_no_candidates() -> None:
    assert SsimFloor(0.9).enforce(torch.zeros(3, 16, 16), torch.zeros(0, 3, 16, 16)).shape[0] == 0


@pytest.mark.parametrize(
    ("spec", "canonical"), [("ssim:0.95", "ssim:0.95"), ("ssim:.9", "ssim:0.9")]
)
def test_specs_read_back(spec, canonical) -> None:
    floor = parse_floor(spec)
    assert floor.spec == canonical
    assert parse_floor(floor.spec) == floor


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("ssin:0.95", "unknown floor 'ssin': did you mean 'ssim'"),
        ("ssim:high", "'ssim:high': 'high' is not a number, expected e.g. ssim:0.95"),
        ("ssim", "'ssim': '' is not a number"),
        ("ssim:95", "'ssim:95': expected an SSIM between 0 and 1"),
        ("ssim:0", "expected an SSIM between"),
        ("ssim:1", "expected an SSIM between"),
        ("ssim:nan", "expected an SSIM between"),
    ],
)
def test_bad_specs_say_what_was_expected(spec, message) -> None:
    with pytest.raises(InputError) as caught:
        parse_floor(spec)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
