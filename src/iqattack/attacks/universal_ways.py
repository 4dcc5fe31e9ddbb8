"""Ways to learn a universal perturbation from scores: set attacks, each under one total budget.

A candidate is a pattern that is laid on several images at once, a *minibatch*, and what counts is
its mean gain there. Directions are learnt one after the other: patterns that raise raw scores on
the images whose scores are to rise, and patterns that lower them on the others.

- `filter` (ours): the bank and then a filter of each image's own detail, as in `filter_search.py`.
  A filter says something of every picture, where a fixed tile does not look at any.
- `nes`, `evolution`, `square`: tiles of 32×32 by NES, of 8×8 by differential evolution (Storn &
  Price, 1997), of the whole picture by Square Attack's random search; what Bychkov et al. (ICME
  2025) learn universal perturbations with, budgets and boxes aside.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from cmaes import CMA
from numpy.typing import NDArray
from torch import Tensor

from iqattack.attacks.contract import Answer, Proposal, SetAttack, SetSearch, SetTask, Task
from iqattack.attacks.painting.filters import SIDE, WEIGHT
from iqattack.attacks.painting.layer import Layer
from iqattack.directions import BANK, Known, Pattern, Stroke, Tile, ordered

LAYERS = 64  # images whose detail is kept
FINALISTS = 16  # patterns that are tried on all images in the end
MINIBATCH = 4  # images
FIRST = 0.25  # of a direction's budget, at most, for the bank

PAIRS, SIGMA, STEP, MOMENTUM = 10, 0.5, 0.2, 0.9  # of NES; lengths in halves of the box
POPULATION, SCALE, CROSSING = 50, 0.5, 0.9  # of differential evolution
P_INIT = 0.05  # share of the tile that the first squares cover

Learnt = tuple[list[Known], dict[str, Tensor]]
Asking = Generator[Sequence[Proposal], Sequence[Answer], NDArray[np.float64]]
Trying = Generator[Sequence[Proposal], Sequence[Answer], list[Pattern]]


class Group:
    """The images of one direction, and what may still be asked about them.

    numbers: of the images in the set; left: queries, whichever image they are about. An image that
    fails leaves.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        numbers: Sequence[int],
        left: int,
        rng: np.random.Generator,
    ) -> None:
        self.numbers = list(numbers)
        self.left = left
        self.rng = rng
        self._tasks = tasks
        self._layers: dict[int, Layer] = {}

    def size(self) -> tuple[int, int]:
        """Height and width that hold every image."""
        shapes = [self._tasks[number].image8.shape for number in self.numbers]
        return max(shape[1] for shape in shapes), max(shape[2] for shape in shapes)

    def draw(self, size: int) -> list[int]:
        """A minibatch."""
        size = min(size, len(self.numbers))
        return sorted(self.rng.choice(self.numbers, size, replace=False).tolist())

    def gains(self, pattern: Pattern, numbers: Sequence[int]) -> Asking:
        """What it gains on each of these images, no more than their scores leave; NaN of none.

        Each counts as a query, though what is known costs none.
        """
        asked = [number for number in numbers if number in self.numbers]
        answers = yield [(number, self._layer(number)(pattern)[None]) for number in asked]
        self.left -= len(asked)
        found = dict.fromkeys(numbers, np.nan)
        for number, answer in zip(asked, answers, strict=True):
            if answer.end is not None or not len(answer.gain):
                self.numbers.remove(number)
            else:
                found[number] = min(float(answer.gain[0]), self._tasks[number].reach)
        return np.array([found[number] for number in numbers])

    def mean(
        self, pattern: Pattern, numbers: Sequence[int]
    ) -> Generator[Sequence[Proposal], Sequence[Answer], float]:
        """The mean of what it gains on these images."""
        gains = yield from self.gains(pattern, numbers)
        return float(np.nanmean(gains)) if np.isfinite(gains).any() else -1.0

    def _layer(self, number: int) -> Layer:
        if number not in self._layers:
            if len(self._layers) >= LAYERS:
                self._layers.pop(next(iter(self._layers)))
            self._layers[number] = Layer(self._tasks[number])
        return self._layers[number]


Way = Callable[[Group, int, int], Trying]
"""Searches one direction, and leaves so many queries; returns candidates for the last round."""


def learning(
    way: str,
    total: int,
    *,
    most: int = 8,
    minibatch: int = MINIBATCH,
    note: Callable[[str, str], None] = lambda _subject, _phrase: None,
) -> SetAttack:
    """A set attack that learns patterns for both directions, with so many queries in all.

    total: clean images included; those whose scores are to rise and those to fall share the rest
    by their numbers. most: patterns of each direction. Returns patterns and tiles for scores that
    rise and for scores that fall.
    """

    def attack(given: SetTask) -> SetSearch:
        tasks = given.tasks
        able = [k for k in range(len(tasks)) if tasks[k].queries > 0 and tasks[k].reach > 0.0]
        rest = total - len(tasks)
        seed = int(torch.randint(2**31, (), generator=given.rng))
        found: list[Learnt] = []
        for rising, name in ((True, "up"), (False, "down")):
            numbers = [k for k in able if tasks[k].rising == rising]
            share = rest * len(numbers) // max(len(able), 1)
            group = Group(tasks, numbers, share, np.random.default_rng((seed, rising)))
            if numbers:
                note("universal", f"{name}: {share:,} queries on {len(numbers)} images")
            found.append((yield from _learnt(group, WAYS[way], most, minibatch, name)))
        return tuple(found)

    return attack


def _learnt(
    group: Group, way: Way, most: int, minibatch: int, name: str
) -> Generator[Sequence[Proposal], Sequence[Answer], Learnt]:
    """The best of a way's finalists, tried on all images."""
    if not group.numbers:
        return [], {}
    everyone = list(group.numbers)
    kept = min(FINALISTS, max(group.left // (2 * len(everyone)), 1))
    candidates = yield from way(group, kept * len(everyone), minibatch)
    patterns, columns = [], []
    for pattern in candidates[:kept]:
        if group.left < len(group.numbers):
            break
        gains = yield from group.gains(pattern, everyone)
        patterns.append(pattern)
        columns.append(gains)
    if not patterns:
        return [], {}
    table = np.stack(columns, 1)
    table = table[np.isfinite(table).all(1)]
    return ordered(patterns, table, most, name) if len(table) else ([], {})


# -- ours -----------------------------------------------------------------------------------------


def filters(group: Group, reserve: int, minibatch: int) -> Trying:
    """The bank on a minibatch, then CMA-ES for a filter beside the best direction.

    All of a generation are laid on the same images, and each generation on others.
    """
    first = group.left
    size = max(min(len(group.numbers), int(FIRST * first) // len(BANK)), 1)
    numbers = group.draw(size)
    bank: list[tuple[float, Stroke]] = []
    for direction in BANK:
        if group.left < reserve + size:
            break
        stroke = Stroke(direction=direction)
        bank.append(((yield from group.mean(stroke, numbers)), stroke))
    bank.sort(key=lambda pair: -pair[0])
    best = bank[0][1] if bank else Stroke(direction=next(iter(BANK)))
    seed = int(group.rng.integers(2**31))
    search = CMA(mean=np.append(np.zeros(SIDE**2), WEIGHT), sigma=1.0, seed=seed)
    tried: list[tuple[float, Stroke]] = []
    while group.numbers:
        numbers = group.draw(minibatch)
        if group.left < reserve + len(numbers) * search.population_size:
            break
        generation = []
        for _ in range(search.population_size):
            theta = search.ask()
            stroke = _stroke(best.direction, theta)
            generation.append((theta, (yield from group.mean(stroke, numbers))))
        search.tell([(theta, -gain) for theta, gain in generation])
        # Others have other images: what counts is how far it is above its generation, and late
        # generations are better ones.
        mean = float(np.mean([gain for _, gain in generation]))
        top, gain = max(generation, key=lambda pair: pair[1])
        tried.append((search.generation + gain - mean, _stroke(best.direction, top)))
    tried.sort(key=lambda pair: -pair[0])
    late = [_stroke(best.direction, search.mean)] if tried else []
    late += [stroke for _, stroke in tried]
    fixed = [stroke for _, stroke in bank]
    # Half of the finalists are fixed directions: they differ most from each other.
    return _alternately(late, fixed)


def _stroke(direction: str, theta: NDArray[np.float64]) -> Stroke:
    *coefficients, weight = theta.tolist()
    return Stroke(direction=direction, weight=weight, filter=tuple(coefficients))


def _alternately(one: Sequence[Pattern], other: Sequence[Pattern]) -> list[Pattern]:
    mixed: list[Pattern] = []
    for k in range(max(len(one), len(other))):
        mixed += [*one[k : k + 1], *other[k : k + 1]]
    return mixed


# -- published ways -------------------------------------------------------------------------------


def nes(group: Group, reserve: int, minibatch: int, side: int = 32) -> Trying:
    """Antithetic samples of a tile, sign steps along the estimate, with momentum."""
    x = np.zeros((3, side, side))
    direction = np.zeros_like(x)
    steps: list[Pattern] = []
    while group.numbers:
        numbers = group.draw(minibatch)
        pairs = min(PAIRS, (group.left - reserve) // (2 * len(numbers)))
        if pairs < PAIRS and steps:
            break
        estimate = np.zeros_like(x)
        for _ in range(pairs):
            noise = group.rng.standard_normal(x.shape)
            for sign in (1.0, -1.0):
                gain = yield from group.mean(_tile(x + sign * SIGMA * noise), numbers)
                estimate += sign * gain * noise
        direction = MOMENTUM * direction + (1.0 - MOMENTUM) * estimate
        x = np.clip(x + STEP * np.sign(direction), -1.0, 1.0)
        steps.append(_tile(x))
    return steps[::-1]


def evolution(group: Group, reserve: int, minibatch: int, side: int = 8) -> Trying:
    """Differential evolution, rand/1/bin; one minibatch, as gains of generations are compared."""
    numbers = group.draw(minibatch)
    shape = (3, side, side)
    people = group.rng.uniform(-1.0, 1.0, (POPULATION, *shape))
    gains = np.full(POPULATION, -np.inf)
    while group.numbers and group.left >= reserve + len(numbers):
        for k in range(POPULATION):
            if group.left < reserve + len(numbers):
                break
            candidate = people[k]
            if np.isfinite(gains[k]):
                others = group.rng.choice(np.delete(np.arange(POPULATION), k), 3, replace=False)
                a, b, c = people[others]
                crossed = group.rng.random(shape) < CROSSING
                candidate = np.clip(np.where(crossed, a + SCALE * (b - c), people[k]), -1.0, 1.0)
            gain = yield from group.mean(_tile(candidate), numbers)
            if gain >= gains[k]:
                people[k], gains[k] = candidate, gain
    return [_tile(people[k]) for k in np.argsort(-gains, kind="stable") if np.isfinite(gains[k])]


def square(group: Group, reserve: int, minibatch: int) -> Trying:
    """Stripes at first, then squares that shrink; kept where the mean gains, on one minibatch."""
    numbers = group.draw(minibatch)
    height, width = group.size()
    signs = group.rng.choice([-1.0, 1.0], (3, 1, width))
    best = np.repeat(signs, height, axis=1)
    first_left = group.left - reserve
    gain = yield from group.mean(_tile(best), numbers)
    steps: list[Pattern] = [_tile(best)]
    while group.numbers and group.left >= reserve + len(numbers):
        share = _share((first_left - (group.left - reserve)) / max(first_left, 1))
        side = max(1, round((share * height * width) ** 0.5))
        side = min(side, height, width)
        top, left = (int(group.rng.integers(size - side + 1)) for size in (height, width))
        candidate = best.copy()
        candidate[:, top : top + side, left : left + side] = group.rng.choice(
            [-1.0, 1.0], (3, 1, 1)
        )
        found = yield from group.mean(_tile(candidate), numbers)
        if found > gain:
            best, gain = candidate, found
            steps.append(_tile(best))
    return steps[::-1]


def _share(progress: float) -> float:
    """Of the picture that a square covers: halved at these shares of the budget, as published."""
    halvings = sum(progress > at for at in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8))
    return float(P_INIT / 2**halvings)


def _tile(values: NDArray[np.float64]) -> Tile:
    return Tile(torch.from_numpy(np.clip(values, -1.0, 1.0).astype(np.float32)))


WAYS: dict[str, Way] = {"filter": filters, "nes": nes, "evolution": evolution, "square": square}
