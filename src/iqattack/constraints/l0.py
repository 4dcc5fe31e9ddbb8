"""A number of pixels that may change, however much."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from iqattack.constraints.base import WHITE, Box, Constraint
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

    @property
    def is_box(self) -> bool:
        """False: any pixel may change, but not all."""
        return False

    def box(self, image: Tensor) -> Box:
        """All grey levels."""
        return torch.zeros_like(image), torch.full_like(image, WHITE)

    def project(self, image: Tensor, candidates: Tensor, box: Box | None = None) -> Tensor:
        """The pixels that differ most (L2 over channels) stay, the others go back to the image."""
        lower, upper = self.box(image) if box is None else box
        clamped = candidates.clamp(lower, upper)
        change = (clamped.float() - image).square().sum(dim=1).flatten(1)
        most = min(int(self.pixels), change.shape[1])
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

    def box(self, image: Tensor) -> Box:
        """All grey levels."""
        return torch.zeros_like(image), torch.full_like(image, WHITE)
