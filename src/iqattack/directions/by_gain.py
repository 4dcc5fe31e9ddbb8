"""A bandit that chooses between ways of making a direction by their recent gains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate
from typing import Generic, TypeVar

T = TypeVar("T")

KEPT = 0.99  # of what is known, after each query: what gained at first need not gain now
PRIOR = 2.0  # queries that an option seems to have had before its first
SHARPNESS = 2.0  # exponent of gains
LEAST = 1e-100  # of a mean gain: below, nothing has gained


class ByGain(Generic[T]):
    """Draws options in proportion to the square of their recent mean gain per query.

    A bandit with discounting (as in Kocsis & Szepesvári, 2006). `Choice` counts how often an option
    gained; this one weighs how much, so that an option with many small gains gives way to one with
    larger gains.

    options: at least one. faith: relative prior weight of each option; equal by default.
    """

    def __init__(self, options: Sequence[T], faith: Sequence[float] | None = None) -> None:
        self.options = tuple(options)
        self._faith = [1.0] * len(self.options) if faith is None else list(faith)
        self._gained = [0.0] * len(self.options)
        self._drawn = [0.0] * len(self.options)

    def shares(self) -> list[float]:
        """The probability of each option to be drawn next; they sum to 1."""
        mean = sum(self._gained) / max(sum(self._drawn), 1.0)
        # Where nothing has gained, or too little to tell, faith is all there is.
        unit = mean if mean > LEAST else math.inf
        rates = [
            ((gained / unit + PRIOR * faith) / (drawn + PRIOR)) ** SHARPNESS
            for gained, drawn, faith in zip(self._gained, self._drawn, self._faith, strict=True)
        ]
        return [rate / sum(rates) for rate in rates]

    def draw(self, number: float) -> int:
        """The index of an option, from a uniform random number in [0, 1)."""
        sums = accumulate(self.shares())
        return next((k for k, total in enumerate(sums) if number < total), len(self.options) - 1)

    def learn(self, index: int, gained: float) -> None:
        """Record the gain of a drawn option; a loss counts as 0."""
        self._gained = [KEPT * value for value in self._gained]
        self._drawn = [KEPT * value for value in self._drawn]
        self._gained[index] += max(gained, 0.0)
        self._drawn[index] += 1.0
