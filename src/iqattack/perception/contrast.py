"""Contrast of a change in each band of spatial frequency, in units of its visibility threshold.

The visibility of a change depends on its spatial frequency: at arm's length from a screen, a
checkerboard of single pixels may have several times the amplitude of one of eight pixels before it
is seen. A change is therefore decomposed as in ColorVideoVDP (Mantiuk et al., ACM TOG 2024): light
emitted by a display; luminance and two opponent colours; a Laplacian pyramid; contrast relative to
the local luminance; contrast sensitivity; and masking by contrast of the picture in the same place
and band. Unlike in ColorVideoVDP, sensitivity and masking depend on the clean picture only, and
light is linearised around it. Contrast is then a linear function of the change, so if a change is
allowed, so is any fraction of it.

Planes are float32 arrays (3, H, W), elementwise by NumPy and filtered by OpenCV.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Planes = NDArray[np.float32]
Plane = NDArray[np.float32]


@dataclass(frozen=True)
class Display:
    """A display and its viewing distance.

    peak, black, reflected: luminance in cd/m² of white, of black, and of ambient light reflected by
    the screen. pixels_per_degree: of visual angle.
    """

    peak: float
    black: float
    reflected: float
    pixels_per_degree: float


# ColorVideoVDP's `standard_fhd`: 24 inches, 1920×1080, seen from 0.6 m, contrast 1000:1, 250 lux
# of which the screen reflects 0.5 % (ideally diffuse).
OFFICE = Display(200.0, 0.2, 250.0 / math.pi * 0.005, 37.84)

# Linear sRGB to the responses of cones (CIE 2006) to Derrington, Krauskopf & Lennie's opponent
# channels (J. Physiology 1984) for a white of D65: luminance, red–green, yellow–violet.
OPPONENT = np.array(
    [[0.2332, 0.7288, 0.0890], [0.1276, -0.0871, -0.0368], [-0.2148, -0.6263, 0.8514]]
)
RGB = np.linalg.inv(OPPONENT)


@dataclass(frozen=True)
class Sensitivity:
    """Contrast sensitivity of one channel, a log-parabola (Watson & Ahumada, JoV 2005).

    peak: sensitivity in bright light at `frequency` cycles per degree. width: decades of frequency
    over which sensitivity falls to a tenth. dim, slope: below dim · frequency^slope cd/m²,
    sensitivity falls with the square root of luminance (de Vries–Rose). low_pass: whether
    sensitivity stays at its peak towards low frequencies.
    """

    peak: float
    frequency: float
    width: float
    dim: float
    slope: float
    low_pass: bool

    def at(self, frequency: float, luminance: Plane) -> Plane:
        """Sensitivity, the inverse of threshold contrast, at `frequency` cycles per degree.

        luminance: (h, w) in cd/m². Returns (h, w).
        """
        octaves = math.log10(frequency / self.frequency)
        if self.low_pass:
            octaves = max(octaves, 0.0)
        bright = self.peak * 10.0 ** -((octaves / self.width) ** 2)
        dim = self.dim * frequency**self.slope
        found = bright / np.sqrt(1.0 + dim / luminance)
        return np.asarray(found, dtype=np.float32)


# Fitted to castleCSF (Ashraf et al., JoV 2024) between 0.3 and 23 cycles per degree and 0.5 and
# 210 cd/m², as in ColorVideoVDP: `python benchmarks/visibility.py --parts sensitivity`.
SENSITIVITIES = (
    Sensitivity(332.6, 3.479, 0.991, 2.851, 1.788, low_pass=False),
    Sensitivity(567.8, 0.688, 1.492, 34.9, -0.06, low_pass=True),
    Sensitivity(80.6, 0.618, 1.523, 22.96, -0.046, low_pass=True),
)

# Masking of ColorVideoVDP (eq. 13 to 16 and its parameters, version 0.5.7): how contrast turns
# into difference, how much of the picture's contrast masks, and with which exponent, by channel;
# and how much the row's channel masks the column's.
EXPONENT = 2.264
PHASE = 10.0**-0.7955
MASKED = (1.3027, 2.8886, 3.6808)
MASKS = 2.0 ** np.array(
    [[-0.1895, -5.9622, -4.3183], [2.5656, 0.3441, -2.7196], [3.8118, -1.0052, -0.5193]]
)
SPREAD = 3.0  # pixels of a band over which contrast masks
# Weights of the residual below all bands. ColorVideoVDP almost ignores luminance there, but light
# on top of everything takes contrast from detail, which a linear measure does not see: 3 is ours.
RESIDUAL = (3.0, 1.663, 4.119)
LOWEST = 0.2  # cycles per degree, below which there is no band
FINEST = 0.3228  # centre of the second band of the highest frequency; of those below, halved each
BESIDE = np.ones((3, 3), np.uint8)  # where what exceeds a limit is weakened around it


class ContrastBands:
    """Changes of one picture by band of spatial frequency, in units of their visibility thresholds.

    image: (3, H, W), whole grey levels. unit: for each band, from the finest to the residual, the
    factor (3, h, w) from a change of light to visible contrast.
    """

    def __init__(self, image: Tensor, display: Display = OFFICE) -> None:
        pixels = image.detach().cpu().numpy().astype(np.uint8)
        value = np.arange(256) / 255.0
        curve = np.where(value > 0.04045, ((value + 0.055) / 1.055) ** 2.4, value / 12.92)
        steep = np.where(
            value > 0.04045, 2.4 / 1.055 * ((value + 0.055) / 1.055) ** 1.4, 1.0 / 12.92
        )
        span = display.peak - display.black
        light = (span * curve + display.black + display.reflected).astype(np.float32)
        # Light per grey level.
        self._slope = (span / 255.0 * steep).astype(np.float32)[pixels]
        self.unit = list(_units(_mixed(OPPONENT, light[pixels]), display))

    @property
    def memory(self) -> int:
        """The memory of its arrays, in bytes."""
        return self._slope.nbytes + sum(unit.nbytes for unit in self.unit)

    def of(self, change: Planes) -> list[Planes]:
        """The visible contrast of a change (3, H, W) in grey levels, by band; 1 is at threshold."""
        bands = self._bands(self._opponent(change))
        return [band * unit for band, unit in zip(bands, self.unit, strict=True)]

    def largest(self, change: Planes) -> float:
        """The largest absolute visible contrast of a change (3, H, W) in any band and place."""
        return max(float(max(band.max(), -band.min())) for band in self.of(change))

    def reach(self, contrast: float) -> Plane:
        """The amplitude of the finest pattern, in all channels at once, (H, W) in grey levels.

        contrast: its visible contrast in the finest band; it has none in other bands.
        """
        luminance = _mixed(OPPONENT, self._slope)[0]
        return np.asarray(contrast / (self.unit[0][0] * luminance), dtype=np.float32)

    # -- limiting ---------------------------------------------------------------------------------

    def clipped(self, change: Planes, most: float, times: int) -> Planes:
        """Clip each band of a change (3, H, W) to ±most and recombine them, `times` times.

        Bands overlap, so the result still exceeds the limit in places, by less each time.
        """
        opponent = self._opponent(change)
        for _ in range(times):
            bands = self._bands(opponent)
            for band, unit in zip(bands, self.unit, strict=True):
                limit = most / unit
                np.clip(band, -limit, limit, out=band)
            opponent = _collapsed(bands)
        return np.asarray(_mixed(RGB, opponent) / self._slope, dtype=np.float32)

    def excess(self, change: Planes, most: float, beside: int = 1) -> tuple[float, Plane]:
        """The largest visible contrast over `most`, and a divisor (H, W) ≥ 1 for the change.

        The divisor is the largest excess of any band at a place, or within `beside` pixels of the
        band around it.
        """
        divisor: Plane | None = None
        largest = 0.0
        for band in reversed(self.of(change)):
            np.abs(band, out=band)
            over = np.maximum(np.maximum(band[0], band[1]), band[2])
            over /= np.float32(most)
            largest = max(largest, float(over.max()))
            size = (over.shape[1], over.shape[0])
            over = np.maximum(over, 1.0)
            over = np.asarray(cv2.dilate(over, BESIDE, iterations=beside), dtype=np.float32)
            if divisor is not None:
                np.maximum(over, cv2.pyrUp(divisor, dstsize=size), out=over)
            divisor = over
        if divisor is None:
            raise ValueError("there is no band")
        return largest, divisor

    # -- the way there and back -------------------------------------------------------------------

    def _opponent(self, change: Planes) -> Planes:
        return _mixed(OPPONENT, change * self._slope)

    def _bands(self, opponent: Planes) -> list[Planes]:
        """A Laplacian pyramid: differences of levels, and the last level."""
        bands = []
        for _ in self.unit[1:]:
            coarser = _each(cv2.pyrDown, opponent)
            bands.append(opponent - _expanded(coarser, opponent))
            opponent = coarser
        return [*bands, opponent]


def _collapsed(bands: Sequence[Planes]) -> Planes:
    *finer, opponent = bands
    for band in reversed(finer):
        opponent = _expanded(opponent, band)
        opponent += band
    return opponent


def _units(opponent: Planes, display: Display) -> list[Planes]:
    """See `ContrastBands`; opponent: of the clean picture, cd/m²."""
    nyquist = display.pixels_per_degree / 2.0
    frequencies = [nyquist] + [nyquist * FINEST / 2**k for k in range(16)]
    below = next(k for k, frequency in enumerate(frequencies) if frequency <= LOWEST)
    count = min(max(int(math.log2(min(opponent.shape[1:]))) - 1, 0), below + 1)
    units = []
    for k, frequency in enumerate(frequencies[:count]):
        coarser = _each(cv2.pyrDown, opponent)
        ground = _expanded(coarser, opponent)
        band = opponent - ground
        luminance = np.maximum(ground[0], np.float32(0.01))
        # Bands between the finest and the residual hold half of a grating's amplitude.
        held = 1.0 if k == 0 else 0.5
        unit = np.stack([s.at(frequency, luminance) for s in SENSITIVITIES])
        unit /= luminance * np.float32(held)
        units.append(unit / _masking(np.abs(band * unit)))
        opponent = coarser
    luminance = np.full_like(opponent[0], max(float(opponent[0].mean()), 0.01))
    lowest = 0.1
    unit = np.stack([s.at(lowest, luminance) for s in SENSITIVITIES])
    unit *= np.array(RESIDUAL, np.float32)[:, None, None] / luminance
    return [*units, unit]


def _masking(contrast: Planes) -> Planes:
    """The factor ≥ 1 by which the picture's visible contrast (3, h, w) raises thresholds."""
    size = 4 * round(SPREAD) + 1
    blurred = [
        cv2.GaussianBlur(plane, (size, size), SPREAD, borderType=cv2.BORDER_REPLICATE)
        for plane in contrast
    ]
    powers = [
        (plane * np.float32(PHASE)) ** np.float32(exponent)
        for plane, exponent in zip(blurred, MASKED, strict=True)
    ]
    mixed = _mixed(MASKS.T, np.stack(powers))
    return np.asarray((1.0 + mixed) ** np.float32(1.0 / EXPONENT), dtype=np.float32)


def _mixed(matrix: NDArray[np.float64], planes: Planes) -> Planes:
    """Each plane a sum of all, elementwise, so that no BLAS decides the last bit."""
    a, b, c = planes
    return np.stack([a * x + b * y + c * z for x, y, z in matrix.astype(np.float32)])


def _each(filtered: object, planes: Planes) -> Planes:
    return np.stack([filtered(plane) for plane in planes])  # type: ignore[operator]


def _expanded(planes: Planes, like: Planes) -> Planes:
    size = like.shape[:0:-1]
    return np.stack([cv2.pyrUp(plane, dstsize=size) for plane in planes])
