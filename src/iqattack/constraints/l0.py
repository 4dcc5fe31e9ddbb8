"""A number of pixels that may change, however much."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iqattack.constraints.base import Constraint, Region, all_levels
from iqattack.errors import InputError
from iqattack.specs import text


@dataclass(frozen=True)
class L0(Constraint):
    """At most `pixels` pixels may differ in any channel, a whole number of at least 1."""

    pixels: float

    def __post_init__(self) -> None:
        if not (self.pixels >= 1.0 and float(self.pixels).is_integer()):
            raise InputError(
                f"constraint '{self.spec}': expected a number of pixels, at least 1, such as l0:500"
            )

    @property
    def spec(self) -> str:
        """`l0:PIXELS`."""
        return f"l0:{text(self.pixels)}"

    def around(self, image: Tensor) -> Region:
        """At most `pixels` pixels of any value."""
        return _FewPixels(image, int(self.pixels))


class _FewPixels(Region):
    is_box = False

    def __init__(self, image: Tensor, pixels: int) -> None:
        super().__init__(*all_levels(image))
        self._image = image
        self._pixels = pixels

    def project(self, candidates: Tensor) -> Tensor:
        """The pixels that differ most (L2 over channels) stay, the others go back to the image."""
        clamped = candidates.clamp(self.lower, self.upper)
        image = self._image.to(candidates)
        change = (clamped.float() - image).square().sum(dim=1).flatten(1)
        most = min(self._pixels, change.shape[1])
        keep = torch.zeros_like(change, dtype=torch.bool)
        keep.scatter_(1, change.topk(most).indices, value=True)
        return torch.where(keep.view(-1, 1, *image.shape[-2:]), clamped, image)


@dataclass(frozen=True)
class Unconstrained(Constraint):
    """Any picture, for transforms of the whole image."""

    @property
    def spec(self) -> str:
        """`none`."""
        return "none"

    def around(self, image: Tensor) -> Region:
        """All grey levels."""
        return Region(*all_levels(image))
