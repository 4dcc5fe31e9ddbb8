import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data
from torch import Tensor

from iqattack.perception import JND_MODELS, canny, canny_structure, liu2010, yang2005

EVERY_MODEL = pytest.mark.parametrize("model", list(JND_MODELS.values()), ids=list(JND_MODELS))


def noise(seed: int, height: int, width: int) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (3, height, width), generator=rng).float()


def step(low: float, high: float) -> Tensor:
    """Columns 0 to 9 low, 10 to 19 high."""
    image = torch.full((3, 16, 20), low)
    image[:, :, 10:] = high
    return image


@EVERY_MODEL
@pytest.mark.parametrize(
    # Chou & Li: 20 on black, 3 on middle grey, 6 on white; 17(1 − √¼) + 3 at a quarter of 127.
    ("grey", "expected"),
    [(0.0, 20.0), (31.75, 11.5), (127.0, 3.0), (191.0, 4.5), (255.0, 6.0)],
)
def test_uniform_ground_has_luminance_adaptation_only(model, grey, expected) -> None:
    jnd = model(torch.full((3, 9, 12), grey))
    assert jnd.shape == (9, 12)
    assert jnd.dtype == torch.float32
    torch.testing.assert_close(jnd, torch.full((9, 12), expected), atol=1e-3, rtol=0)


def test_yang2005_across_a_step_edge_by_hand() -> None:
    """Gradients beside a vertical edge of 100: 100 over ±1 column, 100/16 one column further."""
    jnd = yang2005(step(100.0, 200.0))[8]
    # Column sums of the background kernel are 5, 8, 6, 8, 5.
    for column, background, gradient in (
        (9, (19 * 100 + 13 * 200) / 32, 100.0),
        (10, (13 * 100 + 19 * 200) / 32, 100.0),
        (11, (5 * 100 + 27 * 200) / 32, 6.25),
        (12, 200.0, 0.0),
    ):
        la = 3.0 * (background - 127.0) / 128.0 + 3.0
        cm = 0.117 * gradient
        expected = la + cm - 0.3 * min(la, cm)
        assert jnd[column].item() == pytest.approx(expected, abs=1e-3), column


def test_canny_structure_does_not_wrap_around_on_dark_edges() -> None:
    """In 8 bits, 0 − 1 on an edge would be 255 and add up to 89 grey levels."""
    image = step(0.0, 60.0)
    assert canny(image).any()
    cm_max = 0.117 * 1.0 + 0.351 * 61.0
    assert canny_structure(image).max() <= 20.0 + 0.7 * cm_max
    assert canny_structure(image).max() > 0.351 * 59.0


@EVERY_MODEL
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(1, 24), width=st.integers(1, 24))
def test_finite_and_never_below_the_least_luminance_adaptation(model, seed, height, width) -> None:
    jnd = model(noise(seed, height, width))
    assert jnd.shape == (height, width)
    assert jnd.isfinite().all()
    assert (jnd >= 3.0 - 1e-4).all()


@EVERY_MODEL
def test_texture_masks_more_than_flat_ground(model) -> None:
    image = torch.full((3, 32, 64), 127.0)
    # Cells of 2×2 pixels: a central difference does not see a finer checkerboard.
    checkerboard = (torch.arange(32)[:, None] // 2 + torch.arange(32)[None] // 2) % 2
    image[:, :, 32:] += 40.0 * (checkerboard - 0.5)
    jnd = model(image)
    assert jnd[:, 36:].mean() > 1.3 * jnd[:, :28].mean()


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(3, 24), width=st.integers(3, 24))
def test_yang2005_is_symmetric(seed, height, width) -> None:
    image = noise(seed, height, width)
    jnd = yang2005(image)
    for dims in ((-1,), (-2,)):
        mirrored = yang2005(image.flip(dims)).flip(dims)
        torch.testing.assert_close(mirrored, jnd, atol=1e-3, rtol=0)
    torch.testing.assert_close(yang2005(image.mT).mT, jnd, atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    # Not exactly symmetric: Canny breaks ties one way, and so does the discrete total variation.
    ("model", "mean_share"),
    [(canny_structure, 0.001), (liu2010, 0.025)],
)
def test_asymmetry_of_the_others_is_small_on_photographs(model, mean_share) -> None:
    image = torch.from_numpy(data.astronaut().transpose(2, 0, 1).copy()).float()
    jnd = model(image)
    for dims in ((-1,), (-2,)):
        difference = (model(image.flip(dims)).flip(dims) - jnd).abs()
        assert difference.mean() < mean_share * jnd.mean()
