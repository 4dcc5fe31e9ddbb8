"""Methods that learn a universal perturbation from scores: set attacks with one total budget.

Each candidate pattern is applied to a *minibatch* of images, and its value is the mean gain there.
The two directions are learnt one after the other: patterns that raise the raw scores of the images
whose scores are to rise, and patterns that lower those of the others.

- `filter` (ours): the bank and gratings of opponent colours; a tile that adds up gratings; then
  filters of each image's own detail, as in `filter_search.py`, beside the tile or a direction of
  the bank. A filter adapts to every image, whereas a fixed tile is the same on all.
- `nes`, `evolution`, `square`: tiles of 32×32 by NES, tiles of 8×8 by differential evolution (Storn
  & Price, 1997), and patterns of the size of the image by Square Attack's random search; the
  methods that Bychkov et al. (ICME 2025) use, apart from budgets and boxes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.attacks.contract import Answer, Proposal, SetAttack, SetSearch, SetTask, Task
from iqattack.attacks.shared.painting.filters import SIDE, WEIGHT
from iqattack.attacks.shared.painting.layer import Layer
from iqattack.directions import BANK, Known, Pattern, Stroke, Tile, ordered

LAYERS = 64  # images whose detail is cached
FINALISTS = 16  # patterns evaluated on all images at the end
MINIBATCH = 4  # images
FIRST = 0.25  # maximum share of a direction's budget for the bank
PERIOD, PHASE = 8, 0.3  # of gratings: pixels; a phase at which no wave is 0 at a pixel
WAVES = (
    (1, 0),
    (0, 1),
    (1, 1),
    (1, -1),
    (2, 0),
    (0, 2),
    (2, 2),
    (2, -2),
    (3, 1),
    (3, -1),
    (1, 3),
    (1, -3),
)  # cycles in a period, down and across
STRENGTHS = (0.5, 1.0, 2.0)  # of an added grating, in standard deviations of the sum so far
TRIAL, SUM = 0.1, 0.5  # maximum shares for the sum of what the bank leaves: at first, if it is best
OPPONENTS = ((1, -1, 1), (1, 1, -1), (1, -1, -1))  # magenta, yellow and red against their opposites
SHARES = (0.5, 0.25, 0.25)  # of the budget that the bank leaves, for each filter in turn

PAIRS, SIGMA, STEP, MOMENTUM = 10, 0.5, 0.2, 0.9  # of NES; lengths in box radii
POPULATION, SCALE, CROSSING = 50, 0.5, 0.9  # of differential evolution
P_INIT = 0.05  # share of the tile that the first squares cover

Gained = dict[int, float]
Learnt = tuple[list[Known], dict[str, Tensor]]
Asking = Generator[Sequence[Proposal], Sequence[Answer], NDArray[np.float64]]
Trying = Generator[Sequence[Proposal], Sequence[Answer], list[Pattern]]


class Group:
    """The images of one direction, and their remaining queries.

    numbers: of the images in the set; left: queries for all images together. A failed image is
    removed. repeated: tiles of which gains are cached, as those of all strokes are.
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
        self.repeated: set[Pattern] = set(GRATINGS)
        self._tasks = tasks
        self._layers: dict[int, Layer] = {}
        self._known: dict[tuple[Pattern, int], float] = {}

    def size(self) -> tuple[int, int]:
        """Largest height and largest width of the images."""
        shapes = [self._tasks[number].image8.shape for number in self.numbers]
        return max(shape[1] for shape in shapes), max(shape[2] for shape in shapes)

    def draw(self, size: int) -> list[int]:
        """A random minibatch."""
        size = min(size, len(self.numbers))
        return sorted(self.rng.choice(self.numbers, size, replace=False).tolist())

    def able(self, numbers: Sequence[int]) -> bool:
        """Whether any of these images is still there."""
        return any(number in self.numbers for number in numbers)

    def gains(self, pattern: Pattern, numbers: Sequence[int]) -> Asking:
        """Gain of a pattern on each of these images, limited by the score range; NaN on failure.

        Each counts as a query unless it is cached here, even if the engine has it in its log.
        """
        found = {number: self._remembered(pattern, number) for number in numbers}
        asked = [k for k in numbers if k in self.numbers and np.isnan(found[k])]
        if not asked:
            return np.array([found[number] for number in numbers])
        answers = yield [(number, self._layer(number)(pattern)[None]) for number in asked]
        self.left -= len(asked)
        for number, answer in zip(asked, answers, strict=True):
            if answer.end is not None or not len(answer.gain):
                self.numbers.remove(number)
            else:
                found[number] = min(float(answer.gain[0]), self._tasks[number].reach)
                if isinstance(pattern, Stroke) or pattern in self.repeated:
                    self._known[pattern, number] = found[number]
        return np.array([found[number] for number in numbers])

    def mean(
        self, pattern: Pattern, numbers: Sequence[int], beside: Gained | None = None
    ) -> Generator[Sequence[Proposal], Sequence[Answer], float]:
        """The mean gain of a pattern on these images.

        beside: gains of earlier patterns by image; then the larger of the two gains counts.
        """
        gains = yield from self.gains(pattern, numbers)
        if beside is not None:
            gains = np.maximum(gains, [beside[number] for number in numbers])
        return float(np.nanmean(gains)) if np.isfinite(gains).any() else -1.0

    def cost(self, pattern: Pattern) -> int:
        """Queries needed for the gains of a pattern on all images."""
        return sum(bool(np.isnan(self._remembered(pattern, k))) for k in self.numbers)

    def _remembered(self, pattern: Pattern, number: int) -> float:
        return self._known.get((pattern, number), np.nan)

    def _layer(self, number: int) -> Layer:
        if number not in self._layers:
            if len(self._layers) >= LAYERS:
                self._layers.pop(next(iter(self._layers)))
            self._layers[number] = Layer(self._tasks[number])
        return self._layers[number]


Way = Callable[[Group, int, int], Trying]
"""Searches one direction, leaving some queries; returns candidates for the last round."""


def learning(
    way: str,
    total: int,
    *,
    most: int = 8,
    minibatch: int = MINIBATCH,
    note: Callable[[str, str], None] = lambda _subject, _phrase: None,
) -> SetAttack:
    """A set attack that learns patterns for both directions, with one total budget.

    total: queries, clean images included; the two directions share the rest in proportion to their
    numbers of images. most: maximum number of patterns per direction. Returns patterns and tiles
    that raise scores, and those that lower them.
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
    """The best of a method's finalists, evaluated on all images."""
    if not group.numbers:
        return [], {}
    everyone = list(group.numbers)
    kept = min(FINALISTS, max(group.left // (2 * len(everyone)), 1))
    candidates = yield from way(group, kept * len(everyone), minibatch)
    patterns, columns = [], []
    for pattern in candidates:
        cost = group.cost(pattern)
        if group.left < cost or (cost and not kept):
            continue
        kept -= bool(cost)
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
    """Fixed patterns on a minibatch, then a tile, then one filter after the other by CMA-ES, each
    added to a direction of the bank or to the tile.

    Channels of the direction are negated if that gains, since some models depend on colour. The
    first filter is optimised on its own, each further one as a complement of those before it. All
    filters of a generation are evaluated on the same minibatch, and each generation on a new one.
    """
    first, everyone = group.left, list(group.numbers)
    size = max(min(len(everyone), int(FIRST * first) // (len(BANK) + len(GRATINGS))), 1)
    numbers = group.draw(size)
    bank: list[Stroke] = []
    fixed: list[tuple[float, Pattern]] = []
    patterns: list[Pattern] = [*(Stroke(direction=name) for name in BANK), *GRATINGS]
    for pattern in patterns:
        if group.left < reserve + size:
            break
        fixed.append(((yield from group.mean(pattern, numbers)), pattern))
        if isinstance(pattern, Stroke):
            bank.append(pattern)
    fixed.sort(key=lambda pair: -pair[0])
    beside: Gained | None = None
    finals: list[Pattern] = []
    tried: list[Pattern] = []
    gratings = [pattern for _, pattern in fixed if isinstance(pattern, Tile)]
    tile: Tile | None = None
    if gratings:
        tiles = yield from _tiles(group, gratings[0], bank, numbers[:minibatch], reserve)
        tile, tried = tiles[0], [*tiles[1:]]
        finals.append(tile)
    shares = SHARES[: max(reserve // max(len(everyone), 1), 1)]
    for number in range(len(shares)):
        best: Pattern
        gain, best = yield from _direction(group, bank, numbers, beside, reserve)
        if tile is not None and (yield from group.mean(tile, numbers, beside)) > gain:
            best = tile
        share = shares[number] / sum(shares[number:])
        until = group.left - int(share * max(group.left - reserve, 0))
        found = yield from _filter(group, best, until, minibatch, beside)
        if not found:
            break
        finals.append(found[0])
        tried = _alternately(tried, found[1:])
        group.repeated.add(found[0])
        gains = yield from group.gains(found[0], everyone)
        reserve -= len(everyone)
        beside = {
            k: max(0.0 if beside is None else beside[k], gain)
            for k, gain in zip(everyone, gains.tolist(), strict=True)
        }
    # Fixed patterns are the most diverse.
    strokes = [stroke for stroke in bank if stroke.turned]
    return finals + _alternately(tried, [*strokes, *(pattern for _, pattern in fixed)])


def _tiles(
    group: Group, first: Tile, bank: Sequence[Stroke], numbers: Sequence[int], reserve: int
) -> Generator[Sequence[Proposal], Sequence[Answer], list[Tile]]:
    """Sums of gratings, the last one first: another grating, of random waves, colour, phase and
    strength, stays if the signs of the sum gain no less with it.

    numbers: the images on which it has to gain; all sums see the same, since they are compared. A
    tile that does not gain more than every direction of the bank gets a smaller share.
    """
    rival = -1.0
    for stroke in bank:
        rival = max(rival, (yield from group.mean(stroke, numbers)))
    best = yield from group.mean(first, numbers)
    total = first.values.numpy().astype(np.float64)
    total /= total.std()
    left, steps = group.left - reserve, [first]
    while group.able(numbers):
        rest = 1.0 - (SUM if best > rival else TRIAL)
        if group.left - reserve - len(numbers) < rest * left:
            break
        colour = group.rng.standard_normal(3)
        colour *= np.sqrt(3) / np.linalg.norm(colour)
        waves, phase = group.rng.integers(0, PERIOD, 2), group.rng.uniform(0, 2 * np.pi)
        strength = group.rng.choice(STRENGTHS)
        other = total + strength * colour[:, None, None] * _wave(waves, phase)
        other /= other.std()
        tile = _tile(np.where(other > 0, 1.0, -1.0))
        if torch.equal(tile.values, steps[-1].values):
            total = other
            continue
        group.repeated.add(tile)  # it may be chosen in the end
        gain = yield from group.mean(tile, numbers)
        if gain >= best:
            best, total = gain, other
            steps.append(tile)
    return steps[::-1]


def _direction(
    group: Group,
    bank: list[Stroke],
    numbers: Sequence[int],
    beside: Gained | None,
    reserve: int,
) -> Generator[Sequence[Proposal], Sequence[Answer], tuple[float, Stroke]]:
    """The best direction of the bank and its mean gain; negated in channels where that gains more,
    which is added to the bank.
    """
    values = {}
    for stroke in bank:
        values[stroke] = yield from group.mean(stroke, numbers, beside)
    bank.sort(key=lambda stroke: -values[stroke])
    if not bank:
        return -1.0, Stroke(direction=next(iter(BANK)))
    best = bank[0]
    for channel in range(3):
        if channel in best.turned:
            continue
        if group.left < reserve + len(numbers):
            break
        other = best.model_copy(update={"turned": (*best.turned, channel)})
        values[other] = yield from group.mean(other, numbers, beside)
        bank.append(other)
        best = max(best, other, key=lambda stroke: values[stroke])
    return values[best], best


def _gratings() -> tuple[Tile, ...]:
    """Gratings of opponent colours, which the bank lacks, in eight orientations, with periods from
    2.5 to 8 pixels.
    """
    tiles = []
    for waves, colours in itertools.product(WAVES, OPPONENTS):
        wave = np.where(_wave(waves, PHASE) > 0, 1.0, -1.0)
        tiles.append(_tile(np.array(colours)[:, None, None] * wave))
    return tuple(tiles)


def _wave(waves: Sequence[int] | NDArray[np.int64], phase: float) -> NDArray[np.float64]:
    """A plane wave (8, 8). waves: cycles in a period, down and across; phase: radians."""
    down, across = np.mgrid[:PERIOD, :PERIOD]
    wave: NDArray[np.float64] = np.cos(
        2 * np.pi * (waves[0] * down + waves[1] * across) / PERIOD + phase
    )
    return wave


def _filter(
    group: Group, best: Pattern, until: int, minibatch: int, beside: Gained | None
) -> Generator[Sequence[Proposal], Sequence[Answer], list[Pattern]]:
    """Filters added to a direction or a tile, searched until `until` queries are left, the best
    guess first.

    They have the symmetries of a square: a filter for all images has no preferred orientation, and
    six coefficients are found with fewer queries than 25.
    """
    from cmaes import CMA  # noqa: PLC0415 - imports scipy.stats, which takes a second

    start = np.append(np.zeros(ALIKE.shape[1]), WEIGHT)
    search = CMA(mean=start, sigma=1.0, seed=int(group.rng.integers(2**31)))
    tried: list[tuple[float, Pattern]] = []
    while group.numbers:
        numbers = group.draw(minibatch)
        if group.left < until + len(numbers) * search.population_size:
            break
        generation = []
        for _ in range(search.population_size):
            theta = search.ask()
            pattern = _filtered(best, theta)
            generation.append((theta, (yield from group.mean(pattern, numbers, beside))))
        search.tell([(theta, -gain) for theta, gain in generation])
        # Generations see different images: a gain counts relative to the mean of its generation,
        # and late generations are better.
        mean = float(np.mean([gain for _, gain in generation]))
        top, gain = max(generation, key=lambda pair: pair[1])
        tried.append((search.generation + gain - mean, _filtered(best, top)))
    tried.sort(key=lambda pair: -pair[0])
    guess: list[Pattern] = [_filtered(best, search.mean)] if tried else []
    return guess + [pattern for _, pattern in tried]


def _alike(side: int) -> NDArray[np.float64]:
    """An orthonormal basis (side², n) of the filters that have the symmetries of a square."""
    away = np.abs(np.arange(side) - side // 2)
    kinds = [tuple(sorted(pair)) for pair in itertools.product(away.tolist(), repeat=2)]
    alike = np.array([[kind == other for other in sorted(set(kinds))] for kind in kinds], float)
    basis: NDArray[np.float64] = alike / np.sqrt(alike.sum(0))
    return basis


ALIKE = _alike(SIDE)


def _filtered(best: Pattern, theta: NDArray[np.float64]) -> Pattern:
    filter_, weight = tuple((ALIKE @ theta[:-1]).tolist()), float(theta[-1])
    if isinstance(best, Tile):
        return replace(best, filter=filter_, weight=weight)
    return best.model_copy(update={"filter": filter_, "weight": weight})


def _alternately(one: Sequence[Pattern], other: Sequence[Pattern]) -> list[Pattern]:
    mixed: list[Pattern] = []
    for k in range(max(len(one), len(other))):
        mixed += [*one[k : k + 1], *other[k : k + 1]]
    return mixed


# -- published methods ----------------------------------------------------------------------------


def nes(group: Group, reserve: int, minibatch: int, side: int = 32) -> Trying:
    """Antithetic sampling of a tile; sign steps along the estimated gradient, with momentum."""
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
    """Differential evolution, rand/1/bin; one minibatch, since generations are compared."""
    numbers = group.draw(minibatch)
    shape = (3, side, side)
    people = group.rng.uniform(-1.0, 1.0, (POPULATION, *shape))
    gains = np.full(POPULATION, -np.inf)
    while group.able(numbers) and group.left >= reserve + len(numbers):
        for k in range(POPULATION):
            if group.left < reserve + len(numbers) or not group.able(numbers):
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
    """Vertical stripes, then shrinking squares, kept if the mean gain rises; one minibatch."""
    numbers = group.draw(minibatch)
    height, width = group.size()
    signs = group.rng.choice([-1.0, 1.0], (3, 1, width))
    best = np.repeat(signs, height, axis=1)
    first_left = group.left - reserve
    gain = yield from group.mean(_tile(best), numbers)
    steps: list[Pattern] = [_tile(best)]
    while group.able(numbers) and group.left >= reserve + len(numbers):
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
    """Share of the image that a square covers: halved at the published shares of the budget."""
    halvings = sum(progress > at for at in (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8))
    return float(P_INIT / 2**halvings)


def _tile(values: NDArray[np.float64]) -> Tile:
    return Tile(torch.from_numpy(np.clip(values, -1.0, 1.0).astype(np.float32)))


GRATINGS = _gratings()
WAYS: dict[str, Way] = {"filter": filters, "nes": nes, "evolution": evolution, "square": square}
