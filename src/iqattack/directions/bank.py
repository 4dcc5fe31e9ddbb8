"""A bank of fixed directions, named by their appearance: one query each shows what a model responds
to.

Noise and grain, checkerboards and stripes, the loss of detail by blurring and coding and its
inverse, tone, colour: the typical appearance of distorted and processed pictures, to which most
NR-IQA models were trained to respond. Each is taken to the ends of the box by its sign.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor

from iqattack.perception import bands, grey_array, locally_normalised, luma
from iqattack.pillow import Image

Grey = NDArray[np.float32]
Field = NDArray[np.floating | np.integer]


class Picture:
    """An image (3, H, W), with intermediate results that several directions share."""

    def __init__(self, image: Tensor) -> None:
        self.pixels = image.numpy()
        self.shape = self.pixels.shape[1:]
        self.grey = grey_array(image)

    @property
    def bands(self) -> Iterator[slice]:
        """Rows that a direction is made of at a time."""
        return bands(slice(0, self.shape[0]), self.shape[1])

    @cached_property
    def grey8(self) -> NDArray[np.uint8]:
        """Luma in whole grey levels."""
        return cv2.convertScaleAbs(self.grey).astype(np.uint8, copy=False)


Band = Callable[[slice], Field]  # rows to (h, W) or (3, h, W)
Make = Callable[[Picture, np.random.Generator], Band]


def _blurred(plane: NDArray[np.floating], sigma: float, rows: slice) -> Field:
    """Rows of a plane after a Gaussian blur of all of it."""
    radius = int(4.0 * sigma + 0.5)
    first = max(rows.start - radius, 0)
    found: Field = gaussian_filter(plane[first : rows.stop + radius], sigma, radius=radius)
    return found[rows.start - first : rows.stop - first]


def _grain(sigma: float) -> Make:
    """Noise of that correlation length in pixels; 0 is white."""

    def make(picture: Picture, rng: np.random.Generator) -> Band:
        noise = rng.standard_normal(picture.shape)
        return lambda rows: _blurred(noise, sigma, rows)

    return make


def _periodic(down: int, across: int) -> Make:
    """A square wave with the given half periods in pixels; 0 is constant."""

    def make(picture: Picture, _: np.random.Generator) -> Band:
        odd_row, odd_column = (
            (np.arange(side) // half if half else np.zeros(side, int)) % 2
            for side, half in zip(picture.shape, (down, across), strict=True)
        )
        return lambda rows: np.where(odd_row[rows, None] == odd_column, 1, -1)

    return make


def _diagonal(half: int, turned: int) -> Make:
    def make(picture: Picture, _: np.random.Generator) -> Band:
        columns = np.arange(picture.shape[1])

        def band(rows: slice) -> Field:
            along = columns + turned * np.arange(rows.start, rows.stop)[:, None]
            return np.where(along // half % 2 == 0, 1, -1)

        return band

    return make


def _detail(sigma: float, sign: float) -> Make:
    """What a Gaussian blur takes away: more of it sharpens, less of it blurs."""

    def make(picture: Picture, _: np.random.Generator) -> Band:
        grey = picture.grey
        return lambda rows: sign * (grey[rows] - _blurred(grey, sigma, rows))

    return make


def _coded(quality: int, sign: int) -> Make:
    """The effect of JPEG of that quality on luma, or its negative."""

    def make(picture: Picture, _: np.random.Generator) -> Band:
        file = io.BytesIO()
        Image.fromarray(picture.grey8).save(file, "JPEG", quality=quality)
        coded = np.asarray(Image.open(file))
        return lambda rows: sign * np.subtract(coded[rows], picture.grey8[rows], dtype=np.int16)

    return make


def _contrast(sign: float) -> Make:
    def make(picture: Picture, _: np.random.Generator) -> Band:
        mean = float(picture.grey.mean())
        return lambda rows: sign * (picture.grey[rows] - mean)

    return make


def _saturation(sign: float) -> Make:
    return lambda picture, _: lambda rows: sign * (picture.pixels[:, rows] - picture.grey[rows])


def _flat(value: float) -> Make:
    return lambda picture, _: lambda rows: np.full(picture.grey[rows].shape, value)


def _hue(*channels: float) -> Make:
    """A shift of its own for each of red, green and blue."""
    shifts = np.reshape(channels, (3, 1, 1))
    return lambda picture, _: lambda rows: np.broadcast_to(shifts, picture.pixels[:, rows].shape)


def _colour_noise(picture: Picture, rng: np.random.Generator) -> Band:
    signs = np.stack([_signs(rng.standard_normal(picture.shape)) for _ in range(3)])
    return lambda rows: signs[:, rows]


# Different families come first, for budgets that end early.
BANK: dict[str, Make] = {
    "noise": _grain(0.0),
    "checkerboard 1": _periodic(1, 1),
    "grain 1": _grain(1.0),
    "blur 0.6": _detail(0.6, -1.0),
    "sharpen 0.6": _detail(0.6, 1.0),
    "stripes across 1": _periodic(1, 0),
    "less JPEG 60": _coded(60, -1),
    "JPEG 30": _coded(30, 1),
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
    "JPEG 60": _coded(60, 1),
    "less JPEG 30": _coded(30, -1),
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
    """The directions of BANK for an image (3, H, W), with names, made one by one.

    names: of the wanted directions. Directions are signs −1, 0, 1 as int8: (1, H, W) if all
    channels move alike, else (3, H, W). A direction does not depend on which others are requested.
    """
    seed = int(torch.randint(2**63 - 1, (), generator=rng))
    numbers = {name: number for number, name in enumerate(BANK)}
    picture = Picture(image)
    for name in names:
        yield name, _direction(picture, BANK[name], np.random.default_rng((seed, numbers[name])))


def _direction(picture: Picture, make: Make, rng: np.random.Generator) -> Tensor:
    """(1 or 3, H, W) int8."""
    band = make(picture, rng)
    signs = np.concatenate([_signs(band(rows)) for rows in picture.bands], axis=-2)
    return torch.from_numpy(signs).reshape(-1, *picture.shape)


def _signs(field: Field) -> NDArray[np.int8]:
    return (field > 0).view(np.int8) - (field < 0).view(np.int8)


def high_frequencies(image: Tensor) -> Tensor:
    """The locally normalised luma (H, W) of an image (3, H, W), with standard deviation 1 overall.

    Zero in uniform regions.
    """
    height, width = image.shape[1:]
    plane = torch.empty(height, width, dtype=torch.float32)
    for rows in bands(slice(0, height), width):
        first = max(rows.start - 1, 0)  # the window of the first and last row reaches beyond them
        around = luma(image[:, first : rows.stop + 1])[None, None]
        plane[rows] = locally_normalised(around)[0, 0, rows.start - first :][: len(plane[rows])]
    return plane.div_(plane.std(correction=0).clamp(min=1e-6))
