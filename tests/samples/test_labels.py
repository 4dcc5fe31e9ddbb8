import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import data
from skimage.color import rgb2ycbcr
from torchmetrics.functional.image import visual_information_fidelity

from iqattack.errors import InputError
from iqattack.samples.distortions import DISTORTIONS
from iqattack.samples.labels import (
    MEASURES,
    chroma_vif,
    fused,
    gmsd,
    measured,
    pseudo_mos,
    ranking,
    vif,
)

PHOTO = np.ascontiguousarray(data.coffee()[30:222, 100:301])
LUMA = np.array([0.299, 0.587, 0.114])
SOME = [("white_noise", 3), ("gaussian_blur", 2), ("jpeg", 5), ("under_exposure", 3)]


def distorted(kind, level):
    return DISTORTIONS[kind](PHOTO, level, np.random.default_rng(1))


def luma(picture):
    return torch.from_numpy(picture @ LUMA)[None, None]


@pytest.mark.parametrize(("kind", "level"), SOME)
def test_vif_against_torchmetrics(kind, level):
    picture = distorted(kind, level)
    theirs = visual_information_fidelity(luma(picture), luma(PHOTO))
    assert vif(PHOTO, picture) == pytest.approx(theirs.item(), abs=1e-3)


def test_chroma_vif_of_one_colour_difference_against_torchmetrics():
    # Blue against yellow alone, so that red's difference has no information to lose.
    def half(picture):
        cb = rgb2ycbcr(picture)[..., 1] * 255 / 224
        return torch.from_numpy(cb.reshape(100, 2, 100, 2).mean((1, 3)))[None, None]

    rng = np.random.default_rng(0)
    waves = ndimage.gaussian_filter(rng.normal(0, 900, (200, 200)), 4)
    blue = np.clip(np.stack([128 + 0 * waves, 128 - 0.344 / 1.772 * waves, 128 + waves], 2), 0, 255)
    pristine = blue.round().astype(np.uint8)
    noisy = (blue + rng.normal(0, 9, (200, 200, 1)) * [0, -0.19, 1]).clip(0, 255)
    picture = noisy.round().astype(np.uint8)
    theirs = visual_information_fidelity(half(picture), half(pristine))
    assert chroma_vif(pristine, picture) == pytest.approx(theirs.item(), abs=0.05)
    assert chroma_vif(pristine, picture) < 0.9


def test_luma_noise_leaves_colour_and_colour_noise_leaves_luma():
    grey = np.random.default_rng(0).normal(0, 8, (*PHOTO.shape[:2], 1))
    noisy = (PHOTO + grey).clip(0, 255).round().astype(np.uint8)
    assert chroma_vif(PHOTO, noisy) > 0.9
    assert vif(PHOTO, noisy) < 0.7
    coloured = distorted("colour_noise", 3)
    assert vif(PHOTO, coloured) > 2 * chroma_vif(PHOTO, coloured)


@pytest.mark.parametrize(("kind", "level"), SOME)
def test_gmsd_against_scipy(kind, level):
    def gradient(picture):
        grey = picture @ LUMA
        half = grey[: grey.shape[0] // 2 * 2, : grey.shape[1] // 2 * 2]
        half = half.reshape(half.shape[0] // 2, 2, half.shape[1] // 2, 2).mean((1, 3))
        dx, dy = (ndimage.prewitt(half, axis) / 3 for axis in (0, 1))
        return np.hypot(dx, dy)[1:-1, 1:-1]

    x, y = gradient(PHOTO), gradient(distorted(kind, level))
    expected = ((2 * x * y + 170) / (x * x + y * y + 170)).std()
    assert gmsd(PHOTO, distorted(kind, level)) == pytest.approx(expected, abs=1e-4)


def test_the_pristine_picture_has_100():
    np.testing.assert_allclose(measured(PHOTO, PHOTO), [1, 1, 0], atol=1e-5)
    assert pseudo_mos(PHOTO, PHOTO) == 100
    flat = np.full((180, 180, 3), 90, np.uint8)
    assert pseudo_mos(flat, flat) == 100


def test_raised_contrast_counts_as_nothing_lost():
    dull, plain = (
        np.rint(100 + f * (PHOTO.astype(float) - 100)).astype(np.uint8) for f in (0.4, 0.6)
    )
    assert vif(dull, plain) == 1
    assert vif(plain, dull) < 0.9


def test_the_ranking_is_of_quantiles():
    table = ranking()
    assert table.shape == (101, len(MEASURES))
    assert (np.diff(table, axis=0) >= 0).all()
    np.testing.assert_allclose(fused(table[[0, 25, 100]], table), [0, 25, 100], atol=0.01)
    outside = np.array([[-9.0, -9, -9], [9, 9, 9]])
    np.testing.assert_array_equal(fused(outside, table), [0, 100])


@pytest.mark.parametrize("sides", [(175, 200), (200, 175)])
def test_pictures_too_small_for_the_windows(sides):
    picture = PHOTO[: sides[0], : sides[1]]
    with pytest.raises(InputError, match="at least 176×176"):
        pseudo_mos(picture, picture)


def test_pictures_of_two_sizes():
    with pytest.raises(InputError, match="of one size"):
        pseudo_mos(PHOTO, PHOTO[:180])
