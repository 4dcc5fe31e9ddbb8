"""A floor under the similarity to the clean picture, enforced locally at no query."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from iqattack.errors import InputError, unknown
from iqattack.perception import SSIM_WINDOW, ssim
from iqattack.specs import number, text

HALVINGS = 8  # 1/256 of a perturbation: finer steps vanish in the rounding


class Floor(Protocol):
    """A similarity that no scored picture may fall below."""

    @property
    def spec(self) -> str:
        """Canonical text form, which `parse_floor` reads back."""
        ...

    def enforce(self, image: Tensor, rounded: Tensor) -> Tensor:
        """Pull candidates under the floor straight back towards the clean picture.

        image: (3, H, W), whole grey levels 0..255; rounded: (N, 3, H, W) float, likewise.
        Returns (N, 3, H, W) whole grey levels, each between the image and its candidate, so no box
        is left; candidates at or above the floor come back as they are. What becomes of one never
        depends on the others.
        """
        ...


@dataclass(frozen=True)
class SsimFloor(Floor):
    """SSIM to the clean picture at least `least`, strictly between 0 and 1."""

    least: float

    def __post_init__(self) -> None:
        if not 0.0 < self.least < 1.0:
            raise InputError(f"floor '{self.spec}': expected an SSIM between 0 and 1, e.g. 0.95")

    @property
    def spec(self) -> str:
        """`ssim:LEAST`."""
        return f"ssim:{text(self.least)}"

    def enforce(self, image: Tensor, rounded: Tensor) -> Tensor:
        """See `Floor`; InputError for a picture of which SSIM is not defined."""
        height, width = image.shape[-2:]
        if min(height, width) < SSIM_WINDOW:
            raise InputError(
                f"floor '{self.spec}': a picture of {width}×{height} pixels has no SSIM, "
                f"expected at least {SSIM_WINDOW}×{SSIM_WINDOW}, or no floor"
            )
        image = image.to(rounded)
        kept = [self._pull_back(image, candidate) for candidate in rounded]
        return torch.stack(kept) if kept else rounded

    def _pull_back(self, image: Tensor, candidate: Tensor) -> Tensor:
        """Bisect the share t of the perturbation that is kept; t = 0 always satisfies."""
        if self._satisfied(image, candidate):
            return candidate
        best, low, high = image, 0.0, 1.0
        for _ in range(HALVINGS):
            t = (low + high) / 2
            shorter = torch.round(image + t * (candidate - image))
            if self._satisfied(image, shorter):
                best, low = shorter, t
            else:
                high = t
        return best

    def _satisfied(self, image: Tensor, candidate: Tensor) -> bool:
        return ssim(image, candidate).item() >= self.least


FLOORS: dict[str, Callable[[float], Floor]] = {"ssim": SsimFloor}


def parse_floor(spec: str) -> Floor:
    """Read a floor such as `ssim:0.95`; InputError if it is not one."""
    name, _, value = spec.partition(":")
    if name not in FLOORS:
        raise unknown("floor", name, FLOORS)
    return FLOORS[name](number(spec, value, "ssim:0.95"))
