"""One attack on one image as a row of a CSV file, measured once.

Shared by the benchmarks that run for hours: rows are added as soon as they are done, nothing is
computed twice, and rows are dropped when the code that made them changes.
"""

from __future__ import annotations

import itertools
import math
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, astuple, dataclass, fields, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from common import (
    ROOT,
    AttackFailedError,
    Floats,
    dev_images,
    measure,
    rank_directions,
    read_csv,
    write_csv,
)
from fingerprints import fingerprint
from iqattack.attacks import ATTACKED, ATTACKS, Gradient, labelled, load_attack
from iqattack.engine import QueryLog
from iqattack.errors import RunError
from iqattack.images import ImageSet
from iqattack.models import gradient_of
from iqattack.objectives import Direction
from iqattack.samples import MOS, write_samples
from scorers import scorer, substitute

IMAGES = 24  # of each set
# Codes of outdated rows that are kept until they are measured again: of filter-search of version
# 0.1.0, which left up to a tenth of its budget unspent. Pages mention them.
EARLIER = frozenset({"3db1414f", "50cf80e4", "54eef5d5", "5ef75c88", "d79c14d8", "d899e38b"})
FEWEST = 8  # images for a row of a table: means over few images vary


@dataclass(frozen=True)
class Cell:
    """One attack, as a spec, on one model in one box with one budget.

    boundary: of the objective; 0 is none. images: the name of their set, see `image_set`.
    """

    model: str
    box: str
    queries: int
    attack: str
    seed: int = 0
    boundary: float = 0.0
    images: str = "dev"


@dataclass(frozen=True)
class Row:
    """The result for one image.

    code: see `fingerprint`. gain: as a fraction of the score range, NaN if the image failed because
        the model returned no score for a candidate; rms: grey levels; jod: NaN if not measured.
    """

    model: str
    box: str
    queries: int
    attack: str
    code: str
    image: str
    clean: float
    attacked: float
    gain: float
    spent: int
    ssim: float
    seed: int = 0
    boundary: float = 0.0
    images: str = "dev"
    rms: float = float("nan")
    jod: float = float("nan")

    @property
    def cell(self) -> Cell:
        """The cell of this row."""
        return Cell(**{field.name: getattr(self, field.name) for field in fields(Cell)})

    @property
    def failed(self) -> bool:
        """Whether the image failed, so that there is no result."""
        return math.isnan(self.gain)


@cache
def image_set(name: str) -> ImageSet:
    """dev: the 24 development images; samples: the 24 of `iqattack samples`, written once."""
    if name == "dev":
        return dev_images()
    folder = ROOT / "benchmarks" / "out" / name
    if not (folder / MOS).is_file():  # written last, and by `missing` before there are workers
        write_samples(folder)
    return ImageSet.from_folder(folder)


@cache
def directions(model: str, of_set: str) -> list[Direction]:
    """The directions that `rank` assigns to a set; images that a gate refuses can only go up."""
    images = image_set(of_set)
    return (
        ["up"] * len(images)
        if model == "cnniqa, yes or no"
        else rank_directions(scorer(model), images)
    )


def attack_image(cells: Sequence[Cell], number: int, code: str) -> list[Row]:
    """One image of a set at several budgets, in increasing order.

    A larger budget continues from the log of the previous one, as a resumed run does. It starts
    anew only if the log does not replay, which happens if the attack depends on its budget.
    """
    torch.set_num_threads(1)
    os.chdir(ROOT)  # specs name files of the repository
    rows, log = [], QueryLog()
    for cell in sorted(cells, key=lambda cell: cell.queries):
        try:
            row = _attacked(cell, number, code, log)
        except RunError:
            log.close()
            log = QueryLog()
            row = _attacked(cell, number, code, log)
        rows.append(row)
    log.close()
    return rows


def _attacked(cell: Cell, number: int, code: str, log: QueryLog) -> Row:
    """One image of a set; its direction is that of the whole set."""
    images = image_set(cell.images)
    model = scorer(cell.model)

    def gradients(spec: str) -> Gradient:
        return gradient_of(model if spec == ATTACKED else scorer(substitute(cell.model)))

    entry = images.entries[number]
    try:
        found = measure(
            cell.attack,
            model,
            ImageSet((entry,)),
            load_attack(cell.attack, gradients),
            constraint=cell.box,
            queries=cell.queries,
            objective=directions(cell.model, cell.images)[number]
            + (f":{cell.boundary}" if cell.boundary else ""),
            seed=cell.seed,
            log=log,
        )
    except AttackFailedError as error:
        print(f"{cell.attack} on {cell.model}: {error}", file=sys.stderr)
        nan = math.nan
        return Row(
            **asdict(cell),
            code=code,
            image=entry.name,
            clean=nan,
            attacked=nan,
            gain=nan,
            spent=0,
            ssim=nan,
        )
    return Row(
        **asdict(cell),
        code=code,
        image=entry.name,
        clean=float(found.clean[0]),
        attacked=float(found.attacked[0]),
        gain=float(found.gain[0]),
        spent=int(found.queries[0]),
        ssim=float(found.ssim[0]),
        rms=float(found.rms[0]),
        jod=float(found.jod[0]),
    )


def line_styles() -> dict[str, tuple[str, Any]]:
    """Colour and dashes of each attack's line in a plot."""
    return {name: (f"C{k % 10}", ("-", "--", ":")[k // 10 % 3]) for k, name in enumerate(ATTACKS)}


# -- rows on disk ---------------------------------------------------------------------------------


def chosen(rows: Iterable[Row], **wanted: object) -> list[Row]:
    """The rows with these values, by set and image."""
    found = [r for r in rows if all(getattr(r, key) == value for key, value in wanted.items())]
    return sorted(found, key=lambda row: (row.images, row.image))


def column(rows: Sequence[Row], name: str) -> Floats:
    """One value of all rows."""
    return np.array([float(getattr(row, name)) for row in rows])


def read_rows(path: Path) -> list[Row]:
    """All rows of a file, whatever code they were measured with."""
    return read_csv(path, Row)


def kept(path: Path) -> list[Row]:
    """The rows whose attacks still have the code that they were measured with, and earlier ones."""
    rows = read_rows(path)
    latest = {(row.cell, row.image, row.code): row for row in rows}.values()
    known = [r for r in latest if r.attack.partition(":")[0] in ATTACKS]
    current = [r for r in known if fingerprint(r.attack, r.model, r.box) == r.code]
    again = {(row.cell, row.image) for row in current}
    earlier = [r for r in known if r.code in EARLIER and (r.cell, r.image) not in again]
    return current + earlier


def measured(path: Path) -> tuple[list[Row], str]:
    """The kept rows of images that did not fail, and a note on the others and on earlier ones."""
    rows = kept(path)
    failed = sorted({(row.model, row.image, labelled(row.attack)) for row in rows if row.failed})
    listed = "; ".join(f"{model}, {image}: {attack}" for model, image, attack in failed)
    text = f"Left out, as the model had no score for a candidate: {listed}.\n\n" if failed else ""
    earlier = defaultdict(set)
    for row in rows:
        if row.code in EARLIER:
            earlier[row.model, row.queries].add(row.seed)
    if earlier:
        listed = "; ".join(
            f"{model}, {queries} queries, seed {', '.join(map(str, sorted(seeds)))}"
            for (model, queries), seeds in sorted(earlier.items())
        )
        text += (
            "Measured with filter-search of version 0.1.0, which left up to a tenth of its budget "
            f"unspent, and not measured again in part or at all: {listed}.\n\n"
        )
    return [row for row in rows if not row.failed], text


def rewrite(path: Path, rows: Iterable[Row]) -> None:
    """The file with these rows alone."""
    write_csv(path, Row, sorted(rows, key=lambda r: (*astuple(r.cell), r.image)), anew=True)


def shared(groups: Iterable[list[Row]]) -> list[Row]:
    """The rows of images that all groups have, so that their means are comparable.

    A group of too few images is left out, and does not limit the others.
    """
    begun = [(group, {row.image for row in group}) for group in groups]
    done = [(group, images) for group, images in begun if len(images) >= FEWEST]
    common = set.intersection(*(images for _, images in done)) if done else set()
    return [row for group, _ in done for row in group if row.image in common]


def compute(todo: list[tuple[Cell, int]], workers: int) -> Iterator[Row]:
    """Compute rows in worker processes of one thread each; yields them as they are done."""
    budgets: defaultdict[tuple[Cell, int], list[Cell]] = defaultdict(list)
    for cell, k in todo:
        budgets[replace(cell, queries=0), k].append(cell)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(attack_image, cells, k, fingerprint(cell.attack, cell.model, cell.box))
            for (cell, k), cells in budgets.items()
        ]
        console = Console(stderr=True)
        for job in track(as_completed(jobs), "images attacked", len(jobs), console=console):
            yield from job.result()


def spread() -> list[int]:
    """Numbers of the images, in an order that spreads the first ones over qualities."""
    return [int(k) for k in np.random.default_rng(0).permutation(IMAGES)]


def missing(
    cells: Iterable[Cell], limit: int, rows: Iterable[Row], images: Sequence[int] | None = None
) -> list[tuple[Cell, int]]:
    """Images of the cells that have no row; images first, so that all cells grow together.

    images: numbers of those that are wanted, all by default.
    """
    order = [k for k in spread() if images is None or k in images][:limit]
    there = {(row.cell, row.image) for row in rows if row.code not in EARLIER}
    return [
        (cell, k)
        for k, cell in itertools.product(order, cells)
        if (cell, image_set(cell.images).entries[k].name) not in there
    ]


def complete(
    path: Path,
    cells: Sequence[Cell],
    limit: int,
    workers: int,
    images: Sequence[int] | None = None,
    *,
    unseen: bool = False,
) -> list[Row]:
    """All rows of cells for the first images; missing ones are measured.

    unseen: also measure rows without a JOD again; the newer row replaces the older one.
    """
    rows = kept(path)
    rewrite(path, rows)
    there = [row for row in rows if not (unseen and math.isnan(row.jod))]
    write_csv(path, Row, compute(missing(cells, limit, there, images), workers))
    rows = kept(path)
    rewrite(path, rows)
    return [row for row in rows if row.cell in cells]
