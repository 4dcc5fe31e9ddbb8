"""AAA, "Adversarial Attack on Attackers", of a quality score (Chen et al., NeurIPS 2022).

The score range is cut into intervals, each with an attractor in its middle. Within an interval, the
reported scores fall where the true ones rise, which misleads small steps; steps longer than an
interval are reported correctly. No reported score is off by more than the length of an interval, so
clean scores keep most of their order.
"""

from __future__ import annotations

import math
from typing import ClassVar, Literal

from torch import Tensor

from iqattack.defences.base import Behind, Points, Reshaping

AMPLITUDE = 0.35  # ours: of the sine, in intervals; above 1/(2π) it turns slopes around


class Aaa(Reshaping):
    """Scores mirrored at the attractor (`linear`), or less a sine of their distance to it (`sine`).

    points: length of an interval, at most, hundredths of the score range, which is cut into equal
    ones. What is outside of it stays.
    """

    name: ClassVar[str] = "aaa"
    points: Points
    form: Literal["linear", "sine"] = "linear"

    def reshaped(self, score: float, image: Tensor, behind: Behind) -> float:  # noqa: ARG002
        """See `Reshaping`."""
        low, high = behind.score_range
        if not low <= score <= high:
            return score
        intervals = math.ceil(100.0 / self.points - 1e-9)
        length = (high - low) / intervals
        attractor = low + (min(math.floor((score - low) / length), intervals - 1) + 0.5) * length
        off = score - attractor
        if self.form == "linear":
            return attractor - off
        return score - AMPLITUDE * length * math.sin(2.0 * math.pi * off / length)
