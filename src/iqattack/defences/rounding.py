"""Scores rounded: differences below a step cannot be seen."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from iqattack.defences.base import Behind, Points, Reshaping


class Rounding(Reshaping):
    """To multiples of so many hundredths of the score range, counted from its low end."""

    name: ClassVar[str] = "round"
    points: Points

    def reshaped(self, score: float, image: Tensor, behind: Behind) -> float:  # noqa: ARG002
        """See `Reshaping`."""
        step, low = self.points * behind.point, behind.score_range[0]
        return low + step * round((score - low) / step)
