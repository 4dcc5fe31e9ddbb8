"""The same largest change for every value."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from iqattack.constraints.base import WHITE, Constraint, Region, box_around
from iqattack.errors import InputError
from iqattack.specs import text


@dataclass(frozen=True)
class Linf(Constraint):
    """No value may change by more than `epsilon` grey levels, 1 to 255.

    Below one grey level no 8-bit picture but the clean one is left, which is an InputError.
    """

    epsilon: float

    def __post_init__(self) -> None:
        if not 1.0 <= self.epsilon <= WHITE:
            remedy = "such as linf:3"
            if 0.0 < self.epsilon < 1.0:  # most likely meant as a fraction of white
                remedy = f"{self.epsilon:g} of white is linf:{self.epsilon * WHITE:.3g}"
            raise InputError(
                f"constraint 'linf:{text(self.epsilon)}': "
                f"expected 1 to 255 grey levels of 255, {remedy}"
            )

    @property
    def spec(self) -> str:
        """`linf:EPSILON`."""
        return f"linf:{text(self.epsilon)}"

    def around(self, image: Tensor) -> Region:
        """Whole grey levels within epsilon of the image."""
        return Region(*box_around(image, self.epsilon))
