"""A choice between ways of making a direction by their success on this image so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Choice(Generic[T]):
    """Draws options in proportion to their rate of success, (successes + 1) / (draws + 2).

    Laplace's rule of succession: no option is ever ruled out, and an untried one counts as
    succeeding half the time.
    """

    def __init__(self, options: Sequence[T]) -> None:
        self.options = tuple(options)
        self._successes = [1.0] * len(self.options)
        self._draws = [2.0] * len(self.options)

    def draw(self, number: float) -> int:
        """The index of an option, from a uniform random number in [0, 1)."""
        rates = [won / drawn for won, drawn in zip(self._successes, self._draws, strict=True)]
        point = number * sum(rates)
        for index, rate in enumerate(rates):
            point -= rate
            if point < 0.0:
                return index
        return len(rates) - 1

    def learn(self, index: int, success: bool) -> None:
        """Record whether a drawn option succeeded."""
        self._draws[index] += 1.0
        self._successes[index] += float(success)
