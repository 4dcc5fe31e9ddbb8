"""Transforms of the whole image, and the search for their parameters."""

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
import torch
from skimage import data, exposure

from iqattack.attacks import load_attack
from iqattack.attacks.unrestricted.clahe import CLIP, TILES, equalised
from iqattack.attacks.unrestricted.gamma import GAMMA, C, corrected
from iqattack.attacks.unrestricted.parameters import Parameter, search_parameters
from iqattack.attacks.unrestricted.tone_map import BIAS, SATURATION, mapped
from iqattack.attacks.unrestricted.tone_map import GAMMA as TONE
from iqattack.attacks.unrestricted.unsharp import AMOUNT, SIGMA, sharpened

PICTURE = np.ascontiguousarray(data.coffee()[100:160, 200:290])
TRANSFORMS: dict[str, tuple[Callable[..., np.ndarray], tuple[Parameter, ...]]] = {
    "clahe": (equalised, (CLIP, TILES)),
    "gamma": (corrected, (GAMMA, C)),
    "tone-map": (mapped, (TONE, SATURATION, BIAS)),
    "unsharp": (sharpened, (AMOUNT, SIGMA)),
}


def test_gamma_is_the_power_law() -> None:
    assert np.array_equal(corrected(PICTURE, 1.0, 1.0), PICTURE)
    expected = exposure.adjust_gamma(PICTURE / 255.0, 2.2, gain=0.8)
    assert np.abs(corrected(PICTURE, 2.2, 0.8) / 255.0 - expected).max() <= 0.5 / 255.0 + 1e-9


def test_unsharp_masking_is_linear_in_its_amount() -> None:
    assert np.array_equal(sharpened(PICTURE, 0.0, 2.0), PICTURE)
    soft = sharpened(PICTURE, -1.0, 2.0).astype(float)  # the Gaussian itself
    sharp = sharpened(PICTURE, 1.0, 2.0).astype(float)
    inside = (sharp > 0.0) & (sharp < 255.0)
    assert np.abs((2.0 * PICTURE - soft - sharp)[inside]).max() <= 1.0
    assert soft.std() < PICTURE.std() < sharp.std()


def test_equalisation_stretches_contrast_and_keeps_the_hue() -> None:
    dull = (PICTURE // 4 + 96).astype(np.uint8)
    stretched = equalised(dull, 40.0, 1.0)
    assert stretched.mean(axis=2).std() > 1.5 * dull.mean(axis=2).std()
    grey = np.repeat(dull[..., :1], 3, axis=2)
    assert np.ptp(equalised(grey, 4.0, 8.0).astype(int), axis=2).max() <= 2


def test_tone_mapping_with_a_smaller_bias_lifts_dark_parts() -> None:
    dark = PICTURE.mean(axis=2) < 60
    means = [mapped(PICTURE, 1.0, 1.0, bias)[dark].mean() for bias in (0.5, 0.75, 1.0)]
    assert means == sorted(means, reverse=True)


@pytest.mark.parametrize("value", [0, 7, 255])
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 30, 3), (2, 3, 3)])
def test_flat_and_tiny_pictures(value, shape) -> None:
    flat = np.full(shape, value, np.uint8)
    for made in (
        corrected(flat, 2.0, 1.0),
        sharpened(flat, 5.0, 10.0),
        equalised(flat, 4.0, 16.0),
        mapped(flat, 2.0, 2.0, 0.5),
    ):
        assert made.shape == shape
        assert made.dtype == np.uint8


@pytest.mark.parametrize(("low", "high", "log"), [(0.25, 4.0, True), (-1.0, 5.0, False)])
def test_a_parameter_goes_over_its_range(low, high, log) -> None:
    parameter = Parameter(low, high, log)
    assert parameter.at(0.0) == low
    assert parameter.at(1.0) == high
    assert parameter.at(0.5) == pytest.approx((low * high) ** 0.5 if log else (low + high) / 2)


@pytest.mark.parametrize("optimum", [(0.3, 0.8), (0.5, 0.05)])
def test_it_finds_the_optimum_of_a_quadratic_model(make_task, play, optimum) -> None:
    """The parameters are read back from the picture, which here is nothing else."""
    task = make_task(torch.full((3, 8, 8), 9.0), radius=255.0, queries=300, reach=2.0)

    def transform(image, a, b):
        levels = [np.full(image.shape[:2], round(255 * x), np.uint8) for x in (a, b, 0.0)]
        return np.stack(levels, axis=-1)

    def gain(x):
        return 1.0 - sum((float(x[n, 0, 0]) / 255.0 - optimum[n]) ** 2 for n in range(2))

    played = play(search_parameters(task, transform, [Parameter(0, 1)] * 2), task, gain)
    assert max(played.gains) > 1.0 - 2 * (2 / 255) ** 2


@pytest.mark.parametrize("name", TRANSFORMS)
def test_on_a_linear_model_it_is_no_worse_than_a_grid(natural, make_task, play, name) -> None:
    """Brightness, the simplest linear model: CMA-ES against five values of each parameter."""
    transform, parameters = TRANSFORMS[name]
    task = make_task(natural(24, 24), radius=255.0, queries=200, reach=10.0)
    picture = np.ascontiguousarray(task.image.byte().permute(1, 2, 0).numpy())
    grid = [
        float(transform(picture, *(p.at(x) for p, x in zip(parameters, at, strict=True))).mean())
        for at in product((0.0, 0.25, 0.5, 0.75, 1.0), repeat=len(parameters))
    ]
    gain = lambda x: float(x.mean() - task.image.mean()) / 255.0  # noqa: E731
    played = play(load_attack(name)(task), task, gain)
    assert 255.0 * max(played.gains) >= max(grid) - float(task.image.mean()) - 1.0
