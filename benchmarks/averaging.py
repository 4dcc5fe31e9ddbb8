"""Whether an attack on a noisy model should average: the same budget, spent on fewer candidates.

    python benchmarks/averaging.py              # continues where it stopped
    python benchmarks/averaging.py --report     # only writes the page

An attack with 500 queries scores each candidate once, or n times and takes the mean, which leaves
it 500/n candidates. Development images, `linf:3`, directions of objective `rank` by the undefended
model. A random defence with n passes returns the mean of n scores; for noise on scores, the
standard deviation is divided by √n. Rows are added to benchmarks/rows/averaging.csv.xz, from which
docs/averaging.md is made.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from cells import image_set
from common import (
    ROOT,
    Floats,
    machine,
    markdown,
    mean,
    measure,
    read_csv,
    rows_file,
    shared_data,
    write_csv,
)
from common import with_interval as interval
from defences import BOX, QUERIES, VICTIMS, code, gain, targets
from iqattack.attacks import load_attack
from iqattack.images import ImageSet, read_image
from iqattack.models import defend, judges
from scorers import scorer

ATTACKS = ("filter-search", "nes", "square")
# One score of each, and the mean of n independent ones.
NOISY: dict[str, Callable[[int], str]] = {
    "crop:0.9": lambda n: f"crop:0.9:{n}",
    "noise:8": lambda n: f"noise:8:{n}",
    "score-noise:1": lambda n: f"score-noise:{1 / math.sqrt(n):g}",
    "score-noise:5": lambda n: f"score-noise:{5 / math.sqrt(n):g}",
}
TIMES = (1, 4, 16)
KEYS = range(1, 33)  # of random draws that no attack has seen
FEWEST = 4  # images for a row of the table
ROWS = rows_file("averaging")
PAGE = ROOT / "docs" / "averaging.md"
NOTE = Path(__file__).with_suffix(".md")  # the page without its tables


@dataclass(frozen=True)
class Row:
    """The result for one image.

    times: number of scores per candidate. reported: gain of the image that the attack kept, as a
    fraction of the score range, by its own scores; true: by independent scores.
    """

    victim: str
    attack: str
    noise: str
    times: int
    image: str
    code: str
    reported: float
    true: float


def rows_of(victim: str, attack: str, noise: str, number: int) -> list[Row]:
    """Of one image, for each number of times."""
    torch.set_num_threads(1)
    model, target = scorer(victim), targets(victim)[number]
    entry = image_set("dev").entries[number]
    judged = judges(model, NOISY[noise](1), KEYS)
    rows = []
    for times in TIMES:
        defence = NOISY[noise](times)
        found = measure(
            attack,
            defend(model, defence),
            ImageSet((entry,)),
            load_attack(attack),
            constraint=BOX,
            queries=QUERIES // times,
            objective=target.direction,
        )
        true = gain(judged, read_image(entry.path).pixels, found.pictures[0], target.rising)
        stamp = code(attack, victim, defence)
        reported = float(found.gain[0])
        rows.append(Row(victim, attack, noise, times, entry.name, stamp, reported, true))
    return rows


def current() -> list[Row]:
    """Rows measured with the current code."""
    return [
        row
        for row in read_csv(ROWS, Row)
        if row.code == code(row.attack, row.victim, NOISY[row.noise](row.times))
    ]


def complete(victims: Sequence[str], limit: int, workers: int) -> None:
    """Add what is missing of the first images."""
    rows = current()
    write_csv(ROWS, Row, rows, anew=True)
    known = {(row.victim, row.attack, row.noise, row.image) for row in rows}
    entries = list(enumerate(image_set("dev")))[:limit]
    todo = [
        (victim, attack, noise, number)
        for (number, entry), attack, victim, noise in itertools.product(
            entries, ATTACKS, victims, NOISY
        )
        if (victim, attack, noise, entry.name) not in known
    ]
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        jobs = [pool.submit(rows_of, *each) for each in todo]
        console = Console(stderr=True)
        for job in track(as_completed(jobs), "images attacked", len(jobs), console=console):
            write_csv(ROWS, Row, job.result())


def table(rows: Sequence[Row]) -> str:
    """A line for each victim, attack and noise, as Markdown."""
    lines = []
    for victim, attack, noise in itertools.product(VICTIMS, ATTACKS, NOISY):
        mine = [r for r in rows if (r.victim, r.attack, r.noise) == (victim, attack, noise)]
        if len(mine) < FEWEST * len(TIMES):
            continue
        line = {"model": victim, "defence": f"`{noise}`", "attack": attack}
        once = column(mine, 1, "true")
        for times in TIMES:
            label = "once" if times == 1 else f"{times} times"
            line[label] = interval(".1f", mean, column(mine, times, "true"))
            if times == 1:
                line["once, as reported"] = interval(".1f", mean, column(mine, 1, "reported"))
            else:
                line[f"{label}, less once"] = interval(
                    "+.1f", mean, column(mine, times, "true") - once
                )
        line["images"] = str(len(once))
        lines.append(line)
    return markdown(lines)


def column(rows: Sequence[Row], times: int, name: str) -> Floats:
    """Gains in points of 100, in the order of the images."""
    mine = sorted((row for row in rows if row.times == times), key=lambda row: row.image)
    return 100.0 * np.array([getattr(row, name) for row in mine])


def summary(rows: Sequence[Row]) -> str:
    """The mean over all cells of each attack."""
    lines = []
    for attack in ATTACKS:
        mine = [row for row in rows if row.attack == attack]
        if not mine:
            continue
        line = {"attack": attack}
        for times in TIMES:
            values = [row.true for row in mine if row.times == times]
            line["once" if times == 1 else f"{times} times"] = f"{100 * np.mean(values):.1f}"
        lines.append(line)
    return markdown(lines)


def write_page(rows: Sequence[Row]) -> None:
    """docs/averaging.md."""
    body = NOTE.read_text(encoding="utf-8")
    parts = {"machine": machine(), "summary": summary(rows), "table": table(rows)}
    for name, part in parts.items():
        body = body.replace(f"{{{name}}}", part)
    PAGE.write_text(body.rstrip() + "\n", encoding="utf-8")
    print(body)


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=VICTIMS, choices=VICTIMS)
    parser.add_argument("--limit", type=int, default=6, help="images, of 24")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    shared_data()
    if not options.report:
        complete(options.victims, options.limit, options.workers)
    write_page(current())


if __name__ == "__main__":
    main()
