"""How much images gain that learn from each other: pooled-search beside portfolio-search.

    python benchmarks/pooled.py --victims cnniqa builtin    # continues where it stopped
    python benchmarks/pooled.py --report                    # only writes the page

Each victim takes one to six minutes of one core and set. Rows are added to
benchmarks/rows/pooled.csv.xz; docs/pooled-search.md and its plot are made of them.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
from multiprocessing import get_context
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from rich.console import Console
from rich.progress import track

from cells import image_set
from common import (
    ROOT,
    Floats,
    markdown,
    mean,
    read_csv,
    rows_file,
    shared_data,
    with_interval,
    write_csv,
    write_doc,
)
from fingerprints import fingerprint
from iqattack.attacks import load_attack, load_set_attack
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Failure, Outcome, QueryLog
from iqattack.objectives import parse_objective
from limit import VICTIMS, ratio, shown
from scorers import scorer

ALONE, TOGETHER = "portfolio-search", "pooled-search"
SETS = {"dev": "development", "samples": "sample set"}
BOX, SEED = "linf:3", 0
POINTS = (2, 5, 10, 20, 50, 100)  # queries per image
ROWS = rows_file("pooled")
PAGE = ROOT / "docs" / "pooled-search.md"
PLOT = PAGE.with_suffix(".png")
NOTE = Path(__file__).with_suffix(".md")


@dataclass(frozen=True)
class Row:
    """The best gain of one image after a number of queries, the clean image being the first."""

    victim: str
    images: str
    attack: str
    code: str
    image: str
    queries: int
    gain: float


@cache
def read() -> list[Row]:
    """The rows made with the current code."""
    return [r for r in read_csv(ROWS, Row) if r.code == fingerprint(r.attack, r.victim, BOX)]


def measured(victim: str, of_set: str, attack: str) -> list[Row]:
    """The rows of a victim.

    What images learn depends on the budget of the others, so pooled-search has a run for each
    budget; the first candidates of portfolio-search are the same with any of these.
    """
    torch.set_num_threads(1)
    if attack == ALONE:
        return list(_run(victim, of_set, attack, POINTS))
    return [row for queries in POINTS for row in _run(victim, of_set, attack, (queries,))]


def _run(victim: str, of_set: str, attack: str, points: Sequence[int]) -> Iterator[Row]:
    """Rows at these numbers of queries, of a run with the last of them."""
    images, model = image_set(of_set), scorer(victim)
    with QueryLog() as log:
        engine = Engine.in_process(
            model,
            load_attack(attack),
            parse_constraint(BOX),
            parse_objective("rank"),
            queries=points[-1],
            seed=SEED,
            log=log,
        )
        if attack == TOGETHER:
            items, _ = engine.run_set(images, load_set_attack(attack), tolerant=True)
        else:
            items = list(engine.run(images))
        for item in items:
            if isinstance(item, Failure) or not isinstance(item, Outcome):
                raise RuntimeError(f"{item}")
            name = item.entry.name
            gains = [0.0, *(item.target.gain(float(s)) for s in log.rows(name)["score"][1:])]
            for queries in points:
                gain = min(max(gains[:queries]), item.target.reach)
                code = fingerprint(attack, victim, BOX)
                yield Row(victim, of_set, attack, code, name, queries, gain)


def gains(victim: str, of_set: str, attack: str, queries: int) -> Floats:
    """Of the images in their order."""
    wanted = (victim, of_set, attack, queries)
    found = {r.image: r.gain for r in read() if (r.victim, r.images, r.attack, r.queries) == wanted}
    return np.array([found[name] for name in sorted(found)])


def done(of_set: str) -> list[str]:
    """The victims of which both attacks were measured."""
    return [
        name for name in VICTIMS if all(len(gains(name, of_set, a, 2)) for a in (ALONE, TOGETHER))
    ]


def table(of_set: str) -> list[dict[str, str]]:
    """A line for each victim and number of queries, and the mean of victims."""
    lines = []
    for name, queries in itertools.product(done(of_set), POINTS):
        alone, together = (100 * gains(name, of_set, a, queries) for a in (ALONE, TOGETHER))
        lines.append(
            {
                "victim": shown(name),
                "queries": str(queries),
                ALONE: with_interval(".1f", mean, alone),
                TOGETHER: with_interval(".1f", mean, together),
                "ratio": with_interval(".2f", ratio, together, alone),
            }
        )
    return lines


def means(of_set: str) -> list[dict[str, str]]:
    """A line for each number of queries: means over victims."""
    lines = []
    for queries in POINTS:
        each = {
            a: [mean(100 * gains(name, of_set, a, queries)) for name in done(of_set)]
            for a in (ALONE, TOGETHER)
        }
        over = [b / a for a, b in zip(each[ALONE], each[TOGETHER], strict=True)]
        lines.append(
            {
                "images": SETS[of_set],
                "queries": str(queries),
                **{a: f"{np.mean(values):.1f}" for a, values in each.items()},
                "mean of ratios": f"{np.mean(over):.2f}",
                "least ratio": f"{min(over):.2f}",
                "victims": str(len(over)),
            }
        )
    return lines


def plot(sets: Sequence[str]) -> None:
    """Gain against queries, a panel for each victim."""
    mpl.use("Agg")
    names = [name for name in VICTIMS if any(name in done(of_set) for of_set in sets)]
    figure, axes = plt.subplots(
        1, len(names), figsize=(2.7 * len(names), 2.9), squeeze=False, layout="constrained"
    )
    for axis, name in zip(axes[0], names, strict=True):
        for of_set, (attack, colour) in itertools.product(sets, ((ALONE, "0.4"), (TOGETHER, "C3"))):
            if name in done(of_set):
                found = [100 * mean(gains(name, of_set, attack, n)) for n in POINTS]
                style = "-" if of_set == "dev" else "--"
                label = attack if of_set == "dev" else None
                axis.plot(POINTS, found, style, color=colour, marker="o", ms=3, label=label)
        axis.set(xscale="log", title=shown(name), xlabel="queries per image", ylim=(0, None))
        axis.set_xticks(POINTS, [str(n) for n in POINTS])
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0, 0].set_ylabel("mean gain, points of 100")
    axes[0, 0].legend()
    figure.savefig(PLOT, dpi=90)
    plt.close(figure)


def write_page() -> None:
    """docs/pooled-search.md and its plot."""
    sets = [of_set for of_set in SETS if done(of_set)]
    if not sets:
        print("no victim is done yet")
        return
    plot(sets)
    parts = [markdown([line for of_set in sets for line in means(of_set)])]
    parts += [f"### {SETS[of_set].capitalize()}\n\n{markdown(table(of_set))}" for of_set in sets]
    note = NOTE.read_text(encoding="utf-8").replace("<!-- tables -->", "\n\n".join(parts))
    note = note.replace("<!-- seed -->", str(SEED))
    write_doc(PAGE, "Pooled search", "python benchmarks/pooled.py", note.rstrip())


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=list(VICTIMS), choices=list(VICTIMS))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    shared_data()
    torch.set_num_threads(1)
    if not options.report:
        write_csv(ROWS, Row, read(), anew=True)  # without those of other code
        todo = [
            (name, of_set, attack)
            for of_set, name, attack in itertools.product(
                options.sets, options.victims, (ALONE, TOGETHER)
            )
            if not len(gains(name, of_set, attack, 2))
        ]
        with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
            jobs = [pool.submit(measured, *each) for each in todo]
            finished = track(as_completed(jobs), "runs", len(jobs), console=Console(stderr=True))
            write_csv(ROWS, Row, (row for job in finished for row in job.result()))
    read.cache_clear()
    write_page()


if __name__ == "__main__":
    main()
