"""The score boundary, which makes moving a score a yes/no question."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import overload

from torch import Tensor

from iqattack.errors import InputError


@dataclass(frozen=True)
class ScoreBoundary:
    """A fraction b of the way from the clean score to the end aimed at.

    Yang et al. (arXiv 2401.05217): an image is adversarial at b when its score passed
    y0 + (M − y0)·b. In units of gain, M − y0 is `reach`, so that is gain ≥ b·reach. At b = 0, or
    where the range leaves no reach, the clean image itself is adversarial.

    reach: largest gain that the score range leaves, finite and ≥ 0.
    fraction: b in [0, 1].

    >>> from iqattack.objectives import ScoreBoundary
    >>> boundary = ScoreBoundary(reach=0.4, fraction=0.5)
    >>> boundary.gain, boundary.crossed(0.25)
    (0.2, True)
    """

    reach: float
    fraction: float

    def __post_init__(self) -> None:
        if not 0.0 <= self.fraction <= 1.0:
            raise InputError(f"score boundary at {self.fraction}: expected a fraction from 0 to 1")
        if not (self.reach >= 0.0 and math.isfinite(self.reach)):
            raise InputError(f"score boundary with reach {self.reach}: expected 0 or more")

    @property
    def gain(self) -> float:
        """The gain at which the boundary lies."""
        return self.fraction * self.reach

    @overload
    def crossed(self, gain: float) -> bool: ...
    @overload
    def crossed(self, gain: Tensor) -> Tensor: ...
    def crossed(self, gain: float | Tensor) -> bool | Tensor:
        """Whether a gain reaches the boundary; element-wise, bool, for a tensor. NaN does not."""
        return gain >= self.gain
