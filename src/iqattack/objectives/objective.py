"""Objectives: the direction in which to move the score of each image, and the gain.

Directions refer to quality: "up" makes an image look better to the model, whether that means a
higher or a lower raw score.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, Protocol, overload, runtime_checkable

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from iqattack.errors import InputError, unknown
from iqattack.objectives.boundary import ScoreBoundary
from iqattack.objectives.standing import FirstPlaces, RankCorrelation, Standing
from iqattack.specs import number, text

Direction = Literal["up", "down"]
ScoreRange = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Target:
    """The target of one image's score.

    direction: of the quality, `up` or `down`.
    clean: raw score of the clean image.
    end: raw score aimed at, M of the score boundary.
    rising: whether the raw score has to rise.
    width: of the score range, > 0; gains are fractions of it.
    fraction: the score boundary that counts as success, in (0, 1]; None for no boundary, where a
        larger gain is always better.

    >>> from iqattack.objectives import towards_end
    >>> target = towards_end("up", clean=60.0, score_range=(0, 100), lower_better=False)
    >>> target.end, target.reach, target.gain(75.0)
    (100, 0.4, 0.15)
    """

    direction: Direction
    clean: float
    end: float
    rising: bool
    width: float
    fraction: float | None = None

    @overload
    def gain(self, raw: float) -> float: ...
    @overload
    def gain(self, raw: Tensor) -> Tensor: ...
    def gain(self, raw: float | Tensor) -> float | Tensor:
        """Movement of raw scores in the wanted direction over the width; float64, elementwise."""
        scores = raw.double() if isinstance(raw, Tensor) else raw
        moved = scores - self.clean if self.rising else self.clean - scores
        return moved / self.width

    @property
    def reach(self) -> float:
        """The gain at the end aimed at; 0 if the clean score lies there already, or beyond."""
        return max(0.0, self.gain(self.end))

    @property
    def boundary(self) -> ScoreBoundary | None:
        """The score boundary that counts as success, if there is one."""
        return None if self.fraction is None else ScoreBoundary(self.reach, self.fraction)


def towards_end(
    direction: Direction, clean: float, score_range: ScoreRange, lower_better: bool
) -> Target:
    """The target at the end of the score range in this direction.

    clean: raw score. score_range: (lowest, highest) raw score. lower_better: whether a low score
    means good quality. Raises InputError for an empty or non-finite range.
    """
    low, high = score_range
    if not (low < high and math.isfinite(high - low)):
        raise InputError(f"score range {low},{high}: expected two finite numbers, lower first")
    rising = (direction == "up") != lower_better
    return Target(direction, clean, high if rising else low, rising, high - low)


class Objective(Protocol):
    """Decides the direction of each image of a set."""

    @property
    def name(self) -> str:
        """Its spec on the command line."""
        ...

    @property
    def of_set(self) -> bool:
        """Whether the direction of an image depends on the scores of the others."""
        return False

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """One target per clean raw score, in order; `clean` must be finite."""
        ...


@dataclass(frozen=True)
class OneWay(Objective):
    """All images in one direction."""

    direction: Direction

    @property
    def name(self) -> str:
        """Its direction."""
        return self.direction

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """The same end of the score range for all images."""
        return [towards_end(self.direction, y0, score_range, lower_better) for y0 in clean]


def farther_end(clean: float, score_range: ScoreRange, lower_better: bool) -> Target:
    """The target at the farther end of the score range; down if both are equally far."""
    up, down = (towards_end(way, clean, score_range, lower_better) for way in ("up", "down"))
    return up if up.reach > down.reach else down


@dataclass(frozen=True)
class Farther(Objective):
    """Each image towards the farther end of the score range, independent of the other images.

    Qualities in the upper half of the range go down and the others up: the bidirectional loss of
    Ran et al. (Expert Systems with Applications 2025).
    """

    @property
    def name(self) -> str:
        """`farther`."""
        return "farther"

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """The farther end for each image."""
        return [farther_end(y0, score_range, lower_better) for y0 in clean]


@dataclass(frozen=True)
class Rank(Objective):
    """Good images down and bad ones up, to destroy the ranking of the set.

    An image is good if its clean quality lies above the median of the set. An image on the median,
    such as the only one of a set, goes to the farther end of the range, or down if both are equally
    far. The order of the images does not matter.
    """

    @property
    def name(self) -> str:
        """`rank`."""
        return "rank"

    @property
    def of_set(self) -> bool:
        """Always: the median is that of all images."""
        return True

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """The lower end of quality for good images, the upper end for the others."""
        if not clean:
            return []
        median = statistics.median(clean)

        def target(y0: float) -> Target:
            if y0 == median:
                return farther_end(y0, score_range, lower_better)
            # Above the median in quality, hence good.
            good = (y0 > median) != lower_better
            return towards_end("down" if good else "up", y0, score_range, lower_better)

        return [target(float(y0)) for y0 in clean]


@dataclass(frozen=True)
class WithBoundary(Objective):
    """The directions of another objective, with a score boundary that counts as success.

    base: the other objective. fraction: of the boundary, in (0, 1]; InputError otherwise.
    """

    base: Objective
    fraction: float

    def __post_init__(self) -> None:
        if not 0.0 < self.fraction <= 1.0:
            raise InputError(
                f"objective '{self.name}': expected a boundary above 0 and up to 1, e.g. rank:0.2"
            )

    @property
    def name(self) -> str:
        """`BASE:FRACTION`."""
        return f"{self.base.name}:{text(self.fraction)}"

    @property
    def of_set(self) -> bool:
        """That of the other objective."""
        return self.base.of_set

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """Those of the other objective, with the boundary."""
        targets = self.base.targets(clean, score_range, lower_better)
        return [replace(target, fraction=self.fraction) for target in targets]


@runtime_checkable
class SetObjective(Objective, Protocol):
    """An objective on the scores of all images together, which share one budget."""

    @property
    def of_set(self) -> bool:
        """Always."""
        return True

    def check(self, names: Sequence[str]) -> None:
        """Raise InputError for images that do not fit the objective, before the first query."""
        ...

    def standing(self, names: Sequence[str], targets: Sequence[Target]) -> Standing:
        """The standing of images with these names and the targets that `targets` returned.

        Raises InputError as `check` does.
        """
        ...


def _ways(targets: Sequence[Target]) -> NDArray[np.float64]:
    return np.array([1.0 if target.direction == "up" else -1.0 for target in targets])


def _qualities(targets: Sequence[Target]) -> NDArray[np.float64]:
    """Of the clean pictures, in widths of the score range, larger ones better."""
    better = [1.0 if (t.direction == "up") == t.rising else -1.0 for t in targets]
    return np.array([sign * t.clean / t.width for sign, t in zip(better, targets, strict=True)])


@dataclass(frozen=True)
class Srocc(SetObjective):
    """Minimise the SROCC of clean and attacked scores.

    Directions are those of `rank`, but an image need not move farther than its place requires.
    """

    @property
    def name(self) -> str:
        """`srocc`."""
        return "srocc"

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """Those of `rank`."""
        return Rank().targets(clean, score_range, lower_better)

    def check(self, names: Sequence[str]) -> None:
        """Every set fits."""

    def standing(self, names: Sequence[str], targets: Sequence[Target]) -> Standing:
        """Every image may be changed."""
        free = np.ones(len(names), dtype=np.bool_)
        return RankCorrelation(_qualities(targets), _ways(targets), free)


@dataclass(frozen=True)
class Top(SetObjective):
    """Change who is among the first k of the ranking.

    k: number of places. into, out: names of images to move into the first k and out of them; only
    these are changed. Without any, all images may be changed, to replace the first k.

    Raises InputError for k below 1, more than k names in `into`, and a name given twice.
    """

    k: int
    into: tuple[str, ...] = ()
    out: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.k < 1:
            raise InputError(f"objective '{self.name}': expected at least 1 place, e.g. top:3")
        if len(self.into) > self.k:
            raise InputError(
                f"objective '{self.name}': {len(self.into)} pictures do not fit into "
                f"{self.k} places"
            )
        twice = [name for name, n in Counter(self.named).items() if n > 1]
        if twice:
            raise InputError(f"objective '{self.name}': names {twice[0]} twice; once is enough")

    @property
    def named(self) -> tuple[str, ...]:
        """The names in `into` and `out`."""
        return (*self.into, *self.out)

    @property
    def name(self) -> str:
        """`top:K,into=NAME,out=NAME`."""
        named = [f"into={name}" for name in self.into] + [f"out={name}" for name in self.out]
        return ",".join([f"top:{self.k}", *named])

    def targets(
        self, clean: Sequence[float], score_range: ScoreRange, lower_better: bool
    ) -> list[Target]:
        """The first k down, all others up; images tied with the k-th count as among the first."""
        sign = -1.0 if lower_better else 1.0
        order = sorted((sign * score for score in clean), reverse=True)
        last = order[min(self.k, len(order)) - 1] if order else 0.0
        return [
            towards_end("down" if sign * y0 >= last else "up", y0, score_range, lower_better)
            for y0 in clean
        ]

    def check(self, names: Sequence[str]) -> None:
        """Raise InputError for a name that is not in the set, or at most k images."""
        unknown_ = [name for name in self.named if name not in names]
        if unknown_:
            raise InputError(
                f"objective '{self.name}': no image is called {unknown_[0]}; names are those that "
                f"results.csv has, such as {names[0]}"
            )
        if len(names) <= self.k:
            raise InputError(
                f"objective '{self.name}': {len(names)} images, of which all are among the first "
                f"{self.k}; take fewer places or more images"
            )

    def standing(self, names: Sequence[str], targets: Sequence[Target]) -> Standing:
        """Only the named images may be changed, if any are named."""
        self.check(names)
        ways = _ways(targets)
        wanted = np.array([(name in self.into) - float(name in self.out) for name in names])
        free = wanted != 0
        if not free.any():
            wanted, free = np.where(ways < 0.0, -1.0, 0.0), ~free
        return FirstPlaces(_qualities(targets), ways, free, self.k, wanted)


OBJECTIVES: dict[str, Objective] = {
    objective.name: objective for objective in (Rank(), OneWay("up"), OneWay("down"), Farther())
}
SROCC, TOP = Srocc(), "top"


def parse_objective(spec: str) -> Objective:
    """Parse the spec of an objective.

    spec: `rank`, `up`, `down` or `farther`, alone or with a score boundary (`rank:0.2`); or an
        objective of the whole set: `srocc`, or places of its ranking (`top:3`,
        `top:3,into=a.png,out=b.png`).

    Raises InputError for any other spec.

    >>> from iqattack.objectives import parse_objective
    >>> targets = parse_objective("rank").targets([20, 55, 90], (0, 100), lower_better=False)
    >>> [target.direction for target in targets]
    ['up', 'down', 'down']
    >>> parse_objective("top:3,into=mine.png").named
    ('mine.png',)
    """
    name, colon, value = spec.partition(":")
    if name == TOP:
        return _parse_top(spec, value)
    if name == SROCC.name:
        if colon:
            raise InputError(f"objective '{spec}': {name} takes no score boundary; write {name}")
        return SROCC
    if name not in OBJECTIVES:
        raise unknown("objective", name, [*OBJECTIVES, SROCC.name, "top:3"])
    if not colon:
        return OBJECTIVES[name]
    return WithBoundary(OBJECTIVES[name], number(spec, value, "rank:0.2"))


def _parse_top(spec: str, fields: str) -> Top:
    places, *named = fields.split(",")
    if not places.isdecimal():
        raise InputError(f"objective '{spec}': expected how many places, e.g. top:3")
    names: dict[str, list[str]] = {"into": [], "out": []}
    for field in named:
        way, equals, name = field.partition("=")
        if way not in names or not equals or not name:
            raise InputError(
                f"objective '{spec}': '{field}' is neither into=IMAGE nor out=IMAGE, such as "
                "top:3,into=a.png; an image whose name has a comma has to be renamed"
            )
        names[way].append(name)
    return Top(int(places), tuple(names["into"]), tuple(names["out"]))
