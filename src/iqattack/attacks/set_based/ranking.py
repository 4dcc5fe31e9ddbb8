"""Attacks on the ranking of a set (ours): one budget for all images, spent where it matters most.

Lifts any attack on one image to an attack on a ranking. Each image is searched as if it were alone,
one query at a time. Before each round, three things are known or estimated for every image: the
gains of its candidates so far, the expected gain of another query, and the places in the ranking
that it could take.

1. *Current choice*: for each image, one of its scored candidates is chosen so that the objective of
   the set is minimal (`Standing.chosen`). An image need not be pushed as far as possible: it stops
   at its place in the ranking.
2. *Expected gain*: searches have diminishing returns. The mean gain of a search's n-th query, over
   the images of the same direction that got so far, is scaled by how well this image has done with
   its own queries; beyond the longest search, it is extrapolated as 1/n. A search may also gain
   more than expected, so that an image with bad luck at first is not given up.
3. *Next queries*: each image and each place that it could take has a rate: the improvement of the
   objective over the expected number of queries. Rates are computed with the other images where
   they are, and where an equal share of the remaining budget would move them, because two images
   that pass each other share the distance. The images with the highest rates are queried next,
   unexplored ones first. If a place lies between two scored candidates, their mixture is queried
   instead of the search's next candidate.

SMA (Yang et al., arXiv 2404.13277) sets target scores for all images first and drives each image
towards its own, with gradients; here targets follow from what proves to be within reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.attacks.contract import (
    Answer,
    AnySearch,
    Attack,
    Chosen,
    SetAttack,
    SetSearch,
    SetTask,
    Task,
)
from iqattack.attacks.lifting import guarded
from iqattack.errors import InputError
from iqattack.objectives.standing import EQUAL, Standing

AT_ONCE = 8  # a round queries one in AT_ONCE images
PICTURES = 32  # candidates kept per image
MIXING = 2.0  # expected queries for a place between two candidates; more after each failure
TRIES = 8  # consecutive failed mixtures after which an image gets no more of them
OTHERS = 2.0  # weight of the prior guess, in images
FRESH = 10.0  # factor on the rate of an image that has not been queried yet
FIRST = 0.1  # expected gain of a first query, before any query
FAR = 1e9  # queries: practically never
AHEAD = np.array([2.0**k for k in range(12)])  # queries after which a search may be lucky

Floats = NDArray[np.float64]


class Kept:
    """Gains in increasing order from 0; beyond PICTURES, the most redundant one is dropped.

    A gain that occurred before is ignored, so replayed answers change nothing.
    """

    def __init__(self) -> None:
        self.gains = [0.0]
        self._seen = {0.0}

    def put(self, gain: float) -> tuple[int, int | None] | None:
        """Add a gain if it is positive and new: its index, and the one dropped for it, if any."""
        if not gain > 0.0 or gain in self._seen:
            return None
        self._seen.add(gain)
        place = int(np.searchsorted(self.gains, gain))
        self.gains.insert(place, gain)
        if len(self.gains) <= PICTURES:
            return place, None
        least = 1 + int(np.argmin(np.subtract(self.gains[2:], self.gains[:-2])))
        del self.gains[least]
        return place, least


def kept_gains(gains: Floats) -> list[float]:
    """The gains that `Kept` retains after an image gained these (N,), in their order."""
    kept = Kept()
    for gain in gains.tolist():
        kept.put(gain)
    return kept.gains


class Searched:
    """The state of the search on one image.

    gains, pictures: of scored candidates, from 0 and the clean image upwards, as `Kept` retains
    them. path: the best gain after each candidate of the search. error: raised by the attack.
    """

    def __init__(self, attack: Attack, task: Task) -> None:
        self.task = task
        self._kept = Kept()
        self.pictures = [task.image8]
        self.path = [0.0]
        self.open = task.queries > 0 and task.reach > 0.0
        self._search: AnySearch | None = guarded(attack, task) if self.open else None
        self._next: Tensor | None = None
        self._in_vain = 0  # consecutive failed mixtures
        self._place: Place | None = None  # target of the last mixture
        self.error: InputError | None = None

    @property
    def gains(self) -> list[float]:
        """The gains of the retained candidates, in increasing order."""
        return self._kept.gains

    @property
    def stalled(self) -> int:
        """Candidates since the last improvement."""
        return len(self.path) - 1 - self.path.index(self.path[-1])

    @property
    def best(self) -> float:
        """The largest gain."""
        return self.gains[-1]

    @property
    def searching(self) -> bool:
        """Whether the search has another candidate."""
        if self._search is not None and self._next is None:
            self._advance(None)
        return self.open and self._next is not None

    @property
    def mixes(self) -> bool:
        """Whether mixtures of its candidates may be tried."""
        return self.open and self._in_vain < TRIES

    @property
    def mixing(self) -> float:
        """Expected queries for a place between two candidates."""
        return MIXING * (1 + self._in_vain)

    def candidates(self, place: Place) -> Tensor:
        """The candidates to query for a place."""
        if place.ahead and self._next is not None:
            self._place = None
            return self._next
        self._place = place
        high = int(np.searchsorted(self.gains, place.middle))
        low = self.gains[high - 1]
        share = (place.middle - low) / (self.gains[high] - low)
        return torch.lerp(self.pictures[high - 1].float(), self.pictures[high].float(), share)[None]

    def take(self, answer: Answer) -> None:
        """Record the answer to the last candidates."""
        for gain, picture in zip(answer.gain.tolist(), answer.pixels, strict=True):
            if (put := self._kept.put(gain)) is not None:
                place, gone = put
                self.pictures.insert(place, picture.clone())
                if gone is not None:
                    del self.pictures[gone]
        aim, self._place = self._place, None
        if aim is not None:
            hit = any(aim.low < gain < aim.high for gain in answer.gain.tolist())
            self._in_vain = 0 if hit else self._in_vain + 1
        else:
            self._in_vain = 0
            for gain in answer.gain.tolist():
                self.path.append(max(self.path[-1], gain))
            self._advance(answer)
        if answer.end is not None:
            self.open = False

    def _advance(self, answer: Answer | None) -> None:
        search = self._search
        if search is None:
            return
        try:
            self._next = next(search) if answer is None else search.send(answer)
        except StopIteration:
            self._search = self._next = None
        except InputError as error:  # an error of the attack fails this image only
            self._search = self._next = None
            self.error, self.open = error, False


@dataclass(frozen=True)
class Place:
    """A place between two others in the ranking, as gains of the image that is to move there.

    middle: a gain between low and high. ahead: beyond the best gain of the image so far.
    """

    low: float
    middle: float
    high: float
    ahead: bool


class Growth:
    """Expected gain of searches in one direction by query, estimated during the run."""

    def __init__(self, paths: Sequence[Sequence[float]]) -> None:
        longest = max(map(len, paths), default=1)
        steps = np.full((len(paths), longest - 1), np.nan)
        recent, harmonic = FIRST, 1.0
        for row, path in zip(steps, paths, strict=True):
            row[: len(path) - 1] = np.diff(path)
            half = (len(path) - 1) // 2
            recent += path[-1] - path[half]
            harmonic += float(np.sum(1.0 / np.arange(half + 1, len(path))))
        self._late = recent / harmonic  # divided by n: expected gain of the n-th query
        known = np.isfinite(steps).sum(0)
        guess = OTHERS * self._late / np.arange(1, longest)
        self._steps = (np.nansum(steps, axis=0) + guess) / (known + OTHERS)
        self._sums = np.concatenate([[0.0], np.cumsum(self._steps)])

    def after(self, path: Sequence[float], queries: float) -> float:
        """The expected gain of a search with this path after further queries."""
        further = self._further(len(path) - 1, np.array([queries]))
        return float(path[-1] + self._scale(path) * further[0])

    def _further(self, done: int, queries: Floats) -> Floats:
        """The mean gain of searches between query `done` and further queries (M,)."""
        last = len(self._sums) - 1
        within = np.interp(done + queries, np.arange(last + 1), self._sums)
        beyond = self._late * np.log(np.maximum((done + queries + 1) / (last + 1), 1.0))
        return np.asarray(within + beyond - self._sums[done])

    def _scale(self, path: Sequence[float]) -> float:
        """How well a search did, relative to its expected gain."""
        expected = self._sums[len(path) - 1]
        return float((path[-1] + 0.5 * expected + self._late) / (1.5 * expected + self._late))

    def queries(self, path: Sequence[float], gains: Floats, stalled: int = 0) -> Floats:
        """Expected queries of a search with this path until it reaches gains (M,) beyond its last.

        For gains within its expectation, the number after which they are expected. A search may
        also be lucky: it gains at least x times as much as expected with probability 1/(1 + x²), so
        that such a gain takes n·(1 + x²) queries on average, n at a time. The smaller number
        counts.

        stalled: queries since its last improvement; the next one takes at least as many again, and
        one more (Laplace's rule of succession).
        """
        done = len(path) - 1
        further = self._sums[done] + (gains - path[-1]) / self._scale(path)
        within = np.searchsorted(self._sums, further) - done
        last = len(self._sums) - 1
        with np.errstate(over="ignore"):
            grown = np.exp((further - self._sums[-1]) / self._late)
        beyond = last - done + (last + 1) * (grown - 1.0)
        needed = np.where(further <= self._sums[-1], within, beyond)
        expected = np.maximum(self._scale(path) * self._further(done, AHEAD), 1.0 / FAR)
        times = (gains - path[-1]) / expected[:, None]
        lucky = np.maximum(AHEAD, 1.0 + stalled)[:, None] * (1.0 + np.square(times))
        return np.asarray(np.clip(np.minimum(needed, lucky.min(0)), 1.0 + stalled, FAR))


class Outlook:
    """The prospects of each image before a round.

    stands: the current gain of each image. left: remaining queries of all free images together.
    """

    def __init__(
        self,
        standing: Standing,
        images: Sequence[Searched],
        stands: Sequence[float],
        left: int,
    ) -> None:
        self._standing = standing
        self._images = images
        self._stands = stands
        self._free = [number for number, free in enumerate(standing.free) if free]
        self._growth = {
            way: Growth([images[k].path for k in self._free if standing.ways[k] == way])
            for way in (-1.0, 1.0)
        }
        self._now = standing.moved(np.array(stands))
        self._later = self._now.copy()
        for number in self._free:
            image = images[number]
            if stands[number] == image.best and image.searching:
                growth = self._growth[standing.ways[number]]
                gain = growth.after(image.path, left / len(self._free))
                self._later[number] = self._at(number, min(gain, image.task.reach))[0]

    def promising(self, most: int) -> dict[int, Place]:
        """The `most` images with the highest rates, and the best place of each."""
        found: list[tuple[float, int, Place]] = []
        for number in self._free:
            rate, place = self._best(number)
            if place is not None:
                fresh = FRESH if len(self._images[number].path) == 1 else 1.0
                found.append((-rate * fresh, number, place))
        found.sort(key=lambda it: it[:2])
        return {number: place for _, number, place in found[:most]}

    def _at(self, number: int, gain: float) -> Floats:
        return self._standing.at(number, np.array([gain]))

    def _best(self, number: int) -> tuple[float, Place | None]:
        """The place with the highest rate, improvement per query, and that rate."""
        options = (
            self._best_among(self._later, number, ahead=True),
            self._best_among(self._now, number, ahead=True),
            self._best_among(self._now, number, ahead=False),
        )
        return max(options, key=lambda it: it[0])

    def _best_among(
        self, others: Floats, number: int, *, ahead: bool
    ) -> tuple[float, Place | None]:
        """As `_best`, given the positions of the other images."""
        standing, image = self._standing, self._images[number]
        way, reach = standing.ways[number], image.task.reach
        edges = np.unique(way * (np.delete(others, number) - standing.clean[number]))
        edges = np.concatenate([[0.0], edges[(edges > 0.0) & (edges < reach)], [reach]])
        low, high = edges[:-1], edges[1:]
        middle = 0.5 * (low + high)
        costs = standing.costs(number, standing.at(number, middle), others)
        worth = standing.costs(number, self._at(number, self._stands[number]), others) - costs
        if ahead:
            able = (low >= image.best) & image.searching
            queries = self._growth[way].queries(image.path, low, image.stalled)
        else:
            scored = np.searchsorted(image.gains, low, "right") < np.searchsorted(image.gains, high)
            able = ~scored & (high <= image.best) & image.mixes
            queries = np.full(len(low), image.mixing)
        rates = np.where(able & (worth > EQUAL) & (low < high), worth / queries, 0.0)
        k = int(np.argmax(rates))
        if not rates[k] > 0.0:
            return 0.0, None
        return float(rates[k]), Place(float(low[k]), float(middle[k]), float(high[k]), ahead)


def ranking(attack: Attack) -> SetAttack:
    """Lift `attack` to an attack on the ranking of a set."""

    def lifted(given: SetTask) -> SetSearch:
        standing = given.standing
        if standing is None:
            raise ValueError("the objective is none of a set")
        images = [Searched(attack, task) for task in given.tasks]
        at_once = -(-int(np.count_nonzero(standing.free)) // AT_ONCE)
        left = given.queries
        if left is None:
            left = sum(task.queries for task in given.tasks)
        stands = [0.0] * len(images)
        while True:
            gains = [np.array(image.gains) for image in images]
            # A candidate may have been dropped since.
            start = [
                min(int(np.searchsorted(one, gain)), len(one) - 1)
                for one, gain in zip(gains, stands, strict=True)
            ]
            chosen = standing.chosen(gains, start)
            stands = [image.gains[k] for image, k in zip(images, chosen, strict=True)]
            places = Outlook(standing, images, stands, left).promising(at_once)
            if not places:
                break
            asked = {number: images[number].candidates(place) for number, place in places.items()}
            answers = yield list(asked.items())
            left = min(left, max(answer.left for answer in answers))
            for number, answer in zip(asked, answers, strict=True):
                images[number].take(answer)
        picked = {number: images[number].pictures[k] for number, k in enumerate(chosen) if k > 0}
        failed = {number: image.error for number, image in enumerate(images) if image.error}
        return Chosen(picked, failed)

    return lifted
