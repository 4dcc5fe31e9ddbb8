import numpy as np
import pytest
import torch
from scipy import ndimage
from skimage import color, data
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    visual_information_fidelity,
)

from iqattack.errors import InputError
from iqattack.samples.distortions import DISTORTIONS
from iqattack.samples.labels import (
    MEASURES,
    colour_difference,
    fused,
    gmsd,
    measured,
    ms_ssim,
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
def test_ms_ssim_and_vif_against_torchmetrics(kind, level):
    picture = distorted(kind, level)
    theirs = multiscale_structural_similarity_index_measure(
        luma(picture), luma(PHOTO), data_range=255.0
    )
    # At the last scale it counts mirrored borders too; the paper's code, and ours, do not.
    assert ms_ssim(PHOTO, picture) == pytest.approx(theirs.item(), abs=3e-3)
    theirs = visual_information_fidelity(luma(picture), luma(PHOTO))
    assert vif(PHOTO, picture) == pytest.approx(theirs.item(), abs=1e-3)


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


def test_colour_difference_against_scikit_image():
    grey = np.full((200, 200, 3), 120, np.uint8)
    shifted = grey + np.array([9, 0, 0], np.uint8)
    expected = color.deltaE_cie76(color.rgb2lab(grey[:1, :1]), color.rgb2lab(shifted[:1, :1]))
    # OpenCV interpolates a table of CIELAB.
    assert colour_difference(grey, shifted) == pytest.approx(expected.item(), rel=0.1)


def test_the_pristine_picture_has_100():
    np.testing.assert_allclose(measured(PHOTO, PHOTO), [1, 1, 0, 0], atol=1e-5)
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
    outside = np.array([[-9.0, -9, -9, -999], [9, 9, 9, 9]])
    np.testing.assert_array_equal(fused(outside, table), [0, 100])


@pytest.mark.parametrize("sides", [(175, 200), (200, 175)])
def test_pictures_too_small_for_five_scales(sides):
    picture = PHOTO[: sides[0], : sides[1]]
    with pytest.raises(InputError, match="at least 176×176"):
        pseudo_mos(picture, picture)


def test_pictures_of_two_sizes():
    with pytest.raises(InputError, match="of one size"):
        pseudo_mos(PHOTO, PHOTO[:180])
