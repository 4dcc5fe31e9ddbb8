"""What a constraint is: where an attacked picture may lie."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

WHITE = 255

Box = tuple[Tensor, Tensor]


class Region:
    """The pictures that an attack on one picture may hand in: a box, and more where it is derived.

    lower, upper: lowest and highest allowed values, each (3, H, W), whole grey levels 0..255, of
    the image's type; lower ≤ image ≤ upper, and any allowed picture lies between them.
    """

    is_box = True  # and nothing more
    found: float | None = None  # what had to be found out about the image, for `Constraint.knowing`

    def __init__(self, lower: Tensor, upper: Tensor) -> None:
        self.lower = lower
        self.upper = upper

    @property
    def memory(self) -> int:
        """Bytes that it takes beside the box."""
        return 0

    def project(self, candidates: Tensor) -> Tensor:
        """Nearest allowed pictures to candidates (N, 3, H, W), one by one; near is enough.

        What comes out is still allowed after rounding to whole grey levels, and what is allowed
        comes out as it is.
        """
        return candidates.clamp(self.lower, self.upper)


class Constraint(Protocol):
    """Where attacked pictures may lie, whatever the picture."""

    @property
    def spec(self) -> str:
        """Canonical text form, which `parse_constraint` reads back."""
        ...

    def check(self) -> None:
        """InputError where it needs what is not installed; called before anything is asked."""
        return

    def knowing(self, found: float | None) -> Constraint:  # noqa: ARG002 - most find out nothing
        """This constraint for an image of which its region was found to have that before."""
        return self

    def around(self, image: Tensor) -> Region:
        """What is allowed for one picture, (3, H, W), whole grey levels, float32 or uint8."""
        ...


def box_around(image: Tensor, radius: Tensor | float) -> Box:
    """Values within `radius` grey levels of the image that an 8-bit picture can take.

    Bounds are rounded inwards, so that rounding a clamped candidate cannot leave the box.

    image: (3, H, W), whole grey levels; radius: a number or a tensor that broadcasts, ≥ 0.
    """
    step = torch.as_tensor(radius, dtype=torch.float64).clamp(max=WHITE).floor().to(image)
    # The step is cut before it is taken: uint8 would wrap around.
    return image - step.minimum(image), image + step.minimum(WHITE - image)


def all_levels(image: Tensor) -> Box:
    """All grey levels, for a picture (3, H, W)."""
    return torch.zeros_like(image), torch.full_like(image, WHITE)
