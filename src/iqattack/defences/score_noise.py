"""Noise on scores: small differences drown in it."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from iqattack.defences.base import Behind, Points, Reshaping


class ScoreNoise(Reshaping):
    """Gaussian noise, with a deviation of `points` hundredths of the score range."""

    name: ClassVar[str] = "score-noise"
    random: ClassVar[bool] = True
    points: Points

    def reshaped(self, score: float, image: Tensor, behind: Behind) -> float:
        """See `Reshaping`."""
        chance = behind.chance(image, self.spec)
        return score + self.points * behind.point * float(chance.standard_normal())
