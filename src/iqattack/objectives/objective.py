"""Which way the score of each picture is to move, and how far it moved.

Directions are in terms of quality: "up" makes a picture look better to the model, whether that
means a higher raw score or a lower one.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, overload

from torch import Tensor

from iqattack.errors import InputError, unknown

Direction = Literal["up", "down"]
ScoreRange = tuple[float, float]


@dataclass(frozen=True)
class Target:
    """Where the score of one picture is to go.

    direction: of the quality.
    clean: raw score of the clean picture.
    end: raw score aimed at, the M of the score boundary.
    rising: whether the raw score has to rise.
    width: of the score range, > 0; gains are fractions of it.
    """

    direction: Direction
    clean: float
    end: float
    rising: bool
    width: float

    @overload
    def gain(self, raw: float) -> float: ...
    @overload
    def gain(self, raw: Tensor) -> Tensor: ...
    def gain(self, raw: float | Tensor) -> float | Tensor:
        """Movement of raw scores in the wanted direction, over the width; float64."""
        scores = raw.double() if isinstance(raw, Tensor) else raw
        moved = scores - self.clean if self.rising else self.clean - scores
        return moved / self.width

    @property
    def reach(self) -> float:
        """Gain at the end aimed at; 0 for a picture that is there already or beyond."""
        return max(0.0, self.gain(self.end))


def towards_end(
    direction: Direction, clean: float, score_range: ScoreRange, lower_better: bool
) -> Target:
    """The target at the far end of the score range; InputError if the range is none."""
    low, high = score_range
    if not (low < high and math.isfinite(high - low)):
        raise InputError(f"score range {low},{high}: expected two finite numbers, lower first")
    rising = (direction == "up") != lower_better
    return Target(direction, clean, high if rising else low, rising, high - low)


class Objective(Protocol):
    """Decides the direction of each picture of a set."""

    @property
    def name(self) -> str:
        """How the command line calls it."""
        ...

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """One target per clean raw score, in order; scores are finite."""
        ...


@dataclass(frozen=True)
class OneWay(Objective):
    """All qualities up, or all down."""

    direction: Direction

    @property
    def name(self) -> str:
        """Its direction."""
        return self.direction

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """The same end for all."""
        return [towards_end(self.direction, y0, score_range, lower_better) for y0 in clean]


@dataclass(frozen=True)
class Rank(Objective):
    """Good pictures down and bad ones up, so that the ranking of the set breaks.

    A picture is good when its clean quality lies above the set's median. One that lies on the
    median, as a single picture does, goes to the end that is farther away, and down if both are
    equally far. Only the multiset of scores matters, never their order.
    """

    @property
    def name(self) -> str:
        """`rank`."""
        return "rank"

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """One of the two ends for each."""
        if not clean:
            return []
        median = statistics.median(clean)

        def target(y0: float) -> Target:
            up = towards_end("up", y0, score_range, lower_better)
            down = towards_end("down", y0, score_range, lower_better)
            if y0 == median:
                return up if up.reach > down.reach else down
            # Above the median in quality, hence good: raising the quality leads away from it.
            good = up.gain(median) < 0.0
            return down if good else up

        return [target(float(y0)) for y0 in clean]


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective for objective in (Rank(), OneWay("up"), OneWay("down"))
}


def parse_objective(name: str) -> Objective:
    """The objective called `rank`, `up` or `down`; InputError for any other name."""
    if name not in OBJECTIVES:
        raise unknown("objective", name, OBJECTIVES)
    return OBJECTIVES[name]
