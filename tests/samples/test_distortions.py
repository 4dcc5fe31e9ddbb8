from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage import data

from iqattack.samples.distortions import (
    DISTORTIONS,
    LEVELS,
    distort,
    exposure,
    gaussian_blur,
    jpeg,
    motion_blur,
    white_noise,
)
from iqattack.samples.labels import pseudo_mos

PHOTO = np.ascontiguousarray(data.astronaut()[20:212, 130:322])


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_quality_falls_with_the_level(kind):
    mos = [pseudo_mos(PHOTO, DISTORTIONS[kind](PHOTO, k, rng())) for k in range(LEVELS + 1)]
    assert (np.diff(mos) < 0).all()
    assert mos[0] > 75
    assert mos[-1] < 60


@pytest.mark.parametrize("kind", DISTORTIONS)
@settings(max_examples=8, deadline=None)
@given(
    level=st.floats(0, LEVELS),
    sides=st.tuples(st.integers(40, 90), st.integers(40, 90)),
    seed=st.integers(0, 99),
)
def test_shape_and_type_stay_and_the_seed_decides(kind, level, sides, seed):
    picture = PHOTO[: sides[0], : sides[1]]
    before = picture.copy()
    once, again = (DISTORTIONS[kind](picture, level, rng(seed)) for _ in range(2))
    assert (once.shape, once.dtype) == (picture.shape, np.dtype(np.uint8))
    assert np.array_equal(once, again)
    assert np.array_equal(picture, before)


def test_levels_between_are_interpolated():
    noisy = DISTORTIONS["white_noise"](np.full((300, 300, 3), 128, np.uint8), 1.5, rng())
    assert noisy.std() == pytest.approx((4 + 8) / 2, rel=0.02)


def test_gaussian_blur_against_scipy():
    expected = gaussian_filter(PHOTO.astype(float), (2.0, 2.0, 0), mode="mirror", truncate=6)
    assert np.abs(gaussian_blur(PHOTO, 2.0, rng()) - expected)[9:-9, 9:-9].max() <= 1.5


def test_motion_blur_spreads_a_point_along_a_line():
    point = np.zeros((65, 65, 3), np.uint8)
    point[32, 32] = 255
    blurred = motion_blur(point, 15, rng(3))[..., 0].astype(float)
    y, x = np.nonzero(blurred)
    spread = np.sqrt(np.linalg.eigvalsh(np.cov(x, y, aweights=blurred[y, x])))
    assert spread[1] == pytest.approx(15 / np.sqrt(12), rel=0.1)  # of a uniform line
    assert spread[0] < 0.7
    flat = np.full((30, 30, 3), 77, np.uint8)
    assert np.array_equal(motion_blur(flat, 15, rng()), flat)


def test_noise_has_its_deviation_and_no_correlation_between_channels():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = white_noise(grey, 10, rng()).astype(float).reshape(-1, 3)
    np.testing.assert_allclose(noise.std(axis=0), 10, rtol=0.02)
    assert np.abs(np.corrcoef(noise.T) - np.eye(3)).max() < 0.02


def test_colour_noise_leaves_the_luma():
    noisy = DISTORTIONS["colour_noise"](np.full((200, 200, 3), 128, np.uint8), 3, rng())
    luma = noisy @ np.array([0.299, 0.587, 0.114])
    assert luma.std() < 1
    assert noisy.std() > 10


def test_jpeg_is_pillows():
    buffer = BytesIO()
    Image.fromarray(PHOTO).save(buffer, format="JPEG", quality=20)
    assert np.array_equal(jpeg(PHOTO, 20.4, rng()), np.array(Image.open(buffer)))


def test_contrast_keeps_the_mean():
    flatter = DISTORTIONS["contrast"](PHOTO, 2, rng()).astype(float)
    np.testing.assert_allclose(flatter.mean((0, 1)), PHOTO.mean((0, 1)), atol=0.5)
    np.testing.assert_allclose(flatter.std((0, 1)), 0.6 * PHOTO.std((0, 1)), rtol=0.01)


def test_quantisation_leaves_that_many_colours():
    picture = DISTORTIONS["colour_quantisation"](PHOTO, 4, rng())
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) <= 8


def test_exposure_in_linear_light():
    assert np.array_equal(exposure(PHOTO, 0.0, rng()), PHOTO)
    grey = np.full((1, 1, 3), 188, np.uint8)  # half of white in linear light
    assert exposure(grey, 1.0, rng())[0, 0, 0] == pytest.approx(255, abs=1)
    assert exposure(grey, -1.0, rng())[0, 0, 0] == pytest.approx(137, abs=1)  # a quarter


def test_steps_follow_one_another():
    steps = [("gaussian_blur", 2), ("jpeg", 3)]
    expected = DISTORTIONS["jpeg"](DISTORTIONS["gaussian_blur"](PHOTO, 2, rng()), 3, rng())
    assert np.array_equal(distort(PHOTO, steps, rng()), expected)
    assert np.array_equal(distort(PHOTO, [], rng()), PHOTO)
