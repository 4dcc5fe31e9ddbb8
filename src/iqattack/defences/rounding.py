"""Scores rounded: differences below a step cannot be seen."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from iqattack.defences.base import Behind, Points, Reshaping


class Rounding(Reshaping):
    """Round to multiples of `points` hundredths of the score range, counted from its low end, and
    to no more than its high end. What is outside stays.
    """

    name: ClassVar[str] = "round"
    points: Points

    def reshaped(self, score: float, image: Tensor, behind: Behind) -> float:  # noqa: ARG002
        """See `Reshaping`."""
        step, (low, high) = self.points * behind.point, behind.score_range
        if not low <= score <= high:
            return score
        return min(low + step * round((score - low) / step), high)
