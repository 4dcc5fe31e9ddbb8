"""What a constraint is: where an attacked picture may lie."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

WHITE = 255

Box = tuple[Tensor, Tensor]


class Constraint(Protocol):
    """The set of pictures that an attack on one picture may hand in.

    `image` is always the clean picture, (3, H, W) with whole grey levels 0..255, float32 or uint8.
    """

    @property
    def spec(self) -> str:
        """Canonical text form, which `parse_constraint` reads back."""
        ...

    @property
    def is_box(self) -> bool:
        """Whether the box is the whole of it; False where `project` is overridden."""
        return True

    def box(self, image: Tensor) -> Box:
        """Lowest and highest allowed values, each (3, H, W), whole grey levels 0..255.

        lower ≤ image ≤ upper, and any allowed picture lies between them. Of the image's type.
        """
        ...

    def project(self, image: Tensor, candidates: Tensor, box: Box | None = None) -> Tensor:
        """Nearest allowed pictures to candidates (N, 3, H, W), one by one.

        Clamps into the box, which is the whole of most constraints; one that is more than a box
        overrides this. What comes out is still allowed after rounding to whole grey levels.

        box: what `box(image)` gave, to spare computing it again.
        """
        lower, upper = self.box(image) if box is None else box
        return candidates.clamp(lower, upper)


def box_around(image: Tensor, radius: Tensor | float) -> Box:
    """Values within `radius` grey levels of the image that an 8-bit picture can take.

    Bounds are rounded inwards, so that rounding a clamped candidate cannot leave the box.

    image: (3, H, W), whole grey levels; radius: a number or a tensor that broadcasts, ≥ 0.
    """
    step = torch.as_tensor(radius, dtype=torch.float64).clamp(max=WHITE).floor().to(image)
    # The step is cut before it is taken: uint8 would wrap around.
    return image - step.minimum(image), image + step.minimum(WHITE - image)
