"""Alternatives to parts of filter-search that were rejected, each with all else unchanged.

    python benchmarks/filter_search_tried.py
    python benchmarks/filter_search_tried.py --models cnniqa --limit 2 --queries 100

Writes docs/filter-search-tried.md; with another limit or budget it only prints.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from multiprocessing import get_context
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from cmaes import CMA, SepCMA
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track
from torch import Tensor
from torch.nn import functional

from cells import directions, spread
from common import (
    ROOT,
    Floats,
    dev_images,
    machine,
    markdown,
    mean,
    measure,
    shared_data,
    with_interval,
    write_doc,
)
from iqattack.attacks import Answer, Search, Task
from iqattack.attacks.shared.painting.canvas import MARGIN, Brush, Canvas, Window
from iqattack.attacks.shared.painting.filters import (
    FILTERS,
    SHARE,
    SIDE,
    WEIGHT,
    Optimiser,
    searched,
)
from iqattack.attacks.shared.painting.first import first_brushes
from iqattack.attacks.shared.painting.regions import PALETTE, painted_regions
from iqattack.directions import bank
from iqattack.images import ImageSet
from scorers import scorer

PAGE = ROOT / "docs" / "filter-search-tried.md"
MODELS, BOX, QUERIES, LIMIT = ("cnniqa", "builtin"), "linf:3", 500, 8
AS_IT_IS = "filter-search as it is"
COEFFICIENTS = SIDE**2
BLOCKS = 7  # a row, of those that are painted at once
MUTATION = 0.3  # of a filter's coefficients, of their norm
Theta = NDArray[np.float64]
Regions = Callable[[Canvas, list[Brush]], Search]
Palette = Callable[[Canvas, list[Brush], list[Brush]], list[Brush]]


# -- the form of the filter, and its input --------------------------------------------------------


class Wider(Canvas):
    """Brushes with more parameters, which precede the weight in theta."""

    more: ClassVar[int] = COEFFICIENTS

    def field(self, brush: Brush, rows: slice, columns: slice) -> Tensor:
        """The field of the first filter, changed by the additional parameters."""
        if brush.theta is None:
            return super().field(brush, rows, columns)
        theta = np.append(brush.theta[:COEFFICIENTS], brush.theta[-1])
        whole = (slice(0, side) for side in self.image.shape[1:])
        plain = super().field(replace(brush, theta=theta), *whole)
        return self.changed(plain, brush.theta[COEFFICIENTS:-1])[:, rows, columns]

    def changed(self, field: Tensor, more: Theta) -> Tensor:
        """Of the whole picture, (1 or 3, H, W)."""
        raise NotImplementedError

    @cached_property
    def plane(self) -> Tensor:
        """High frequencies (1, H, W), as the filter takes them."""
        return self.detail[None, MARGIN:-MARGIN, MARGIN:-MARGIN]


def filtered(plane: Tensor, coefficients: Theta) -> Tensor:
    """A plane (1 or 3, H, W) with a filter of SIDE×SIDE coefficients."""
    kernel = torch.from_numpy(coefficients).float().reshape(1, 1, SIDE, SIDE)
    padded = functional.pad(plane[:, None], (SIDE // 2,) * 4, mode="replicate")
    return functional.conv2d(padded, kernel)[:, 0]


def normalised(plane: Tensor) -> Tensor:
    """Mean 0 and deviation 1."""
    return (plane - plane.mean()) / plane.std(correction=0).clamp(min=1e-6)


class Rectified(Wider):
    """A second filter of rectified detail, independent of its sign."""

    def changed(self, field: Tensor, more: Theta) -> Tensor:  # noqa: D102
        return field + filtered(normalised(self.plane.abs()), more)


class Noise(Wider):
    """Filtered white noise, added to the filtered image."""

    def changed(self, field: Tensor, more: Theta) -> Tensor:  # noqa: D102
        return field + filtered(self.noise, more)

    @cached_property
    def noise(self) -> Tensor:  # noqa: D102
        return torch.randn(self.plane.shape, generator=torch.Generator().manual_seed(0))


class Places(Wider):
    """One filter for busy places, another for flat ones."""

    def changed(self, field: Tensor, more: Theta) -> Tensor:  # noqa: D102
        return torch.where(self.busy, field + filtered(self.plane, more), field)

    @cached_property
    def busy(self) -> Tensor:  # noqa: D102
        local = functional.avg_pool2d(self.image.float().mean(0)[None], 9, 1, 4)
        deviation = (self.image.float().mean(0)[None] - local).abs()
        activity = functional.avg_pool2d(deviation, 9, 1, 4)
        return activity > activity.median()


class Twice(Wider):
    """The filtered image after a nonlinearity, filtered again."""

    def changed(self, field: Tensor, more: Theta) -> Tensor:  # noqa: D102
        return field + field.std() * filtered(torch.tanh(normalised(field)), more)


class DeadZone(Wider):
    """No change where the field is weak."""

    more = 1

    def changed(self, field: Tensor, more: Theta) -> Tensor:  # noqa: D102
        weak = field.abs() < 0.1 * abs(float(more[0])) * field.std()
        return torch.where(weak, torch.zeros_like(field), field)


class Amplitude(Wider):
    """Changes proportional to the field, instead of onto the faces of the box."""

    more = 1

    def changed(self, field: Tensor, more: Theta) -> Tensor:  # noqa: D102
        # e at first: nearly all pixels on the faces.
        return field / field.std().clamp(min=1e-6) * float(np.exp(1.0 + more[0]))

    def painted(self, brush: Brush, window: Window | None = None) -> Tensor:
        """As in `Canvas`, with values between the faces."""
        if brush.theta is None:
            return super().painted(brush, window)
        rows, columns = window or tuple(slice(0, side) for side in self.image.shape[1:])
        place = (slice(None), rows, columns)
        share = self.field(brush, rows, columns).clamp(-1.0, 1.0)
        box = self.task.lower8, self.task.upper8
        image, lower, upper = (x[place].float() for x in (self.image, *box))
        ends = image + share * torch.where(share > 0, upper - image, image - lower)
        picture = self.best.clone() if window else self.image.clone()
        picture[place] = ends.round().byte()
        return picture


# -- how the filter is searched -------------------------------------------------------------------


class Evolution:
    """Natural evolution strategies, antithetic pairs (Salimans et al. 2017)."""

    population_size = 12

    def __init__(self, mean: Theta, sigma: float, seed: int) -> None:
        self.mean, self.sigma, self.rng = mean, sigma, np.random.default_rng(seed)
        self.pair: list[Theta] = []

    def ask(self) -> Theta:  # noqa: D102
        if not self.pair:
            step = self.sigma * self.rng.standard_normal(len(self.mean))
            self.pair = [self.mean + step, self.mean - step]
        return self.pair.pop()

    def tell(self, solutions: list[tuple[Theta, float]]) -> None:  # noqa: D102
        values = np.array([-value for _, value in solutions])
        weights = (values - values.mean()) / max(float(values.std()), 1e-12)
        steps = np.array([point - self.mean for point, _ in solutions])
        self.mean = self.mean + weights @ steps / len(solutions)


Stage = Generator[Tensor, Answer, list[Brush]]


def searched_otherwise(
    canvas: Canvas, first: Brush, make: Callable[..., Optimiser], budget: int, more: int
) -> Stage:
    """The second stage with another optimiser or more numbers; the best filters first."""
    start = np.append(np.zeros(COEFFICIENTS + more), WEIGHT)
    seed = int(torch.randint(2**31, (), generator=canvas.task.rng))
    return (yield from searched(canvas, first, make(mean=start, sigma=1.0, seed=seed), budget))


# -- brushes of regions ---------------------------------------------------------------------------


def best_of_all(_: Canvas, found: list[Brush], brushes: list[Brush]) -> list[Brush]:
    """The attack's own palette."""
    return [*found[:PALETTE], *brushes]


def mutated(canvas: Canvas, found: list[Brush], brushes: list[Brush]) -> list[Brush]:
    """A mutated copy of each filter in addition."""
    rng = np.random.default_rng(0)
    copies = [
        replace(brush, theta=theta + MUTATION * np.linalg.norm(theta) * unit / np.linalg.norm(unit))
        for brush in found[:PALETTE]
        if (theta := brush.theta) is not None
        for unit in [rng.standard_normal(len(theta))]
    ]
    return [*copies, *best_of_all(canvas, found, brushes)]


def with_nothing(canvas: Canvas, found: list[Brush], brushes: list[Brush]) -> list[Brush]:
    """The clean image in addition."""
    return [
        *best_of_all(canvas, found, brushes),
        Brush("nothing", torch.zeros_like(brushes[0].signs)),
    ]


def with_contrary(canvas: Canvas, found: list[Brush], brushes: list[Brush]) -> list[Brush]:
    """The negated best filter and direction in addition."""
    contrary = [replace(brush, signs=-brush.signs) for brush in brushes[:1]]
    contrary += [replace(b, theta=-b.theta) for b in found[:1] if b.theta is not None]
    return [*best_of_all(canvas, found, brushes), *contrary]


def with_whole_bank(canvas: Canvas, found: list[Brush], brushes: list[Brush]) -> list[Brush]:
    """All directions of the bank."""
    every = [Brush(*direction) for direction in bank(canvas.image, canvas.task.rng)]
    return [*best_of_all(canvas, found, brushes), *every]


# -- how regions are painted ----------------------------------------------------------------------


def many_at_once(canvas: Canvas, brushes: list[Brush], count: int) -> Search:
    """Several squares in one query, each with a brush of its own."""
    rng, first_left = canvas.task.rng, canvas.left
    while not canvas.done:
        candidate = canvas.best.clone()
        for _ in range(count):
            brush = brushes[int(torch.randint(len(brushes), (), generator=rng))]
            window = canvas.square(first_left)
            place = (slice(None), *window)
            candidate[place] = canvas.painted(brush, window)[place]
        yield from canvas.ask(candidate)


def regression(canvas: Canvas, brushes: list[Brush]) -> Search:
    """Random halves of all blocks, each with its own brush; least squares estimates their gains.

    It takes a third more queries than there are blocks, then one with all that seem to gain.
    """
    height, width = canvas.image.shape[1:]
    edges = [np.linspace(0, side, BLOCKS + 1).astype(int) for side in (height, width)]
    windows = [
        (slice(top, bottom), slice(left, right))
        for top, bottom in zip(edges[0], edges[0][1:], strict=False)
        for left, right in zip(edges[1], edges[1][1:], strict=False)
    ]
    rng = np.random.default_rng(0)
    designs = round(4 / 3 * len(windows))
    while not canvas.done and canvas.left > designs:
        best, gain = canvas.best, canvas.gain
        other = best.clone()
        for window in windows:
            place = (slice(None), *window)
            other[place] = canvas.painted(brushes[rng.integers(len(brushes))], window)[place]

        def chosen(taken: NDArray[np.bool_], best: Tensor = best, other: Tensor = other) -> Tensor:
            picture = best.clone()
            for window in (windows[k] for k in np.flatnonzero(taken)):
                picture[(slice(None), *window)] = other[(slice(None), *window)]
            return picture

        design = rng.random((designs, len(windows))) < 0.5
        told = []
        for taken in design:
            told.append((yield from canvas.ask(chosen(taken))) - gain)  # noqa: PERF401 - yields
        effects, *_ = np.linalg.lstsq(design.astype(float), np.array(told), rcond=None)
        yield from canvas.ask(chosen(effects > 0))


# -- all of them ----------------------------------------------------------------------------------


def attack(
    canvas: type[Canvas] = Canvas,
    optimiser: Callable[..., Optimiser] = CMA,
    palette: Palette = best_of_all,
    regions: Regions = painted_regions,
    searches: int = 1,
) -> Callable[[Task], Search]:
    """filter-search with one part replaced; searches: number of brushes to add filters to."""

    def search(task: Task) -> Search:
        here = canvas(task)
        brushes = yield from first_brushes(here)
        budget = min(FILTERS, int(SHARE * task.queries)) // searches
        more = canvas.more if issubclass(canvas, Wider) else 0
        found: list[Brush] = []
        for first in brushes[:searches]:
            mine = yield from searched_otherwise(here, first, optimiser, budget, more)
            found += mine[: PALETTE // searches]
        yield from regions(here, palette(here, found, brushes))

    return search


TRIED: dict[str, Callable[[Task], Search]] = {
    AS_IT_IS: attack(),
    "no change where the filtered picture is weak": attack(DeadZone),
    "amplitude searched, not the ends of the box": attack(Amplitude),
    "rectified detail as a second input": attack(Rectified),
    "noise as a second input": attack(Noise),
    "a filter for busy and one for flat places": attack(Places),
    "the filtered picture filtered again": attack(Twice),
    "CMA-ES with a diagonal covariance": attack(optimiser=SepCMA),
    "natural evolution strategies": attack(optimiser=Evolution),
    "filters beside the two best, half of the queries each": attack(searches=2),
    "changed copies of the best filters too": attack(palette=mutated),
    "the image itself in the palette": attack(palette=with_nothing),
    "contraries of the best in the palette": attack(palette=with_contrary),
    "the whole bank in the palette": attack(palette=with_whole_bank),
    "two squares in a query, brushes drawn evenly": attack(regions=partial(many_at_once, count=2)),
    "four squares in a query, brushes drawn evenly": attack(regions=partial(many_at_once, count=4)),
    "regression over 49 blocks, brushes drawn evenly": attack(regions=regression),
}


@dataclass(frozen=True)
class Job:
    """One idea on one image."""

    model: str
    name: str
    image: int
    queries: int


def gained(job: Job) -> float:
    """Gain in points of 100."""
    torch.set_num_threads(1)
    os.chdir(ROOT)
    found = measure(
        job.name,
        scorer(job.model),
        ImageSet((dev_images().entries[job.image],)),
        TRIED[job.name],
        constraint=BOX,
        queries=job.queries,
        objective=directions(job.model, "dev")[job.image],
    )
    return 100 * float(found.gain[0])


def table(models: Sequence[str], gains: dict[tuple[str, str], Floats]) -> str:
    """Gain, and paired difference to the unchanged attack."""
    lines = []
    for name in TRIED:
        line = {"": name}
        for model in models:
            mine, base = gains[model, name], gains[model, AS_IT_IS]
            line[model] = f"{mean(mine):.1f}"
            line[f"{model}, difference"] = (
                "–" if name == AS_IT_IS else with_interval("+.1f", mean, mine - base)
            )
        lines.append(line)
    return markdown(lines)


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--queries", type=int, default=QUERIES)
    parser.add_argument("--limit", type=int, default=LIMIT, help="images, of 24")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    shared_data()
    print(machine())
    images = spread()[: options.limit]
    jobs = [
        Job(model, name, image, options.queries)
        for model in options.models
        for name in TRIED
        for image in images
    ]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        found = pool.map(gained, jobs)
        told = list(track(found, "images attacked", len(jobs), console=Console(stderr=True)))
    gains = {
        (model, name): np.array(
            [g for job, g in zip(jobs, told, strict=True) if (job.model, job.name) == (model, name)]
        )
        for model in options.models
        for name in TRIED
    }
    text = table(options.models, gains)
    print(text)
    usual = (tuple(options.models), options.queries, options.limit) == (MODELS, QUERIES, LIMIT)
    if usual:
        note = Path(__file__).with_suffix(".md").read_text(encoding="utf-8")
        write_doc(
            PAGE,
            "Alternatives tried for filter-search",
            "python benchmarks/filter_search_tried.py",
            f"{note}\n{text}",
        )


if __name__ == "__main__":
    main()
