"""Fixed directions by what they look like: one query each tells what a model takes for quality.

Noise and grain, checkerboards and stripes, what blurring or coding takes away or would take away,
tone, colour: what distorted and processed pictures have in common, so most NR-IQA models were
trained to see it. All of them are taken to the ends of the box by their sign.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter
from torch import Tensor

from iqattack.perception import grey_array, locally_normalised, luma

Field = NDArray[np.floating]
Make = Callable[[Tensor, np.random.Generator], Field]


def _grain(sigma: float) -> Make:
    """Noise of that correlation length in pixels; 0 is white."""

    def make(image: Tensor, rng: np.random.Generator) -> Field:
        return gaussian_filter(rng.standard_normal(image.shape[1:]), sigma)

    return make


def _periodic(down: int, across: int) -> Make:
    """A square wave with so many pixels to a half period each way; 0 is constant."""

    def make(image: Tensor, _: np.random.Generator) -> Field:
        height, width = image.shape[1:]
        rows = np.arange(height) // down if down else np.zeros(height, int)
        columns = np.arange(width) // across if across else np.zeros(width, int)
        return np.where((rows[:, None] + columns) % 2 == 0, 1.0, -1.0)

    return make


def _diagonal(half: int, turned: int) -> Make:
    def make(image: Tensor, _: np.random.Generator) -> Field:
        rows, columns = np.indices(image.shape[1:])
        return np.where((columns + turned * rows) // half % 2 == 0, 1.0, -1.0)

    return make


def _detail(sigma: float, sign: float) -> Make:
    """What a Gaussian blur takes away: more of it sharpens, less of it blurs."""

    def make(image: Tensor, _: np.random.Generator) -> Field:
        grey = grey_array(image)
        found: Field = sign * (grey - gaussian_filter(grey, sigma))
        return found

    return make


def _coded(quality: int, sign: float) -> Make:
    """What JPEG of that quality does to luma, or the contrary."""

    def make(image: Tensor, _: np.random.Generator) -> Field:
        grey = np.clip(np.rint(grey_array(image)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(grey).save(file, "JPEG", quality=quality)
        return sign * (np.asarray(Image.open(file), dtype=np.float32) - grey)

    return make


def _contrast(sign: float) -> Make:
    def make(image: Tensor, _: np.random.Generator) -> Field:
        grey = grey_array(image)
        return sign * (grey - float(grey.mean()))

    return make


def _saturation(sign: float) -> Make:
    def make(image: Tensor, _: np.random.Generator) -> Field:
        return (sign * (image - luma(image))).numpy()

    return make


def _flat(value: float) -> Make:
    return lambda image, _: np.full(image.shape[1:], value)


def _hue(*channels: float) -> Make:
    """A shift of its own for each of red, green and blue."""
    return lambda image, _: np.broadcast_to(np.reshape(channels, (3, 1, 1)), tuple(image.shape))


def _colour_noise(image: Tensor, rng: np.random.Generator) -> Field:
    return rng.standard_normal(tuple(image.shape))


# Different families come first, for budgets that end early.
BANK: dict[str, Make] = {
    "noise": _grain(0.0),
    "checkerboard 1": _periodic(1, 1),
    "grain 1": _grain(1.0),
    "blur 0.6": _detail(0.6, -1.0),
    "sharpen 0.6": _detail(0.6, 1.0),
    "stripes across 1": _periodic(1, 0),
    "less JPEG 60": _coded(60, -1.0),
    "JPEG 30": _coded(30, 1.0),
    "diagonal 2": _diagonal(2, 1),
    "less contrast": _contrast(-1.0),
    "more contrast": _contrast(1.0),
    "grain 1.5": _grain(1.5),
    "checkerboard 2": _periodic(2, 2),
    "stripes down 1": _periodic(0, 1),
    "colour noise": _colour_noise,
    "less colour": _saturation(-1.0),
    "more colour": _saturation(1.0),
    "grain 0.7": _grain(0.7),
    "blur 1": _detail(1.0, -1.0),
    "sharpen 1": _detail(1.0, 1.0),
    "darker": _flat(-1.0),
    "brighter": _flat(1.0),
    "grain 2.5": _grain(2.5),
    "blur 3": _detail(3.0, -1.0),
    "sharpen 3": _detail(3.0, 1.0),
    "JPEG 60": _coded(60, 1.0),
    "less JPEG 30": _coded(30, -1.0),
    "counterdiagonal 2": _diagonal(2, -1),
    "checkerboard 4": _periodic(4, 4),
    "stripes across 2": _periodic(2, 0),
    "stripes down 2": _periodic(0, 2),
    "less red": _hue(-1.0, 1.0, 1.0),
    "redder": _hue(1.0, -1.0, -1.0),
    "less green": _hue(1.0, -1.0, 1.0),
    "greener": _hue(-1.0, 1.0, -1.0),
    "less blue": _hue(1.0, 1.0, -1.0),
    "bluer": _hue(-1.0, -1.0, 1.0),
}


def bank(
    image: Tensor, rng: torch.Generator, names: Iterable[str] = tuple(BANK)
) -> Iterator[tuple[str, Tensor]]:
    """Names and signs −1, 0, 1 of directions of BANK for an image (3, H, W), made when asked for.

    (1, H, W) where all channels move alike, else (3, H, W), int8. A name gives the same direction
    whatever others are asked for.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=rng))
    numbers = {name: number for number, name in enumerate(BANK)}
    for name in names:
        field = BANK[name](image, np.random.default_rng((seed, numbers[name])))
        signs = torch.from_numpy(np.sign(field).astype(np.int8))
        yield name, signs.reshape(-1, *image.shape[1:])


def high_frequencies(image: Tensor) -> Tensor:
    """Luma (H, W) of an image (3, H, W), locally normalised; of deviation 1 as a whole.

    Zero where nothing happens.
    """
    normalised = locally_normalised(luma(image)[None, None])[0, 0]
    return normalised / normalised.std(correction=0).clamp(min=1e-6)
