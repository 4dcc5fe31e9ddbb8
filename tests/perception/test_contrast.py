"""Visible contrast by band: closed forms, the published sensitivity, and ColorVideoVDP itself."""

import math
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from iqattack.perception import OFFICE, SENSITIVITIES, ContrastBands, patterns
from iqattack.perception.contrast import EXPONENT


@pytest.fixture(scope="module")
def photo() -> torch.Tensor:
    """224×224 of a photograph that scikit-image brings along."""
    picture = data.cat()[40:264, 100:324]
    return torch.from_numpy(picture.transpose(2, 0, 1).copy())


def grey(level: int, side: int = 64) -> torch.Tensor:
    return torch.full((3, side, side), level, dtype=torch.uint8)


def checkerboard(side: int, size: int = 64) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    board = ((x // side + y // side) % 2 * 2 - 1).astype(np.float32)
    return np.broadcast_to(board, (3, size, size)).copy()


def test_nothing_changed_has_no_contrast() -> None:
    bands = ContrastBands(grey(90))
    assert bands.largest(np.zeros((3, 64, 64), np.float32)) == 0.0
    assert [band.shape[1:] for band in bands.of(checkerboard(1))] == [
        (64, 64), (32, 32), (16, 16), (8, 8), (4, 4), (2, 2),
    ]  # fmt: skip


def test_a_flat_shift_on_grey_is_all_in_the_residual() -> None:
    """Its contrast is the slope of the sRGB curve over the luminance, times the sensitivity."""
    level, change = 128, 2.0
    *finer, residual = ContrastBands(grey(level)).of(np.full((3, 64, 64), change, np.float32))
    assert max(float(np.abs(band).max()) for band in finer) < 1e-3
    value = level / 255
    span = OFFICE.peak - OFFICE.black
    # A grey of the matrix's first row, whose weights sum to 1.051.
    light = 1.051 * (span * ((value + 0.055) / 1.055) ** 2.4 + OFFICE.black + OFFICE.reflected)
    slope = 1.051 * span * 2.4 / 1.055 * ((value + 0.055) / 1.055) ** 1.4 / 255
    sensitivity = SENSITIVITIES[0].at(0.1, np.array([light], np.float32))[0]
    expected = change * slope / light * sensitivity * 3.0
    assert residual[0] == pytest.approx(np.full_like(residual[0], expected), rel=1e-3)


def test_the_finest_pattern_reaches_as_far_as_it_is_said_to() -> None:
    bands = ContrastBands(grey(128))
    far = bands.reach(2.5)
    found = bands.of(far * checkerboard(1))
    inside = found[0][0][8:-8, 8:-8]  # the border sees another pattern
    assert np.abs(inside) == pytest.approx(np.full_like(inside, 2.5), rel=0.02)
    assert max(float(np.abs(band).max()) for band in found[2:]) < 0.2


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(-3, 3), st.integers(4, 40), st.integers(4, 40))
def test_contrast_is_linear_in_the_change(seed, factor, height, width) -> None:
    rng = np.random.default_rng(seed)
    image = torch.from_numpy(rng.integers(0, 256, (3, height, width), dtype=np.uint8))
    a, b = rng.normal(0, 9, (2, 3, height, width)).astype(np.float32)
    bands = ContrastBands(image)
    factor = np.float32(factor)
    for x, y, both in zip(bands.of(a), bands.of(b), bands.of(a + factor * b), strict=True):
        size = 1.0 + float(np.abs(x).max() + abs(factor) * np.abs(y).max())
        np.testing.assert_allclose(both, x + factor * y, atol=1e-4 * size)


def test_bands_that_are_not_clipped_make_the_change_again(photo) -> None:
    rng = np.random.default_rng(0)
    bands = ContrastBands(photo)
    change = rng.normal(0, 3, (3, 224, 224)).astype(np.float32)
    assert bands.clipped(change, 1e9, 2) == pytest.approx(change, abs=2e-3)


def test_texture_hides_what_flat_ground_shows() -> None:
    rng = np.random.default_rng(0)
    image = np.full((3, 64, 128), 128.0)
    image[:, :, 64:] += rng.normal(0, 30, (1, 64, 64))
    bands = ContrastBands(torch.from_numpy(image.clip(0, 255).round().astype(np.uint8)))
    reach = bands.reach(1.0)
    assert reach[16:-16, 80:112].mean() > 1.5 * reach[16:-16, 16:48].mean()


@pytest.mark.parametrize("frequency", [0.5, 3.0, 12.0])
@pytest.mark.parametrize("luminance", [1.0, 10.0, 100.0])
def test_sensitivity_rises_with_light_by_no_more_than_its_root(frequency, luminance) -> None:
    light = np.array([luminance, 4.0 * luminance], np.float32)
    for channel in SENSITIVITIES:
        dim, bright = channel.at(frequency, light)
        assert dim < bright <= 2.0 * dim * (1 + 1e-5)


def test_it_orders_patterns_as_color_video_vdp_does(photo) -> None:
    """Differences of patterns of 3 grey levels, pooled as there, against JOD that are lost."""
    if find_spec("pycvvdp") is None:  # not imported, as that leaves its folder in sys.path
        pytest.skip("ColorVideoVDP is not installed: the extra 'visibility'")
    from scipy.stats import spearmanr  # noqa: PLC0415 - beside what may not be there

    from iqattack.perception import ColorVideoVdp  # noqa: PLC0415

    metric, image = ColorVideoVdp(), photo
    bands = ContrastBands(image)
    ours, theirs = [], []
    for name, signs in patterns(image):
        if name in ("brighter", "darker", "detail, taken away"):
            continue  # what they do to the contrast of the picture itself is not linear
        changed = (image.float() + 3.0 * torch.from_numpy(signs)).clamp(0, 255).byte()
        seen = bands.of((changed.float() - image).numpy())
        *finer, residual = (np.abs(band) for band in seen)
        differences = [band**EXPONENT for band in finer]
        differences.append(residual * np.array([0.0012, 1.0, 1.0])[:, None, None])
        pooled = [(one**2).mean(axis=(1, 2)) for one in differences]
        ours.append(sum(float((power**2).sum()) for power in pooled))
        theirs.append(10.0 - float(metric.jod(image, changed)))
    assert spearmanr(ours, theirs).statistic > 0.9
    assert not math.isnan(theirs[0])
