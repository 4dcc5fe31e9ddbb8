"""Objectives of a whole set as functions of the positions of its images, which an attack minimises.

Positions are qualities as fractions of the score range; higher is better.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from iqattack.evaluation import srocc

Floats = NDArray[np.float64]
SWEEPS = 100  # over all images, after which a choice is as good as it will be
EQUAL = 1e-12  # costs that differ by less are equal
DIGITS = 12  # of positions and potentials: what differs by less is equal, but for rounding


@dataclass(frozen=True)
class Standing(ABC):
    """The positions of the images of a set, and the direction in which each moves.

    clean: (N,), positions before the attack. ways: (N,), 1 where a gain raises the quality, −1
    where it lowers it. free: (N,) bool, whether an image may be changed.
    """

    clean: Floats
    ways: Floats
    free: NDArray[np.bool_]

    def at(self, number: int, gains: Floats) -> Floats:
        """The positions (M,) of one image at these gains (M,). number: its index."""
        return np.asarray(np.round(self.clean[number] + self.ways[number] * gains, DIGITS))

    def __post_init__(self) -> None:
        object.__setattr__(self, "clean", np.round(self.clean, DIGITS))

    @abstractmethod
    def value(self, now: Floats) -> float:
        """The objective, as reported, at positions (N,); lower is better for the attacker."""

    def potential(self, now: Floats) -> float:
        """What the search minimises: the value, or a refinement that also rewards progress towards
        a lower value.
        """
        return self.value(now)

    @abstractmethod
    def costs(self, number: int, at: Floats, now: Floats) -> Floats:
        """The potential up to a constant, (M,), with image `number` at each of the positions `at`
        (M,) and all others at `now` (N,).
        """

    def chosen(self, gains: Sequence[Floats], start: Sequence[int]) -> list[int]:
        """Choose for each image one of its gains, to minimise the potential; returns indices.

        gains: for each image, the gains of its scored versions, ascending from 0 of the clean one.
        start: indices to start from.

        Coordinate descent: exact for one image at a time, until no change of a single image helps,
        from `start`, from all clean images and from all largest gains; the best end is returned.
        Among equally good gains, the smallest is chosen, as its change is the least visible.
        """
        clean, largest = [0] * len(gains), [len(one) - 1 for one in gains]
        largest = [k if free else 0 for k, free in zip(largest, self.free, strict=True)]
        begun = [list(start), clean, largest]
        ends = [self._settled(gains, list(one)) for one in begun]

        def key(end: list[int]) -> tuple[float, int]:
            return round(self.potential(self.positions(gains, end)), DIGITS), _touched(end)

        return min([*ends, *begun], key=key)  # costs leave ties aside, so that an end may be worse

    def positions(self, gains: Sequence[Floats], chosen: Sequence[int]) -> Floats:
        """The positions (N,) of all images at the gains with the chosen indices."""
        moved = np.array([one[k] for one, k in zip(gains, chosen, strict=True)])
        return self.moved(moved)

    def moved(self, gains: Floats) -> Floats:
        """The positions (N,) of all images at these gains (N,)."""
        return np.asarray(np.round(self.clean + self.ways * gains, DIGITS))

    def _settled(self, gains: Sequence[Floats], chosen: list[int]) -> list[int]:
        now = self.positions(gains, chosen)
        able = [k for k, free in enumerate(self.free) if free and len(gains[k]) > 1]
        for _ in range(SWEEPS):
            before = list(chosen)
            for number in able:
                places = self.at(number, gains[number])
                costs = self.costs(number, places, now)
                pick = int(np.argmax(costs <= costs.min() + EQUAL))
                if costs[pick] < costs[chosen[number]] - EQUAL or pick < chosen[number]:
                    chosen[number], now[number] = pick, places[pick]
            if chosen == before:
                break
        return chosen


def _touched(chosen: Sequence[int]) -> int:
    return sum(k > 0 for k in chosen)


@dataclass(frozen=True)
class RankCorrelation(Standing):
    """The SROCC of clean and present scores.

    Its numerator is Σ a·r, with a the centred clean ranks and r the present ranks. When image i
    overtakes image j, one rank rises and the other falls, which adds a_i − a_j. Minimising the
    SROCC therefore inverts the pairs with the largest differences of clean ranks first.
    """

    _ranks: Floats = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        from scipy.stats import rankdata  # noqa: PLC0415 - takes a second to import

        ranks = rankdata(self.clean)
        object.__setattr__(self, "_ranks", ranks - ranks.mean())

    def value(self, now: Floats) -> float:
        """The SROCC, −1..1; 1 if it is undefined because all scores are equal."""
        found = srocc(self.clean, now)
        return found if np.isfinite(found) else 1.0

    def costs(self, number: int, at: Floats, now: Floats) -> Floats:
        """The value up to a constant; a tie counts as halfway between both orders."""
        order = np.argsort(now)
        others, ranks = now[order], self._ranks[order]
        # Of the images that it stands above of, the sum of a_i − a_j, itself adding 0.
        below = np.concatenate([[0.0], np.cumsum(self._ranks[number] - ranks)])
        left, right = (np.searchsorted(others, at, side) for side in ("left", "right"))
        numerator = 0.5 * (below[left] + below[right])
        return np.asarray(numerator / (float(np.square(self._ranks).sum()) or 1.0))


@dataclass(frozen=True)
class FirstPlaces(Standing):
    """The share of chosen images that are not yet where they should be: among the first k, or not.

    k: number of places. wanted: (N,), 1 for images to move into the first k, −1 for those to move
    out, 0 for the others. Ties are resolved against the attacker.

    Moving one image often leaves the share unchanged, as another takes its place. The potential
    therefore also counts, with a small weight, the overtakings that are still needed: for an image
    to move out, the number of images that may stay and still have to rank above it, k in all; for
    one to move in, the number of images above it in excess of the places available.
    """

    k: int
    wanted: Floats

    def value(self, now: Floats) -> float:
        """The share, 0..1."""
        above = (now[None] > now[:, None]).sum(1)
        equal = (now[None] == now[:, None]).sum(1) - 1
        surely, maybe = above + equal < self.k, above < self.k
        missing = ((self.wanted > 0) & ~surely) | ((self.wanted < 0) & maybe)
        return float(missing.sum() / self._chosen)

    def potential(self, now: Floats) -> float:
        """The value, plus a small weight on the overtakings needed."""
        return self.value(now) + self._little * self.passes(now)

    def passes(self, now: Floats) -> int:
        """The number of overtakings that are still needed, over all chosen images."""
        stay, come = self.wanted >= 0, self.wanted > 0
        lacking = self.k - (now[stay][None] > now[~stay][:, None]).sum(1)
        excess = (now[~come][None] >= now[come][:, None]).sum(1) - (self.k - come.sum())
        return int(np.maximum(lacking, 0).sum() + np.maximum(excess, 0).sum())

    def costs(self, number: int, at: Floats, now: Floats) -> Floats:
        """The potential up to a constant."""
        rest = np.arange(len(now)) != number
        order = np.argsort(-now[rest], kind="stable")
        others, wanted = now[rest][order], self.wanted[rest][order]
        if len(others) < self.k:
            return np.zeros(len(at))
        # The last of the others is out where this one comes in.
        costs = np.where(at > others[self.k - 1], -self.wanted[number], -wanted[self.k - 1])
        return np.asarray(costs / self._chosen + self._little * self._passes(number, at, now))

    def _passes(self, number: int, at: Floats, now: Floats) -> Floats:
        """As `passes`, but for a constant: its own, and those of images that it passes."""
        rest = np.arange(len(now)) != number
        leave, come = self.wanted < 0, self.wanted > 0
        stay, spare = now[rest & ~leave], self.k - int(come.sum())
        found = np.zeros(len(at))
        if leave[number]:
            found += np.maximum(self.k - _above(stay, at), 0)
        else:
            lacking = (now[rest & ~leave][None] > now[leave][:, None]).sum(1) < self.k
            found += _above(now[leave][lacking], at, equal=True)
        others = now[rest & ~come]
        if come[number]:
            found += np.maximum(_above(others, at, equal=True) - spare, 0)
        else:
            full = (others[None] >= now[come][:, None]).sum(1) >= spare
            found -= _above(now[come][full], at)
        return found

    @property
    def _chosen(self) -> int:
        return max(int(np.count_nonzero(self.wanted)), 1)

    @property
    def _little(self) -> float:
        """All passes together count less than an image in its place."""
        return 0.5 / (self._chosen**2 * len(self.clean))


def _above(positions: Floats, at: Floats, *, equal: bool = False) -> Floats:
    """How many positions lie above each of `at`, or where it is."""
    found = np.searchsorted(np.sort(positions), at, "left" if equal else "right")
    return np.asarray(len(positions) - found)
