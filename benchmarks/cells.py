"""One attack on one image as a row of a CSV file, measured once.

Shared by the benchmarks that run for hours: a row is added as soon as it is done, nothing is
computed twice, and an attack's rows are dropped when its code changed.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import inspect
import itertools
import math
import os
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, astuple, dataclass, fields, replace
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track
from torch.nn import functional

from common import (
    ROOT,
    AttackFailedError,
    brisque,
    cnniqa,
    dev_images,
    measure,
    niqe,
    piqe,
    rank_directions,
)
from iqattack.attacks import ATTACKED, ATTACKS, Gradient, labelled, load_attack
from iqattack.engine import QueryLog
from iqattack.errors import RunError
from iqattack.images import ImageSet
from iqattack.models import Scorer, gradient_of, load_model, wrap
from iqattack.objectives import Direction
from iqattack.samples import MOS, write_samples

PACKAGE = ROOT / "src" / "iqattack"
IMAGES = 24  # of each set
FEWEST = 8  # images for a line of a table: other images have other means
ACCEPTED = 40.0  # DMOS of CNNIQA up to which the gate accepts


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
    """What came of one image.

    code: see `fingerprint`. gain: of the score range, NaN where the image failed, as the model had
        no score for a candidate; rms: grey levels.
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

    @property
    def cell(self) -> Cell:
        """The cell that it is of."""
        return Cell(**{field.name: getattr(self, field.name) for field in fields(Cell)})

    @property
    def failed(self) -> bool:
        """Whether there is nothing but the fact that the image failed."""
        return math.isnan(self.gain)


@cache
def scorer(name: str) -> Scorer:
    """A model by its short name; in this process only."""
    own: dict[str, Callable[[], Scorer]] = {
        "cnniqa": cnniqa,
        "brisque": brisque,
        "niqe": niqe,
        "piqe": piqe,
        "cnniqa, whole points": rounded,
        "cnniqa, yes or no": gate,
        "warmth": warmth,
        "colourfulness": colourfulness,
        "linear in blocks": blocks,
    }
    return own[name]() if name in own else load_model(name)


def rounded() -> Scorer:
    """CNNIQA that tells whole points only."""
    model = cnniqa()
    return wrap(
        lambda images: model(images).round(),
        name="cnniqa, whole points",
        score_range=model.score_range,
        lower_better=True,
    )


def gate() -> Scorer:
    """CNNIQA that says only whether it accepts an image: 1 or 0."""
    model = cnniqa()
    return wrap(
        lambda images: (model(images) <= ACCEPTED).double(),
        name="cnniqa, yes or no",
        score_range=(0.0, 1.0),
        lower_better=False,
    )


def warmth() -> Scorer:
    """Mean red less mean blue: looks at nothing but a colour cast."""
    return wrap(
        lambda images: (images[:, 0].double() - images[:, 2].double()).mean((1, 2)),
        name="warmth",
        score_range=(-255.0, 255.0),
        lower_better=False,
    )


def colourfulness() -> Scorer:
    """That of Hasler & Süsstrunk (SPIE 2003), M̂(3): spread and mean of two opponent colours."""

    def score(images: torch.Tensor) -> torch.Tensor:
        red, green, blue = images.double().unbind(1)
        opponents = torch.stack([red - green, (red + green) / 2 - blue], 1)
        spread: torch.Tensor = opponents.var((2, 3), correction=0).sum(1).sqrt()
        cast: torch.Tensor = opponents.mean((2, 3)).square().sum(1).sqrt()
        return spread + 0.3 * cast

    return wrap(score, name="colourfulness", score_range=(0.0, 200.0), lower_better=False)


def blocks() -> Scorer:
    """A weighted mean of 7×7 blocks and three channels, some weights negative: no texture."""
    weights = torch.randn(3, 7, 7, generator=torch.Generator().manual_seed(0)).double()
    weights /= weights.abs().sum()

    def score(images: torch.Tensor) -> torch.Tensor:
        means: torch.Tensor = functional.adaptive_avg_pool2d(images.double(), 7)
        return (means * weights).sum((1, 2, 3))

    return wrap(score, name="linear in blocks", score_range=(-255.0, 255.0), lower_better=False)


def substitute(model: str) -> str:
    """What transfer takes gradients of: never the model itself."""
    return "cnniqa" if model == "builtin" else "builtin"


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
    """What `rank` makes of a set; what a gate refuses can only go up."""
    images = image_set(of_set)
    return (
        ["up"] * len(images)
        if model == "cnniqa, yes or no"
        else rank_directions(scorer(model), images)
    )


def attack_image(cells: Sequence[Cell], number: int, code: str) -> list[Row]:
    """One image of a set at each of some budgets, the smallest first.

    A larger budget goes on from the log of the one before, as a resumed run does, and asks anew
    only where the log does not replay: where the attack makes something of its budget.
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
    )


def line_styles() -> dict[str, tuple[str, Any]]:
    """Colour and dashes of each attack's line in a plot."""
    return {name: (f"C{k % 10}", ("-", "--", ":")[k // 10 % 3]) for k, name in enumerate(ATTACKS)}


# -- what the code was ---------------------------------------------------------------------------


Documented = ast.Module | ast.FunctionDef | ast.ClassDef


def without_docstrings(source: str) -> ast.Module:
    """The syntax tree of a file, docstrings emptied."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return tree


def modules(attack: str) -> dict[Path, ast.Module]:
    """An attack's file first and those it takes from, as trees.

    Of attacks, directions and perception, where what an attack makes its candidates of lies.
    """
    found: dict[Path, ast.Module] = {}
    todo = [Path(inspect.getfile(ATTACKS[attack.partition(":")[0]].function))]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found[path] = without_docstrings(path.read_text(encoding="utf-8"))
        imports = (n for n in ast.walk(found[path]) if isinstance(n, ast.ImportFrom))
        for node in imports:
            match (node.module or "").split("."):
                case ["iqattack", "attacks", name] if name not in ("contract", "options"):
                    todo.append(PACKAGE / "attacks" / f"{name}.py")
                case ["iqattack", ("directions" | "perception") as package]:
                    todo += [exported_from(package)[alias.name] for alias in node.names]
                case ["iqattack", ("directions" | "perception") as package, name]:
                    todo.append(PACKAGE / package / f"{name}.py")
    return found


@cache
def exported_from(package: str) -> dict[str, Path]:
    """The file of each name that a package exports."""
    folder = PACKAGE / package
    tree = ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))
    return {
        alias.name: folder / f"{node.module.split('.')[-1]}.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def takes_gradients(attack: str) -> bool:
    """Whether it takes those of a substitute."""
    return "substitute=" in attack or attack.startswith("transfer")


@cache
def fingerprint(attack: str, model: str) -> str:
    """Of what decides a cell beside its settings: code, and weights that this project makes.

    The code is the attack's and what it takes from others, without comments and docstrings.
    """
    trees = modules(attack)
    parts = [ast.dump(trees[path]).encode() for path in sorted(trees)]
    if model == "builtin" or (takes_gradients(attack) and substitute(model) == "builtin"):
        parts.append((PACKAGE / "models" / "builtin.safetensors").read_bytes())
    _, given, file = attack.partition("profile=")
    if given and (ROOT / file).is_file():
        parts.append((ROOT / file).read_bytes())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]


# -- rows on disk ---------------------------------------------------------------------------------


def kept(path: Path) -> list[Row]:
    """The rows whose attacks still have the code that they were measured with."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = TypeAdapter(list[Row]).validate_python(list(csv.DictReader(file)))
    return [
        r
        for r in rows
        if r.attack.partition(":")[0] in ATTACKS and fingerprint(r.attack, r.model) == r.code
    ]


def measured(path: Path) -> tuple[list[Row], str]:
    """The kept rows of images that did not fail, and a sentence on those that did."""
    rows = kept(path)
    failed = sorted({(row.model, row.image, labelled(row.attack)) for row in rows if row.failed})
    listed = "; ".join(f"{model}, {image}: {attack}" for model, image, attack in failed)
    text = f"Left out, as the model had no score for a candidate: {listed}.\n\n" if failed else ""
    return [row for row in rows if not row.failed], text


def rewrite(path: Path, rows: Iterable[Row]) -> None:
    """The file with these rows alone."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Row)])
        for row in sorted(rows, key=lambda r: (*astuple(r.cell), r.image)):
            writer.writerow(_cells(row))


def _cells(row: Row) -> list[str]:
    return [f"{v:.6g}" if isinstance(v, float) else str(v) for v in asdict(row).values()]


def shared(groups: Iterable[list[Row]]) -> list[Row]:
    """The rows whose images every group has, as others have other means.

    A group of too few images is only begun: it is left out, and limits no other.
    """
    begun = [(group, {row.image for row in group}) for group in groups]
    done = [(group, images) for group, images in begun if len(images) >= FEWEST]
    common = set.intersection(*(images for _, images in done)) if done else set()
    return [row for group, _ in done for row in group if row.image in common]


def compute(todo: list[tuple[Cell, int]], workers: int) -> Iterator[Row]:
    """Rows as they come, each in a worker process of one thread."""
    budgets: defaultdict[tuple[Cell, int], list[Cell]] = defaultdict(list)
    for cell, k in todo:
        budgets[replace(cell, queries=0), k].append(cell)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(attack_image, cells, k, fingerprint(cell.attack, cell.model))
            for (cell, k), cells in budgets.items()
        ]
        console = Console(stderr=True)
        for job in track(as_completed(jobs), "images attacked", len(jobs), console=console):
            yield from job.result()


def spread() -> list[int]:
    """Numbers of the images, spread over qualities, for as long as not all are done."""
    return [int(k) for k in np.random.default_rng(0).permutation(IMAGES)]


def missing(
    cells: Iterable[Cell], limit: int, rows: Iterable[Row], images: Sequence[int] | None = None
) -> list[tuple[Cell, int]]:
    """Images of the cells that have no row; images first, so that all cells grow together.

    images: numbers of those that are wanted, all by default.
    """
    order = [k for k in spread() if images is None or k in images][:limit]
    there = {(row.cell, row.image) for row in rows}
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
) -> list[Row]:
    """All rows of cells for the first so many images, measured where they are not there yet."""
    rows = kept(path)
    rewrite(path, rows)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in compute(missing(cells, limit, rows, images), workers):
            writer.writerow(_cells(row))
            file.flush()
    rows = kept(path)
    rewrite(path, rows)
    return [row for row in rows if row.cell in cells]
