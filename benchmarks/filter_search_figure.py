"""Draws docs/filter-search.png: one image through the stages of filter-search.

python benchmarks/filter_search_figure.py [--image kodim04_noise1.png] [--queries 1000]
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from common import ROOT, Floats, cnniqa, dev_images, rank_directions, shared_data
from iqattack.attacks import Attack, Search, Task, load_attack
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.attacks.shared.painting.filters import searched_filters
from iqattack.attacks.shared.painting.first import first_brushes
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Outcome, QueryLog
from iqattack.images import ImageSet
from iqattack.objectives import Direction, parse_objective

BOX, MAGNIFIED = "linf:3", 20
STAGES = {
    "bank": "filter-search:filters=0,regions=false",
    "bank, filter": "filter-search:regions=false",
    "bank, filter, regions": "filter-search",
}


@dataclass(frozen=True)
class Seen:
    """The outcome of one run, and the gain of the best image after each query."""

    outcome: Outcome
    trace: Floats


def attacked(attack: Attack, images: ImageSet, direction: Direction, queries: int) -> Seen:
    """One image."""
    with QueryLog() as log:
        engine = Engine.in_process(
            cnniqa(),
            attack,
            parse_constraint(BOX),
            parse_objective(direction),
            queries=queries,
            log=log,
        )
        (outcome,) = engine.run(images)
        if not isinstance(outcome, Outcome):
            raise RuntimeError(f"{outcome.entry.name} failed")
        scores = torch.from_numpy(log.rows(images.entries[0].name)["score"].copy())
    gains = np.asarray(outcome.target.gain(scores))
    return Seen(outcome, np.maximum.accumulate(100 * gains))


def best_filter(images: ImageSet, direction: Direction, queries: int) -> Floats:
    """The filter that the second stage found, by the attack's own functions."""
    found: list[Brush] = []

    def search(task: Task) -> Search:
        canvas = Canvas(task)
        (first, *_) = yield from first_brushes(canvas)
        found.extend((yield from searched_filters(canvas, first, queries // 2)))

    attacked(search, images, direction, queries)
    theta = found[0].theta
    if theta is None:
        raise RuntimeError("the search found no filter")
    return theta[:-1].reshape(5, 5)


def picture(axis: Axes, pixels: Floats, title: str) -> None:
    """An image without axes."""
    axis.imshow(pixels.clip(0, 255).astype(np.uint8))
    axis.set_title(title, fontsize=9)
    axis.axis("off")


def main() -> None:
    """Draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default="kodim04_noise1.png")
    parser.add_argument("--queries", type=int, default=1000)
    options = parser.parse_args()
    shared_data()
    images = dev_images()
    number = [entry.name for entry in images].index(options.image)
    direction = rank_directions(cnniqa(), images)[number]
    one = ImageSet((images.entries[number],))
    seen = {
        stage: attacked(load_attack(spec), one, direction, options.queries)
        for stage, spec in STAGES.items()
    }
    kernel = best_filter(one, direction, options.queries)

    mpl.use("Agg")
    figure = plt.figure(figsize=(11, 8.5), constrained_layout=True)
    grid = figure.add_gridspec(3, 4, height_ratios=(1, 1, 0.8))
    clean = next(iter(seen.values())).outcome
    shown = clean.clean.permute(1, 2, 0).numpy().astype(np.float64)
    picture(figure.add_subplot(grid[0, 0]), shown, f"clean: CNNIQA says {clean.score_clean:.1f}")
    axis = figure.add_subplot(grid[1, 0])
    most = np.abs(kernel).max()
    axis.imshow(kernel, cmap="RdBu", vmin=-most, vmax=most)
    axis.set_title("the filter that was found", fontsize=9)
    axis.axis("off")
    for column, (stage, run) in enumerate(seen.items(), 1):
        changed = run.outcome.adversarial.permute(1, 2, 0).numpy().astype(np.float64)
        told = f"{stage}: {run.outcome.score_adv:.1f} after {run.outcome.queries} queries"
        picture(figure.add_subplot(grid[0, column]), changed, told)
        difference = 128 + MAGNIFIED * (changed - shown)
        picture(figure.add_subplot(grid[1, column]), difference, f"what was changed, ×{MAGNIFIED}")
    axis = figure.add_subplot(grid[2, :])
    run = seen["bank, filter, regions"]
    trace = run.trace
    axis.plot(np.arange(1, len(trace) + 1), trace, color="black")
    for query, stage in run.outcome.stages:
        axis.axvline(query, color="grey", linewidth=0.8)
        axis.text(query, trace.max(), f" {stage}", va="top", fontsize=9)
    axis.set_xlabel("queries")
    axis.set_ylabel("gain, points of 100")
    axis.set_xlim(0, options.queries)
    path = ROOT / "docs" / "filter-search.png"
    figure.savefig(path, dpi=80)
    print(f"written: {path.relative_to(ROOT)}")
    for stage, run in seen.items():
        print(f"{stage}: gain {100 * run.outcome.gain:.1f}, {run.outcome.queries} queries")


if __name__ == "__main__":
    main()
