"""Universal perturbations: learnt on one half of the images, applied to unseen ones.

    python benchmarks/universal.py --victims cnniqa builtin --boxes linf:3 --budgets 5000 --seeds 0
    python benchmarks/universal.py --report      # only writes the page, from existing rows
    python benchmarks/universal.py --restamp     # after refactoring: keeps rows that come out equal

Learnt on twelve development images (the choosing half of benchmarks/baselines.py), measured on the
other twelve and on the 24 of `iqattack samples`. Learning with 5,000 queries takes one to three
minutes on one core. Rows are added to benchmarks/rows/universal.csv.xz as they are done,
perturbations are kept in benchmarks/out/universal; docs/universal-figures.md and its plot are made
from the rows.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import inspect
import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import get_args

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt

import iqattack
from baselines import CHOOSING, REPORTING
from cells import directions, image_set
from common import (
    ROOT,
    Floats,
    coverage,
    machine,
    markdown,
    mean,
    rank_directions,
    read_csv,
    rows_file,
    shared_data,
    with_interval,
    write_csv,
)
from fingerprints import PACKAGE, WEIGHTS, modules, text, texts, without_docstrings
from iqattack.attacks import load_attack
from iqattack.attacks.set_based.universal_ways import WAYS
from iqattack.constraints import parse_constraint
from iqattack.directions import BANK, Known, Perturbation, Stroke, Universal, read_universal
from iqattack.directions import ordered as ordered_by
from iqattack.engine import Engine, Outcome, QueryLog
from iqattack.images import ImageSet, read_image, write_bytes
from iqattack.models import score_checked
from iqattack.objectives import Direction, parse_objective
from iqattack.scoring import InProcess, Recompressed, ScorePool
from iqattack.version import __version__
from restamp import CLOSE
from scorers import scorer

VICTIMS = ("cnniqa", "scnn", "builtin", "brisque")
BOXES = ("linf:3", "bands:2.5")
OURS, BASE = "filter", "bank"
PUBLISHED = tuple(way for way in WAYS if way != OURS)
ORDER = (OURS, BASE, *PUBLISHED)
BUDGETS = (5_000, 20_000)
SEEDS = (0, 1, 2, 3, 4)
MOST = 8  # patterns to choose from
QUALITY = 75  # of the JPEG round trip
ROWS = rows_file("universal")
OUT = ROOT / "benchmarks" / "out" / "universal"
PAGE = ROOT / "docs" / "universal-figures.md"
PLOT = PAGE.with_suffix(".png")
NOTE = Path(__file__).with_suffix(".md")  # the page without its tables
SET_BASED = PACKAGE / "attacks" / "set_based"
LEARNING = SET_BASED / "universal_ways.py"
SHOWN = {BASE: "best fixed direction", OURS: "filter (ours)"}
SETS = {"dev": "12 development images", "samples": "24 sample images"}


@dataclass(frozen=True)
class Job:
    """One perturbation. budget: queries to learn it, 0 for as many as the bank takes; jpeg:
    quality at which candidates were recompressed, 0 for none.
    """

    victim: str
    box: str
    way: str
    budget: int
    seed: int
    jpeg: int = 0

    @property
    def folder(self) -> Path:
        """The folder of its files."""
        parts = (self.victim, self.box, self.way, self.budget, self.seed, self.jpeg, code(self))
        return OUT / "-".join(str(part).replace(":", "") for part in parts)


@dataclass(frozen=True)
class Row:
    """The result for one image that was not learnt from.

    behind: quality of a JPEG round trip in front of the model used for measuring, 0 for none. code:
    see `code`; paid: queries for learning; first: gain of the first pattern, best: of the best of
    all, at least 0; both as fractions of the score range. patterns: their number.
    """

    victim: str
    box: str
    way: str
    budget: int
    seed: int
    jpeg: int
    behind: int
    code: str
    paid: int
    images: str
    image: str
    first: float
    best: float
    patterns: int

    @property
    def job(self) -> Job:
        """The perturbation."""
        return Job(**{field.name: getattr(self, field.name) for field in fields(Job)})


# -- fingerprints of rows -------------------------------------------------------------------------


def reached(tree: ast.Module, names: Iterable[str]) -> list[ast.stmt]:
    """The definitions of a module that these names depend on, and its imports."""
    defined: dict[str, ast.stmt] = {}
    for node in tree.body:
        match node:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                defined[name] = node
            case ast.Assign(targets=[ast.Tuple(elts=several)]):
                defined |= {part.id: node for part in several if isinstance(part, ast.Name)}
            case ast.Assign(targets=[ast.Name(id=name)]):
                defined[name] = node
    found: set[str] = set()
    todo = list(names)
    while todo:
        name = todo.pop()
        if name not in found and name in defined:
            found.add(name)
            inside = (n.id for n in ast.walk(defined[name]) if isinstance(n, ast.Name))
            todo += [other for other in inside if other != "WAYS"]
    return [node for node in tree.body if any(defined.get(name) is node for name in found)]


@cache
def code(job: Job) -> str:
    """A hash of the code behind a row: how a perturbation is learnt and applied."""
    box = Path(inspect.getfile(type(parse_constraint(job.box))))
    trees = modules(SET_BASED / "universal.py", LEARNING, box)
    way = "learning" if job.way == BASE else WAYS[job.way].__name__
    nodes = reached(trees.pop(LEARNING), ("learning", way))
    parts = [texts(trees.values()), text(nodes).encode()]
    if job.victim == "builtin":
        parts.append(WEIGHTS.read_bytes())
    if job.jpeg:
        source = inspect.getfile(Recompressed)
        parts.append(text(without_docstrings(Path(source).read_text(encoding="utf-8"))).encode())
    return hashlib.sha256(b"".join(parts)).hexdigest()[:8]


# -- learning and measuring -----------------------------------------------------------------------


def entries(of_set: str) -> list[int]:
    """Numbers of the images used for measuring."""
    return list(REPORTING.images) if of_set == "dev" else list(range(len(image_set(of_set))))


def learning_set() -> ImageSet:
    """The images used for learning."""
    return ImageSet(tuple(image_set("dev").entries[k] for k in CHOOSING.images))


def learnt(job: Job) -> Path:
    """The file of a perturbation, which is made if it is missing."""
    file = job.folder / "perturbation.safetensors"
    if file.exists():
        return file
    print(f"learning {job}", flush=True)
    if job.way == BASE:
        best_of_the_bank(job, file)
        return file
    iqattack.universal(
        learning_set(),
        scorer(job.victim),
        out=job.folder,
        constraint=job.box,
        queries=job.budget,
        seed=job.seed,
        way=job.way,
        k=MOST,
        jpeg=job.jpeg or None,
        resume=(job.folder / "universal.toml").exists(),
    )
    return file


def best_of_the_bank(job: Job, file: Path) -> None:
    """Rank the fixed directions of the bank on the learning images."""
    strokes = [Stroke(direction=name) for name in BANK]
    known = tuple(Known(stroke=stroke, gain=0.0, together=0.0) for stroke in strokes)
    every = Universal(
        version=__version__,
        model=job.victim,
        images=tuple(CHOOSING.names),
        constraint=job.box,
        objective="rank",
        way=BASE,
        seed=job.seed,
        queries=len(CHOOSING.images) * (1 + len(BANK)),
        up=known,
        down=known,
    )
    shutil.rmtree(job.folder, ignore_errors=True)
    job.folder.mkdir(parents=True)
    trial = job.folder / "bank.safetensors"
    write_bytes(trial, Perturbation(every, {}).to_bytes())
    wanted = dict(
        zip(CHOOSING.images, rank_directions(scorer(job.victim), learning_set()), strict=True)
    )
    found: dict[str, tuple[Known, ...]] = {}
    for direction in get_args(Direction):
        numbers = [k for k in CHOOSING.images if wanted[k] == direction]
        table = [gains for _, gains in laid(job, trial, "dev", numbers, direction, len(BANK), None)]
        if table:
            way = "up" if rises(job.victim, direction) else "down"
            found[way] = tuple(ordered_by(strokes, np.array(table), MOST, "")[0])
    write_bytes(file, Perturbation(every.model_copy(update=found), {}).to_bytes())


def rises(victim: str, direction: Direction) -> bool:
    """Whether raw scores should rise for this direction of quality."""
    return (direction == "up") != scorer(victim).lower_better


def laid(
    job: Job,
    file: Path,
    of_set: str,
    numbers: Sequence[int],
    direction: Direction,
    most: int,
    behind: int | None,
) -> Iterator[tuple[str, list[float]]]:
    """Each image's name and the gains of the first patterns on it, in their order.

    One pattern at a time through the engine; each session reuses the queries of the previous one. A
    pattern that changes nothing, or the same as another, costs no query.
    """
    images = image_set(of_set)
    chosen = ImageSet(tuple(images.entries[k] for k in numbers))
    if not numbers:
        return
    model = scorer(job.victim)
    gains: dict[str, list[float]] = {entry.name: [] for entry in chosen}
    asked = dict.fromkeys(gains, 1)
    with QueryLog() as log:
        for k in range(1, most + 1):
            pool: ScorePool = InProcess(model)
            engine = Engine.in_process(
                model,
                load_attack(f"universal:file={file},k={k}"),
                parse_constraint(job.box),
                parse_objective(direction),
                queries=1 + k,
                seed=job.seed,
                pool=pool if behind is None else Recompressed(pool, behind),
                log=log,
            )
            for item in engine.run(chosen):
                if not isinstance(item, Outcome):
                    raise RuntimeError(f"{item}")
                name = item.entry.name
                new = item.queries > asked[name]
                asked[name] = item.queries
                score = float(log.rows(name)["score"][-1]) if new else item.score_clean
                gain = float(item.target.gain(score)) if new else 0.0
                gains[name].append(min(gain, item.target.reach))
    yield from gains.items()


def measured(job: Job, behind: int = 0) -> list[Row]:
    """A row for each image that was not learnt from."""
    file = learnt(job)
    made = read_universal(file).learnt
    rows = []
    for of_set in SETS:
        wanted = directions(job.victim, of_set)
        for direction in get_args(Direction):
            numbers = [k for k in entries(of_set) if wanted[k] == direction]
            most = min(MOST, len(made.known(rising=rises(job.victim, direction))))
            for name, gains in laid(job, file, of_set, numbers, direction, most, behind or None):
                rows.append(
                    Row(
                        **asdict(job),
                        behind=behind,
                        code=code(job),
                        paid=made.queries,
                        images=of_set,
                        image=name,
                        first=gains[0],
                        best=max(0.0, *gains),
                        patterns=most,
                    )
                )
    return rows


def read() -> list[Row]:
    """The rows measured with the current code."""
    return [row for row in read_csv(ROWS, Row) if row.code == code(row.job)]


def restamp() -> None:
    """Keep rows of older code, way by way and box by box, if one job measured again agrees."""
    every = read_csv(ROWS, Row)
    # Of a job with rows of several codes, the current ones count, or else the last.
    newest = {(row.job, row.behind): row.code for row in every}
    newest |= {(row.job, row.behind): row.code for row in every if row.code == code(row.job)}
    rows = [row for row in every if row.code == newest[row.job, row.behind]]
    kept: list[Row] = []
    for way, box in itertools.product(ORDER, BOXES):
        mine = [row for row in rows if (row.way, row.box) == (way, box)]
        stale = [row for row in mine if row.code != code(row.job)]
        plain = [row for row in stale if not row.jpeg and not row.behind]
        if plain:
            job = min(
                (r.job for r in plain), key=lambda j: (j.seed, j.budget, VICTIMS.index(j.victim))
            )
            before = sorted((r.images, r.image, r.first, r.best) for r in plain if r.job == job)
            after = sorted((r.images, r.image, r.first, r.best) for r in measured(job))
            equal = len(before) == len(after) and all(
                one[:2] == other[:2] and np.allclose(one[2:], other[2:], rtol=0.0, atol=CLOSE)
                for one, other in zip(before, after, strict=True)
            )
            print(f"{way}, {box}: {'equal' if equal else 'differs'}", flush=True)
            if equal:
                mine = [replace(row, code=code(row.job)) for row in mine]
            else:
                mine = [row for row in mine if row not in stale]
        kept += mine
    write_csv(ROWS, Row, kept, anew=True)


def complete(jobs: Iterable[tuple[Job, int]]) -> None:
    """Add what is missing of jobs, each with what it is measured behind; rows of older code stay
    until they are restamped.
    """
    there = {(row.job, row.behind) for row in read()}
    for job, behind in jobs:
        if (job, behind) not in there:
            write_csv(ROWS, Row, measured(job, behind))


# -- the page -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gains:
    """Of one way, means over seeds, (images,) in points of 100, in the order of sets and names.

    right: how often the first pattern moved the score the right way. sets: of each image.
    """

    first: Floats
    best: Floats
    right: Floats
    sets: tuple[str, ...]
    paid: int
    seeds: int

    def of(self, of_set: str) -> Gains:
        """Those of one set."""
        inside = np.array([name == of_set for name in self.sets])
        parts = (self.first[inside], self.best[inside], self.right[inside])
        return Gains(*parts, (of_set,) * int(inside.sum()), self.paid, self.seeds)


def gains(rows: Sequence[Row], **wanted: object) -> Gains | None:
    """Of all rows with these values; None where there are none."""
    mine = [r for r in rows if all(getattr(r, key) == value for key, value in wanted.items())]
    if not mine:
        return None
    seeds = {row.seed for row in mine}
    names = sorted({(row.images, row.image) for row in mine})
    by = {(row.images, row.image, row.seed): row for row in mine}

    def column(value: Callable[[Row], float]) -> Floats:
        return np.array([np.mean([value(by[*name, seed]) for seed in seeds]) for name in names])

    return Gains(
        column(lambda row: 100.0 * row.first),
        column(lambda row: 100.0 * row.best),
        column(lambda row: 100.0 * (row.first > 0.0)),
        tuple(of_set for of_set, _ in names),
        max(row.paid for row in mine),
        len(seeds),
    )


Found = dict[tuple[str, str, int], dict[str, Gains]]
"""By victim, box and budget: what each way gains, of the seeds that all of them have."""


def plain(rows: Sequence[Row]) -> Found:
    """Rows neither learnt nor measured behind JPEG; the bank is listed with every budget."""
    found: Found = {}
    clear = [row for row in rows if not row.jpeg and not row.behind]
    keys = sorted({(row.victim, row.box, row.budget) for row in clear if row.budget})
    for victim, box, budget in keys:
        here = [r for r in clear if (r.victim, r.box) == (victim, box) and r.budget in (0, budget)]
        seeds = set.intersection(*({r.seed for r in here if r.way == way} for way in ORDER))
        if seeds:
            common = [row for row in here if row.seed in seeds]
            of_ways = {way: gains(common, way=way) for way in ORDER}
            found[victim, box, budget] = {k: v for k, v in of_ways.items() if v is not None}
    return found


def ratio(gain: Floats, other: Floats) -> float:
    """The ratio of means; NaN if the denominator is not positive."""
    below = float(other.mean())
    return float(gain.mean()) / below if below > 0.0 else float("nan")


def table(found: Found, box: str, budget: int) -> list[dict[str, str]]:
    """A row for each victim and method."""
    rows = []
    for (victim, of_box, of_budget), ways in found.items():
        if (of_box, of_budget) != (box, budget):
            continue
        for way, of in ways.items():
            row = {"victim": victim, "way": SHOWN.get(way, way), "learnt with": f"{of.paid:,}"}
            for name, shown in SETS.items():
                part = of.of(name)
                row[f"first pattern, {shown}"] = with_interval(".1f", mean, part.first)
                row[f"best of 8, {shown}"] = with_interval(".1f", mean, part.best)
            row["sign right"] = f"{mean(of.right):.0f} %"
            rows.append(row | {"seeds": str(of.seeds)})
    return rows


def ratios(found: Found) -> list[dict[str, str]]:
    """Ours over the strongest published way and over the best fixed direction, all images."""
    rows = []
    for (victim, box, budget), ways in found.items():
        ours = ways[OURS]
        row = {"victim": victim, "box": box, "budget": f"{budget:,}"}
        for name, title in (("first", "first pattern"), ("best", "best of 8")):

            def column(way: str, of: str = name, ways: dict[str, Gains] = ways) -> Floats:
                return np.asarray(getattr(ways[way], of))

            strongest = max(PUBLISHED, key=lambda way: float(column(way).mean()))
            row[f"{title}: over {'published'}"] = (
                f"{over(column(OURS), column(strongest))}, {strongest}"
            )
            row[f"{title}: over fixed"] = over(column(OURS), column(BASE))
            if name == "first":
                row["range over published"] = f"{reach(victim) / mean(column(strongest)):.2f}"
        rows.append(row | {"seeds": str(ours.seeds)})
    return rows


@cache
def reach(victim: str) -> float:
    """How far scores can move on the images used for measuring: their mean, in points of 100."""
    model, found = scorer(victim), []
    for of_set in SETS:
        images = image_set(of_set)
        pixels = [read_image(entry.path).pixels[None] for entry in images]
        clean = [float(score_checked(model, image)[0]) for image in pixels]
        targets = parse_objective("rank").targets(clean, model.score_range, model.lower_better)
        found += [100.0 * targets[k].reach for k in entries(of_set)]
    return float(np.mean(found))


def over(one: Floats, other: Floats) -> str:
    """A ratio with its interval, where there is one."""
    if not other.mean() > 0.0:
        return f"{one.mean():+.1f} against {other.mean():+.1f}"
    try:
        return with_interval(".2f", ratio, one, other)
    except ValueError:
        return f"{ratio(one, other):.2f}"


def recompressed(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Gains behind JPEG: learnt without and with it, measured without and with it."""
    lines = []
    for jpeg, behind in itertools.product((0, QUALITY), repeat=2):
        found = gains(
            rows, victim="cnniqa", box="linf:3", way=OURS, budget=5_000, seed=0,
            jpeg=jpeg, behind=behind,
        )  # fmt: skip
        if found is not None:
            lines.append(
                {
                    "learnt": f"`--jpeg {jpeg}`" if jpeg else "without",
                    "model": f"behind JPEG {behind}" if behind else "as it is",
                    "first pattern": with_interval(".1f", mean, found.first),
                    "best of 8": with_interval(".1f", mean, found.best),
                    "sign right": f"{mean(found.right):.0f} %",
                }
            )
    return lines


def missing(rows: Sequence[Row]) -> str:
    """How much has been measured."""
    there = {row.job for row in rows if not row.jpeg and not row.behind}

    def seeds(victim: str, box: str, budget: int) -> int:
        ways = (OURS, *PUBLISHED)
        return min(sum(Job(victim, box, w, budget, s) in there for s in SEEDS) for w in ways)

    done = {
        f"{victim}, {box}": {
            f"{budget:,} queries": seeds(victim, box, budget) for budget in BUDGETS
        }
        for box, victim in itertools.product(BOXES, VICTIMS)
    }
    return coverage(done, len(SEEDS), "seeds")


def plot(found: Found) -> None:
    """Gains of each method by victim, a panel for each box and budget."""
    mpl.use("Agg")
    panels = sorted({(box, budget) for _, box, budget in found}, key=lambda p: (p[1], p[0]))
    figure, axes = plt.subplots(
        len(panels), 1, figsize=(9, 0.7 + 3.3 * len(panels)), squeeze=False, layout="constrained"
    )
    colours = dict(zip(ORDER, ("C3", "0.55", "C0", "C1", "C2"), strict=True))
    for axis, (box, budget) in zip(axes[:, 0], panels, strict=True):
        victims = [v for v in VICTIMS if (v, box, budget) in found]
        for number, way in enumerate(ORDER):
            for place, victim in enumerate(victims):
                of = found[victim, box, budget][way]
                at = place + (number - 2) * 0.16
                best, first = of.best.mean(), of.first.mean()
                axis.bar(at, best, 0.14, color=colours[way], alpha=0.35)
                axis.bar(at, first, 0.1, color=colours[way],
                         label=SHOWN.get(way, way) if place == 0 else None)  # fmt: skip
        axis.axhline(0.0, color="0.3", linewidth=0.8)
        axis.set_xticks(range(len(victims)), victims)
        axis.set_xlim(-0.6, len(victims) - 0.4)
        axis.set_ylabel("gain, points of 100")
        axis.set_title(f"box {box}, learnt with {budget:,} queries, applied to unseen images")
        axis.grid(axis="y", alpha=0.3)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(
        handles,
        labels,
        title="narrow bar: one pattern, no query; wide, pale: best of 8, a query each",
        loc="outside lower center",
        fontsize=8,
        title_fontsize=8,
        ncols=len(ORDER),
    )
    figure.savefig(PLOT, dpi=90)
    plt.close(figure)


def write_page() -> None:
    """docs/universal-figures.md and its plot."""
    rows = read()
    found = plain(rows)
    if not found:
        print("no victim has all ways yet")
        return
    plot(found)
    parts = []
    for box, budget in sorted({(b, n) for _, b, n in found}, key=lambda p: (p[1], p[0])):
        parts += [f"### {box}, {budget:,} queries", markdown(table(found, box, budget))]
    texts = {
        "machine": f"Printed by `python benchmarks/universal.py` on {machine()}.",
        "ratios": markdown(ratios(found)),
        "ways": "\n\n".join(parts),
        "jpeg": markdown(recompressed(rows)),
        "missing": missing(rows),
    }
    note = NOTE.read_text(encoding="utf-8")
    for name, content in texts.items():
        note = note.replace(f"<!-- {name} -->", content)
    PAGE.write_text(note.strip() + "\n", encoding="utf-8")
    print(texts["ratios"], texts["ways"], texts["jpeg"], sep="\n\n")
    print(f"written: {PAGE.relative_to(ROOT)}, {PLOT.relative_to(ROOT)}")


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=list(VICTIMS), choices=VICTIMS)
    parser.add_argument("--boxes", nargs="+", default=list(BOXES), choices=BOXES)
    parser.add_argument("--ways", nargs="+", default=list(ORDER), choices=ORDER)
    parser.add_argument("--budgets", nargs="+", type=int, default=list(BUDGETS), choices=BUDGETS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    parser.add_argument("--jpeg", action="store_true", help="only the section on JPEG")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    parser.add_argument("--restamp", action="store_true", help="keep rows of equal results")
    options = parser.parse_args()
    shared_data()
    torch.set_num_threads(1)
    jobs = [
        (Job(victim, box, way, 0 if way == BASE else budget, seed), 0)
        for budget, box, seed, victim, way in itertools.product(
            options.budgets, options.boxes, options.seeds, options.victims, options.ways
        )
    ]
    if options.jpeg:
        jobs = [
            (Job("cnniqa", "linf:3", OURS, 5_000, 0, jpeg), behind)
            for jpeg, behind in itertools.product((0, QUALITY), repeat=2)
        ]
    if options.restamp:
        restamp()
    elif not options.report:
        complete(dict.fromkeys(jobs))
    write_page()


if __name__ == "__main__":
    main()
