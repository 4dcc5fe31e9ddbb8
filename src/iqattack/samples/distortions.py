"""Distortions of photographs at graded levels.

Each takes a picture (H, W, 3) uint8 RGB, a strength in its own unit and a random generator, and
returns a picture of the same shape and type. The types are those of KADID-10k (Lin et al., QoMEX
2019) that need nothing but a photograph. The strengths are ours: level 1 is just visible, level 5
severe.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import BytesIO

import cv2
import numpy as np
from numpy.typing import NDArray

from iqattack.pillow import Image

Picture = NDArray[np.uint8]
Floats = NDArray[np.float32]
LEVELS = 5


@dataclass(frozen=True)
class Distortion:
    """A type of distortion.

    function: applies it. strengths: at levels 0 (invisible) to 5; between levels, strength is
    interpolated linearly. unit: of the strength.
    """

    apply: Callable[[Picture, float, np.random.Generator], Picture]
    strengths: tuple[float, ...]
    unit: str

    def __call__(self, picture: Picture, level: float, rng: np.random.Generator) -> Picture:
        """Distort a picture (H, W, 3) uint8 at a level 0..5, which may be fractional."""
        return self.apply(picture, float(np.interp(level, range(LEVELS + 1), self.strengths)), rng)


def distort(
    picture: Picture, steps: Sequence[tuple[str, float]], rng: np.random.Generator
) -> Picture:
    """Apply distortions to a picture (H, W, 3) uint8 in order; without steps, return it unchanged.

    steps: (type, level) each, with types from `DISTORTIONS` and levels 0..5. rng: source of
    randomness.
    """
    for kind, level in steps:
        picture = DISTORTIONS[kind](picture, level, rng)
    return picture


def gaussian_blur(picture: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """Defocus: a Gaussian blur with σ = `sigma` pixels."""
    del rng
    return cv2.GaussianBlur(picture, (0, 0), max(sigma, 1e-3)).astype(np.uint8)


def motion_blur(picture: Picture, length: float, rng: np.random.Generator) -> Picture:
    """Camera shake: blur along a line of `length` pixels at a random angle."""
    angle = rng.uniform(0.0, np.pi)
    radius = int(np.ceil(length / 2))
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    kernel = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
    return cv2.filter2D(picture, -1, kernel / kernel.sum()).astype(np.uint8)


def white_noise(picture: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """Sensor noise: Gaussian with σ = `sigma` grey levels, independent in R, G and B."""
    return _rounded(picture + sigma * rng.standard_normal(picture.shape, dtype=np.float32))


def colour_noise(picture: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    """Gaussian noise with σ = `sigma` grey levels in the chroma only (YCbCr)."""
    ycc = cv2.cvtColor(picture, cv2.COLOR_RGB2YCrCb).astype(np.float32)
    ycc[..., 1:] += sigma * rng.standard_normal((*picture.shape[:2], 2), dtype=np.float32)
    return cv2.cvtColor(_rounded(ycc), cv2.COLOR_YCrCb2RGB).astype(np.uint8)


def jpeg(picture: Picture, quality: float, rng: np.random.Generator) -> Picture:
    """JPEG compression at a quality of 1..95, with 4:2:0 chroma subsampling."""
    del rng
    return _encoded(picture, "JPEG", quality=round(quality))


def jpeg2000(picture: Picture, ratio: float, rng: np.random.Generator) -> Picture:
    """JPEG 2000 compression at a compression ratio, with the irreversible wavelet transform."""
    del rng
    return _encoded(
        picture, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True
    )


def contrast(picture: Picture, factor: float, rng: np.random.Generator) -> Picture:
    """Reduce contrast: scale deviations from the mean colour by `factor`."""
    del rng
    mean = picture.mean(axis=(0, 1), dtype=np.float64)
    return _rounded(mean + factor * (picture - mean))


def colour_quantisation(picture: Picture, colours: float, rng: np.random.Generator) -> Picture:
    """Reduce to a palette of `colours` colours by median cut, without dithering."""
    del rng
    palette = Image.fromarray(picture).quantize(
        round(colours), Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE
    )
    return np.array(palette.convert("RGB"))


def exposure(picture: Picture, stops: float, rng: np.random.Generator) -> Picture:
    """Change the exposure: multiply linear sRGB (IEC 61966-2-1) by 2^stops, clip and round."""
    del rng
    level = np.arange(256) / 255.0
    linear = np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear * 2.0**stops, 0.0, 1.0)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    table = _rounded(255.0 * encoded)
    return np.asarray(table[picture])


def down_up(picture: Picture, factor: float, rng: np.random.Generator) -> Picture:
    """Downsample by `factor` with area averaging, then upsample with bicubic interpolation."""
    del rng
    height, width = picture.shape[:2]
    small = (max(round(width / factor), 1), max(round(height / factor), 1))
    reduced = cv2.resize(picture, small, interpolation=cv2.INTER_AREA)
    enlarged = cv2.resize(reduced, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(enlarged, dtype=np.uint8)


def _rounded(values: NDArray[np.floating]) -> Picture:
    return np.asarray(np.clip(np.rint(values), 0, 255), dtype=np.uint8)


def _encoded(picture: Picture, form: str, **options: object) -> Picture:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, format=form, **options)
    return np.array(Image.open(buffer).convert("RGB"))


DISTORTIONS: dict[str, Distortion] = {
    "gaussian_blur": Distortion(gaussian_blur, (0.3, 0.7, 1.2, 2.0, 3.2, 5.0), "σ, pixels"),
    "motion_blur": Distortion(motion_blur, (1, 3, 6, 10, 16, 24), "length, pixels"),
    "white_noise": Distortion(white_noise, (1, 4, 8, 14, 24, 40), "σ, grey levels"),
    "colour_noise": Distortion(colour_noise, (1, 6, 12, 20, 32, 50), "σ, grey levels"),
    "jpeg": Distortion(jpeg, (90, 60, 35, 20, 10, 5), "quality"),
    "jpeg2000": Distortion(jpeg2000, (4, 12, 25, 45, 80, 150), "compression ratio"),
    "contrast": Distortion(contrast, (0.95, 0.75, 0.6, 0.45, 0.3, 0.18), "factor"),
    "colour_quantisation": Distortion(colour_quantisation, (200, 64, 32, 16, 8, 4), "colours"),
    "over_exposure": Distortion(exposure, (0.1, 0.4, 0.8, 1.3, 1.9, 2.6), "stops"),
    "under_exposure": Distortion(exposure, (-0.15, -0.7, -1.4, -2.2, -3.1, -4.2), "stops"),
    "down_up": Distortion(down_up, (1.2, 1.6, 2.2, 3.0, 4.2, 6.0), "factor"),
}
