"""How strong each attack is: all of them, on three models, in two boxes, at three budgets.

    python benchmarks/strength.py            # goes on where it was stopped; hours in all
    python benchmarks/strength.py --models cnniqa --queries 100 500
    python benchmarks/strength.py --report   # only writes the page from what is there
    python benchmarks/strength.py --quick    # a few small cells, writes nothing

Every image attacked is a row of benchmarks/strength.csv, added as soon as it is done, and nothing
is computed twice; docs/strength.md and docs/strength.png are made of the rows. An attack's rows are
dropped when its code changed, so the page never shows what the code no longer does.
"""

from __future__ import annotations

import argparse
import ast
import csv
import hashlib
import inspect
import io
import itertools
import tokenize
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, fields
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D
from pydantic import TypeAdapter
from rich.console import Console
from rich.progress import track

from common import (
    ROOT,
    Floats,
    brisque,
    cnniqa,
    dev_images,
    machine,
    markdown,
    measure,
    rank_directions,
    shared_data,
)
from iqattack.attacks import ATTACKED, ATTACKS, Gradient, labelled, load_attack
from iqattack.evaluation import bootstrap_interval, srocc
from iqattack.images import ImageSet
from iqattack.models import Scorer, gradient_of, load_model
from iqattack.objectives import Direction

MODELS = ("cnniqa", "builtin", "brisque")
BOXES = ("linf:3", "jnd:0.38")
BUDGETS = (100, 500, 2000)
PACKAGE = ROOT / "src" / "iqattack"
ROWS, PAGE = ROOT / "benchmarks" / "strength.csv", ROOT / "docs" / "strength.md"
PLOT = PAGE.with_suffix(".png")
TARGETS = {"square": 40, "hop-skip-jump": 90, "surfree": 90}  # most lines of code


@dataclass(frozen=True)
class Cell:
    """One attack on one model in one box with one budget."""

    model: str
    box: str
    queries: int
    attack: str


@dataclass(frozen=True)
class Row:
    """What came of one image; code: see `fingerprint`. gain: of the score range."""

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

    @property
    def cell(self) -> Cell:
        """The cell that it is of."""
        return Cell(self.model, self.box, self.queries, self.attack)


# -- measuring ------------------------------------------------------------------------------------


@cache
def scorer(name: str) -> Scorer:
    """A model by its short name; in this process only."""
    match name:
        case "cnniqa":
            return cnniqa()
        case "brisque":
            return brisque()
    return load_model(name)


def substitute(model: str) -> str:
    """What `transfer` takes gradients of: never the model itself."""
    return "cnniqa" if model == "builtin" else "builtin"


def attack_image(cell: Cell, number: int, code: str) -> Row:
    """One image of the development set; its direction is that of the whole set."""
    torch.set_num_threads(1)
    images = dev_images()
    model = scorer(cell.model)

    def gradients(spec: str) -> Gradient:
        return gradient_of(model if spec == ATTACKED else scorer(substitute(cell.model)))

    entry = images.entries[number]
    found = measure(
        cell.attack,
        model,
        ImageSet((entry,)),
        load_attack(cell.attack, gradients),
        constraint=cell.box,
        queries=cell.queries,
        objective=directions(cell.model)[number],
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
    )


@cache
def directions(model: str) -> list[Direction]:
    """Of the whole development set."""
    return rank_directions(scorer(model), dev_images())


def modules(attack: str) -> dict[Path, ast.Module]:
    """An attack's file first and those of attacks and directions that it takes from, as trees."""
    found: dict[Path, ast.Module] = {}
    todo = [Path(inspect.getfile(ATTACKS[attack].function))]
    while todo:
        path = todo.pop()
        if path in found:
            continue
        found[path] = without_docstrings(path.read_text(encoding="utf-8"))
        for node in ast.walk(found[path]):
            match (node.module or "").split(".") if isinstance(node, ast.ImportFrom) else []:
                case ["iqattack", "attacks", name] if name not in ("contract", "options"):
                    todo.append(PACKAGE / "attacks" / f"{name}.py")
                case ["iqattack", "directions"]:
                    todo += [exported_from()[alias.name] for alias in node.names]
                case ["iqattack", "directions", name]:
                    todo.append(PACKAGE / "directions" / f"{name}.py")
    return found


@cache
def exported_from() -> dict[str, Path]:
    """The file of each name that `directions/` exports."""
    package = PACKAGE / "directions"
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    return {
        alias.name: package / f"{node.module.split('.')[-1]}.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


@cache
def fingerprint(attack: str, model: str) -> str:
    """Of what decides a cell beside its settings: code, and weights that this project makes.

    The code is the attack's and what it takes from others, without comments and docstrings.
    """
    trees = modules(attack)
    parts = [ast.dump(trees[path]).encode() for path in sorted(trees)]
    if model == "builtin" or (attack == "transfer" and substitute(model) == "builtin"):
        parts.append((PACKAGE / "models" / "builtin.safetensors").read_bytes())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]


# -- lines of code --------------------------------------------------------------------------------


Documented = ast.Module | ast.FunctionDef | ast.ClassDef


def without_docstrings(source: str) -> ast.Module:
    """The syntax tree of a file, docstrings emptied."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, Documented) and ast.get_docstring(node):
            node.body[0] = ast.Pass()
    return tree


def lines_of_code(path: Path) -> int:
    """Lines that hold code: no blank ones, comments, docstrings or imports."""
    source = path.read_text(encoding="utf-8")
    skipped: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            skipped.update(range(node.lineno, (node.end_lineno or 0) + 1))
        if isinstance(node, Documented) and ast.get_docstring(node):
            first = node.body[0]
            skipped.update(range(first.lineno, (first.end_lineno or 0) + 1))
    nothing = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
    held = {
        line
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type not in (*nothing, tokenize.ENDMARKER)
        for line in range(token.start[0], token.end[0] + 1)
    }
    return len(held - skipped)


def code_table() -> str:
    """Lines of each attack's own file, and with what it shares; says where one is too long."""
    rows, over = [], []
    for name in ATTACKS:
        own, *shared = (path for path in modules(name) if path.parent.name == "attacks")
        lines, most = lines_of_code(own), TARGETS.get(name)
        rows.append(
            {
                "attack": name,
                "lines": str(lines),
                "with shared files": str(lines + sum(map(lines_of_code, shared))),
                "wanted": f"at most {most}" if most else "",
            }
        )
        if most and lines > most:
            over.append(name)
    if over:
        print(f"more lines than wanted: {', '.join(over)}")
    return markdown(rows)


# -- rows on disk ---------------------------------------------------------------------------------


def kept() -> list[Row]:
    """The rows whose attacks still have the code that they were measured with."""
    if not ROWS.exists():
        return []
    with ROWS.open(newline="", encoding="utf-8") as file:
        rows = TypeAdapter(list[Row]).validate_python(list(csv.DictReader(file)))
    return [r for r in rows if r.attack in ATTACKS and fingerprint(r.attack, r.model) == r.code]


def rewrite(rows: Iterable[Row]) -> None:
    """The file with these rows alone."""
    with ROWS.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([field.name for field in fields(Row)])
        for row in sorted(rows, key=lambda r: (r.model, r.box, r.queries, r.attack, r.image)):
            writer.writerow(_cells(row))


def _cells(row: Row) -> list[str]:
    return [f"{v:.6g}" if isinstance(v, float) else str(v) for v in asdict(row).values()]


def compute(todo: list[tuple[Cell, int]], workers: int) -> Iterator[Row]:
    """Rows as they come, each in a worker process of one thread."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        jobs = [
            pool.submit(attack_image, cell, k, fingerprint(cell.attack, cell.model))
            for cell, k in todo
        ]
        console = Console(stderr=True)
        for job in track(as_completed(jobs), "images attacked", len(jobs), console=console):
            yield job.result()


def missing(cells: Iterable[Cell], limit: int, rows: Iterable[Row]) -> list[tuple[Cell, int]]:
    """Images of the cells that have no row; images first, so that all cells grow together."""
    names = [entry.name for entry in dev_images()]
    # Spread over qualities, in a fixed order, for as long as not all are done.
    order = np.random.default_rng(0).permutation(len(names))[:limit]
    there = {(row.cell, row.image) for row in rows}
    pairs = itertools.product(order, cells)
    return [(cell, int(k)) for k, cell in pairs if (cell, names[k]) not in there]


def complete(cells: Sequence[Cell], limit: int, workers: int) -> list[Row]:
    """All rows of cells for the first so many images, measured where they are not there yet."""
    rows = kept()
    rewrite(rows)
    with ROWS.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        for row in compute(missing(cells, limit, rows), workers):
            writer.writerow(_cells(row))
            file.flush()
    rows = kept()
    rewrite(rows)
    return [row for row in rows if row.cell in cells]


# -- the page -------------------------------------------------------------------------------------


def interval(value: float, ends: tuple[float, float], form: str) -> str:
    """value [low, high]."""
    return f"{value:{form}} [{ends[0]:{form}}, {ends[1]:{form}}]"


def mean(values: Floats) -> float:
    """As bootstrap_interval takes it."""
    return float(np.mean(values))


def table(rows: list[Row], ceiling: dict[str, float]) -> list[dict[str, str]]:
    """One line per attack of one model, box and budget, the strongest first.

    ceiling: the white-box attack's largest gain by image.
    """
    lines = []
    for name in ATTACKS:
        mine = sorted((row for row in rows if row.attack == name), key=lambda row: row.image)
        if len(mine) < 2:
            continue
        clean, attacked, gain, spent, similarity = (
            np.array([float(getattr(row, key)) for row in mine])
            for key in ("clean", "attacked", "gain", "spent", "ssim")
        )
        points = 100 * gain
        top = np.array([ceiling.get(row.image, np.nan) for row in mine])
        share = "–"
        if not np.isnan(top).any():
            share = interval(_ratio(gain, top), bootstrap_interval(_ratio, gain, top), ".2f")
        per_query = 100 * points / spent
        line = {
            "attack": labelled(name),
            "gain, points of 100": interval(mean(points), bootstrap_interval(mean, points), ".1f"),
            "SROCC clean–attacked": interval(
                srocc(clean, attacked), bootstrap_interval(srocc, clean, attacked), ".2f"
            ),
            "SSIM": interval(mean(similarity), bootstrap_interval(mean, similarity), ".3f"),
            "points per 100 queries": interval(
                mean(per_query), bootstrap_interval(mean, per_query), ".2f"
            ),
            "of the ceiling": share,
            "images": str(len(mine)),
        }
        lines.append((mean(points), line))
    return [line for _, line in sorted(lines, key=lambda pair: -pair[0])]


def _ratio(gain: Floats, top: Floats) -> float:
    return float(gain.mean() / top.mean()) if top.mean() > 0 else float("nan")


def ceilings(rows: list[Row]) -> dict[tuple[str, str], dict[str, float]]:
    """Largest gain of the white-box attack at any budget, by model and box and image."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if ATTACKS[row.attack].white_box:
            best = found.setdefault((row.model, row.box), {})
            best[row.image] = max(best.get(row.image, 0.0), row.gain)
    return found


def report(rows: list[Row]) -> str:
    """All tables, and what is not measured yet."""
    top = ceilings(rows)
    parts = []
    for model, box in itertools.product(MODELS, BOXES):
        for queries in BUDGETS:
            mine = [r for r in rows if (r.model, r.box, r.queries) == (model, box, queries)]
            lines = table(mine, top.get((model, box), {}))
            title = f"### {model}, `{box}`, {queries} queries"
            parts.append(f"{title}\n\n{markdown(lines) if lines else 'Not measured yet.'}")
    return "\n\n".join(parts)


def plot(rows: list[Row]) -> None:
    """Mean gain against the budget, a panel per model and box."""
    mpl.use("Agg")
    figure, axes = plt.subplots(
        len(BOXES), len(MODELS), figsize=(15, 9), sharex=True, constrained_layout=True
    )
    styles: dict[str, tuple[str, Any]] = {
        name: (f"C{k % 10}", ("-", "--", ":")[k // 10 % 3]) for k, name in enumerate(ATTACKS)
    }
    for (i, box), (j, model) in itertools.product(enumerate(BOXES), enumerate(MODELS)):
        axis = axes[i, j]
        axis.set_title(f"{model}, {box}")
        for name, (colour, line) in styles.items():
            points = [
                (queries, 100 * float(np.mean(gains)))
                for queries in BUDGETS
                if (
                    gains := [
                        r.gain
                        for r in rows
                        if (r.model, r.box, r.queries, r.attack) == (model, box, queries, name)
                    ]
                )
            ]
            if points:
                axis.plot(*zip(*points, strict=True), line, color=colour, marker=".", label=name)
        axis.set_xscale("log")
        axis.set_xticks(BUDGETS, [str(q) for q in BUDGETS], minor=False)
        axis.minorticks_off()
        axis.grid(alpha=0.3)
        axis.set_xlabel("queries")
        axis.set_ylabel("mean gain, points of 100")
    handles = [
        Line2D([], [], color=c, linestyle=s, marker=".", label=labelled(n))
        for n, (c, s) in styles.items()
    ]
    figure.legend(handles=handles, loc="outside right center", fontsize="small")
    figure.savefig(PLOT, dpi=80)


def write_page(rows: list[Row]) -> None:
    """docs/strength.md and its plot."""
    plot(rows)
    note = (ROOT / "benchmarks" / "strength.md").read_text(encoding="utf-8")
    counts = {
        (m, b, q): len({r.image for r in rows if (r.model, r.box, r.queries) == (m, b, q)})
        for m, b, q in itertools.product(MODELS, BOXES, BUDGETS)
    }
    done = sum(bool(count) for count in counts.values())
    measured = f"{len(rows)} images attacked, in {done} of {len(counts)} settings"
    PAGE.write_text(
        "# How strong each attack is\n\n"
        f"Printed by `python benchmarks/strength.py` on {machine()}; {measured}.\n\n"
        f"{note}\n![Mean gain against queries]({PLOT.name})\n\n{report(rows)}\n\n"
        "## Lines of code\nWithout blank lines, comments, docstrings and imports: of each attack's "
        "own file, and with the files of `attacks/` that it shares with others.\n\n"
        f"{code_table()}\n",
        encoding="utf-8",
    )
    print(f"written: {PAGE.relative_to(ROOT)}, {PLOT.relative_to(ROOT)}")


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--boxes", nargs="+", default=BOXES, choices=BOXES)
    parser.add_argument("--queries", nargs="+", type=int, default=BUDGETS, choices=BUDGETS)
    parser.add_argument("--attacks", nargs="+", default=list(ATTACKS), choices=list(ATTACKS))
    parser.add_argument("--limit", type=int, default=24, help="images, of 24")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--quick", action="store_true", help="two images, 25 queries, no page")
    options = parser.parse_args()
    shared_data()
    print(machine())
    if options.quick:
        cells = [Cell("cnniqa", box, 25, name) for box in BOXES for name in options.attacks]
        rows = list(compute(missing(cells, 2, []), options.workers))
        for box in BOXES:
            print(f"\n{box}\n{markdown(table([r for r in rows if r.box == box], {}))}")
        print(code_table())
        return
    if not options.report:
        # Small budgets first: a table of everything is there early.
        for queries in sorted(options.queries):
            settings = itertools.product(options.models, options.boxes, options.attacks)
            cells = [Cell(model, box, queries, attack) for model, box, attack in settings]
            complete(cells, options.limit, options.workers)
    rows = kept()
    write_page(rows)
    print(report(rows))


if __name__ == "__main__":
    main()
