"""Each band of spatial frequency may change as far as an eye hardly notices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from iqattack.constraints.base import WHITE, Constraint, Region, box_around
from iqattack.errors import InputError
from iqattack.perception import OFFICE, ContrastBands, Planes
from iqattack.specs import text

LARGEST = 1000.0  # scale, where nothing is hidden any more
FEWEST, MOST = 5.0, 500.0  # pixels per degree
CLIPS = 2  # of the bands; more keep more of a change, and take longer
CLOSER = 0.05  # how much farther than needed a change is weakened, as rounding strengthens some
HARDER = 0.1  # and how much farther each further time
PATIENT = 20  # times, before what lies farther and farther beside is weakened, too


@dataclass(frozen=True)
class Bands(Constraint):
    """No band may have more than `scale` times the contrast that is just visible there, anywhere.

    Bands are those of `perception.ContrastBands`: luminance and two opponent colours, from the
    finest detail to the mean. What is visible depends on how large pixels are seen:
    `pixels_per_degree` of visual angle, by default those of an office display (`OFFICE`); half as
    many are that display at half the distance, or a picture at twice its size.

    A scale that is not above 0 and at most 1,000, or pixels that no eye and display have, are an
    InputError.
    """

    scale: float
    pixels_per_degree: float = OFFICE.pixels_per_degree

    def __post_init__(self) -> None:
        if not 0.0 < self.scale <= LARGEST:
            raise InputError(
                f"constraint '{self.spec}': expected a scale above 0 and up to {LARGEST:g}, "
                "such as bands:3"
            )
        if not FEWEST <= self.pixels_per_degree <= MOST:
            raise InputError(
                f"constraint '{self.spec}': expected {FEWEST:g} to {MOST:g} pixels per degree, "
                "such as bands:3:19"
            )

    @property
    def spec(self) -> str:
        """`bands:SCALE`, then `:PIXELS_PER_DEGREE` unless it is the default."""
        usual = self.pixels_per_degree == OFFICE.pixels_per_degree
        return f"bands:{text(self.scale)}" + ("" if usual else f":{text(self.pixels_per_degree)}")

    def around(self, image: Tensor) -> BandsRegion:
        """The contrasts allowed here, and a box as far as the finest pattern may go."""
        display = replace(OFFICE, pixels_per_degree=self.pixels_per_degree)
        return BandsRegion(image, ContrastBands(image, display), self.scale)


class BandsRegion(Region):
    """Pictures none of whose bands differs from the image's by more than a visible contrast."""

    is_box = False

    def __init__(self, image: Tensor, bands: ContrastBands, scale: float) -> None:
        super().__init__(*box_around(image, torch.from_numpy(bands.reach(scale))))
        self.scale = scale
        self._image = image
        self._bands = bands

    @property
    def memory(self) -> int:
        """Of the thresholds, and of a pyramid while it projects."""
        return 4 * self._bands.memory

    def allows(self, change: Planes) -> bool:
        """Whether no band of a change (3, H, W) exceeds the scale; the box aside."""
        return self._bands.largest(change) <= self.scale

    def project(self, candidates: Tensor) -> Tensor:
        """Clip into the box, clip the bands, round; weaken what exceeds the scale until none does.

        What comes out has whole grey levels.
        """
        kept = [self._projected(candidate) for candidate in candidates]
        return torch.stack(kept).to(candidates) if kept else candidates

    def _projected(self, candidate: Tensor) -> Tensor:
        image = self._image.to(torch.float32)
        inside = candidate.float().clamp(self.lower, self.upper).round()
        change: Planes = (inside - image).numpy()
        if self.allows(change):
            return inside
        change = self._bands.clipped(change, self.scale, CLIPS)
        # Between the image and the candidate, as putting bands together may turn a change round.
        low, high = inside.minimum(image) - image, inside.maximum(image) - image
        change = np.rint(np.clip(change, low.numpy(), high.numpy()))
        # Each takes a grey level at least from what exceeds the scale and what is beside it. What
        # is far stronger than is allowed beside it reaches over there in the finest band.
        for times in range(WHITE):
            largest, divisor = self._bands.excess(change, self.scale, max(times - PATIENT, 0) + 1)
            if largest <= 1.0:
                break
            if not times:
                weaker = np.rint(change / (divisor * np.float32(1.0 + CLOSER)))
            else:
                weaker = np.trunc(change / (divisor * np.float32(1.0 + HARDER * times)))
            change = np.where(divisor > 1.0, weaker, change)
        else:
            return image.clone()
        return image + torch.from_numpy(change)
