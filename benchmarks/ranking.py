"""Attacks on a ranking under one total budget: objectives `srocc` and `top`, compared with `rank`.

    python benchmarks/ranking.py --victims cnniqa --boxes linf:3 --totals 72 240 1000 --seeds 0
    python benchmarks/ranking.py --top           # only the first three places
    python benchmarks/ranking.py --report        # only writes the page, from existing rows

The 24 development images, filter-search in all cases: `rank` searches each image with an equal
share of the budget, `srocc` spends it where it lowers the SROCC most. Rows are added to
benchmarks/rows/ranking.csv.xz as they are done; docs/ranking-figures.md and its plot are made from
them.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from cells import image_set
from common import (
    ROOT,
    Floats,
    coverage,
    machine,
    markdown,
    mean,
    read_csv,
    rows_file,
    shared_data,
    with_interval,
    write_csv,
)
from fingerprints import PACKAGE, fingerprint, text, without_docstrings
from iqattack.attacks import load_attack, ranking
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Failure, Outcome, image_hash
from iqattack.evaluation import krocc, ndcg, srocc, top_overlap
from iqattack.images import read_image
from iqattack.models import Scorer, score_checked, wrap
from iqattack.objectives import Rank, parse_objective
from scorers import scorer

VICTIMS = ("cnniqa", "scnn", "builtin", "brisque")
BOXES = ("linf:3", "bands:2.5")
TOTALS = (72, 96, 144, 240, 480, 1_000, 2_400, 5_000, 20_000)
SEEDS = (0, 1, 2, 3, 4)
ATTACK = "filter-search"
ALONE, TOGETHER = "rank", "srocc"
FIRST = 5  # places of the measures of the head of the ranking
LARGE = (1_000, 5_000, 20_000)  # budgets of `rank` that `srocc` is compared with
PLACES = 3
WITHIN = 500  # queries beside those of the clean images, for a place among the first
ROWS = rows_file("ranking")
PAGE = ROOT / "docs" / "ranking-figures.md"
PLOT = PAGE.with_suffix(".png")
NOTE = Path(__file__).with_suffix(".md")  # the page without its tables
SPENDS = (PACKAGE / "attacks" / "set_based" / "ranking.py", PACKAGE / "objectives" / "standing.py")
# As imported, should a file change while this runs.
SPENDING = "".join(text(without_docstrings(path.read_text(encoding="utf-8"))) for path in SPENDS)


@dataclass(frozen=True)
class Job:
    """One attack on the whole set.

    total: queries of all images together, their clean ones included.
    """

    victim: str
    box: str
    objective: str
    total: int
    seed: int
    attack: str = ATTACK


@dataclass(frozen=True)
class Row:
    """The result of an attack.

    code: see `code`. spent: queries; touched: images that are changed. clean, attacked: raw scores
    of all images, in their order, with a space between.
    """

    victim: str
    box: str
    objective: str
    total: int
    seed: int
    attack: str
    code: str
    spent: int
    touched: int
    clean: str
    attacked: str

    @property
    def job(self) -> Job:
        """The attack."""
        return Job(**{field.name: getattr(self, field.name) for field in fields(Job)})

    @property
    def scores(self) -> tuple[Floats, Floats]:
        """Clean and attacked ones."""
        return numbers(self.clean), numbers(self.attacked)

    @property
    def further(self) -> int:
        """Queries beside those of the clean images."""
        return self.spent - len(self.clean.split())


def numbers(scores: str) -> Floats:
    """Of a column of a row."""
    return np.array([float(one) for one in scores.split()])


# -- measuring ------------------------------------------------------------------------------------


@cache
def code(job: Job) -> str:
    """A hash of the code behind a row."""
    found = fingerprint(job.attack, job.victim, job.box)
    if job.objective == ALONE:
        return found
    return hashlib.sha256((found + SPENDING).encode()).hexdigest()[:8]


@cache
def victim(name: str) -> Scorer:
    """A model that scores a picture once in this process: larger budgets begin as smaller ones."""
    model, known = scorer(name), dict[int, float]()

    def score(images: Tensor) -> Tensor:
        hashes = [image_hash(image) for image in images]
        new = {digest: k for k, digest in enumerate(hashes) if digest not in known}
        if new:
            found = score_checked(model, images[list(new.values())]).tolist()
            known.update(zip(new, found, strict=True))
        return torch.tensor([known[digest] for digest in hashes], dtype=torch.float64)

    return wrap(
        score,
        name=model.name,
        score_range=model.score_range,
        lower_better=model.lower_better,
        min_size=model.min_size,
    )


def measured(job: Job) -> Row:
    """One attack, in this process."""
    code(job)  # as it is now, should the code change meanwhile
    images, objective = image_set("dev"), parse_objective(job.objective)
    alone, attack = job.objective == ALONE, load_attack(job.attack)
    share = job.total // len(images)
    engine = Engine.in_process(
        victim(job.victim),
        attack,
        parse_constraint(job.box),
        objective,
        queries=share if alone else limit(job),
        seed=job.seed,
    )
    if alone:
        items = list(engine.run(images))
    else:
        items, _ = engine.run_set(images, ranking(attack), total=job.total)
    found: dict[str, Outcome] = {}
    for item in items:
        if isinstance(item, Failure) or not isinstance(item, Outcome):
            raise TypeError(f"{job}: {item}")
        found[item.entry.name] = item
    ordered = [found[entry.name] for entry in images]
    return Row(
        **asdict(job),
        code=code(job),
        spent=sum(item.queries for item in ordered),
        touched=sum(not torch.equal(item.clean, item.adversarial) for item in ordered),
        clean=" ".join(f"{item.score_clean:.9g}" for item in ordered),
        attacked=" ".join(f"{item.score_adv:.9g}" for item in ordered),
    )


def limit(job: Job) -> int:
    """Queries of one image: four times an equal share, or all of them for a single image."""
    if job.objective != TOGETHER:
        return job.total
    return max(4 * job.total // len(image_set("dev")), 8)


def worse_half(name: str) -> list[str]:
    """The images that `rank` moves up, the best of them first."""
    images, model = image_set("dev"), victim(name)
    stack = torch.stack([read_image(entry.path).pixels for entry in images])
    scores = score_checked(model, stack).tolist()
    targets = Rank().targets(scores, model.score_range, model.lower_better)
    sign = 1.0 if model.lower_better else -1.0
    kept = [
        (sign * score, entry.name)
        for entry, score, target in zip(images, scores, targets, strict=True)
        if target.direction == "up"
    ]
    return [name for _, name in sorted(kept)]


def into(name: str) -> str:
    """The objective of moving an image into the first places."""
    return f"top:{PLACES},into={name}"


def read() -> list[Row]:
    """The rows measured with the current code."""
    rows = [row for row in read_csv(ROWS, Row) if row.code == code(row.job)]
    return list({row.job: row for row in rows}.values())


def complete(jobs: Iterable[Job]) -> None:
    """Add what is missing."""
    there = {row.job for row in read()}
    for job in jobs:
        if job not in there:
            row = measured(job)
            write_csv(ROWS, Row, [row])
            print(job.victim, job.box, job.objective, job.total, job.seed, end=": ")
            print(f"SROCC {srocc(*row.scores):.3f}, {row.spent} queries, {row.touched} touched",
                  flush=True)  # fmt: skip


# -- the page -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Figures:
    """What is reported of one attack.

    srocc, krocc: between clean and attacked scores. ndcg, overlap: of the first five places.
    """

    spent: float
    srocc: float
    krocc: float
    ndcg: float
    overlap: float
    touched: float


def figures(row: Row) -> Figures:
    """Those of a row."""
    clean, attacked = row.scores
    sign = -1.0 if victim(row.victim).lower_better else 1.0
    return Figures(
        float(row.spent),
        srocc(clean, attacked),
        krocc(clean, attacked),
        ndcg(sign * clean, sign * attacked, FIRST),
        top_overlap(sign * clean, sign * attacked, FIRST),
        float(row.touched),
    )


Curve = dict[int, list[Figures]]
"""By total, an entry for each seed."""


def curves(rows: Sequence[Row]) -> dict[tuple[str, str], dict[str, Curve]]:
    """By victim and box, then by objective: totals and seeds that both objectives have."""
    known = {row.job: figures(row) for row in rows if row.objective in (ALONE, TOGETHER)}
    found: dict[tuple[str, str], dict[str, Curve]] = {}
    for job in sorted(known, key=lambda job: (job.total, job.seed)):
        other = replace(job, objective=TOGETHER if job.objective == ALONE else ALONE)
        if other in known:
            both = found.setdefault((job.victim, job.box), {ALONE: {}, TOGETHER: {}})
            both[job.objective].setdefault(job.total, []).append(known[job])
    order = sorted(found, key=lambda it: (BOXES.index(it[1]), VICTIMS.index(it[0])))
    return {key: found[key] for key in order}


def values(of: Sequence[Figures], name: str) -> Floats:
    """One figure of all seeds."""
    return np.array([getattr(one, name) for one in of])


def shown(of: Sequence[Figures], name: str, form: str = ".2f") -> str:
    """A mean over seeds, with an interval where there are several."""
    if len(of) == 1:
        return f"{values(of, name)[0]:{form}}"
    return with_interval(form, mean, values(of, name))


def table(found: dict[str, Curve], name: str) -> list[dict[str, str]]:
    """A row for each total."""
    rows = []
    for total, alone in found[ALONE].items():
        together = found[TOGETHER][total]
        row = {"victim": name, "budget": f"{total:,}"}
        for title, column, form in (
            ("SROCC", "srocc", ".2f"),
            ("KROCC", "krocc", ".2f"),
            ("NDCG@5", "ndcg", ".2f"),
            ("top-5 overlap", "overlap", ".1f"),
            ("images changed", "touched", ".0f"),
        ):
            for objective, of in ((ALONE, alone), (TOGETHER, together)):
                row[f"{title}, `{objective}`"] = shown(of, column, form)
        rows.append(row | {"seeds": str(len(alone))})
    return rows


def until(curve: Curve, goal: float) -> tuple[float, str]:
    """Queries until the mean SROCC is no higher than a goal, between totals linear in their
    logarithm: the number, NaN where it was not reached, and how it is written.
    """
    points = [(float(values(of, "spent").mean()), mean(values(of, "srocc")))
              for of in curve.values()]  # fmt: skip
    if points[0][1] <= goal:
        return points[0][0], f"≤ {points[0][0]:,.0f}"
    for (low, before), (high, after) in itertools.pairwise(points):
        if after <= goal:
            share = (before - goal) / (before - after)
            queries = math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
            return queries, f"{queries:,.0f}"
    return math.nan, f"> {points[-1][0]:,.0f}"


def savings(found: dict[tuple[str, str], dict[str, Curve]]) -> list[dict[str, str]]:
    """Queries of `srocc` to reach the SROCC of `rank`, and of both to reach 0."""
    lines = []
    for (name, box), both in found.items():
        line = {"box": box, "victim": name}
        for total in LARGE:
            written = "–"
            if total in both[ALONE]:
                has = both[ALONE][total]
                goal, spent = mean(values(has, "srocc")), mean(values(has, "spent"))
                needed, written = until(both[TOGETHER], goal)
                written = f"{goal:.2f}: {written}"
                if not math.isnan(needed):
                    written += f", {'≤ ' if '≤' in written else ''}{needed / spent:.2f}×"
            line[f"as `rank` with {total:,}"] = written
        for objective, curve in both.items():
            line[f"SROCC ≤ 0, `{objective}`"] = until(curve, 0.0)[1]
        lines.append(line)
    return lines


def there(row: Row) -> bool:
    """Whether the image is among the first places; a tie for the last one does not count."""
    sign = -1.0 if victim(row.victim).lower_better else 1.0
    quality = sign * row.scores[1]
    names = [entry.name for entry in image_set("dev")]
    number = names.index(row.objective.partition("into=")[2])
    return int((quality >= quality[number]).sum()) <= PLACES


def places(rows: Sequence[Row]) -> list[dict[str, str]]:
    """How many images reached the first places."""
    lines = []
    for box, name in itertools.product(BOXES, VICTIMS):
        mine = [
            r for r in rows if (r.victim, r.box) == (name, box) and r.objective.startswith("top")
        ]
        if mine:
            took = [row.further for row in mine if there(row)]
            seeds = sorted({row.seed for row in mine})
            lines.append(
                {
                    "box": box,
                    "victim": name,
                    "reached": f"{len(took)} of {len(mine)}",
                    "queries, median": f"{np.median(took):,.0f}" if took else "–",
                    "least to most": f"{min(took)} to {max(took)}" if took else "–",
                    "seeds": str(len(seeds)),
                }
            )
    return lines


def missing(rows: Sequence[Row]) -> str:
    """How much has been measured."""
    done = {row.job for row in rows}

    def seeds(name: str, box: str, total: int) -> int:
        return sum({Job(name, box, o, total, s) for o in (ALONE, TOGETHER)} <= done for s in SEEDS)

    def of_places(name: str, box: str) -> int:
        mine = [row for row in rows if (row.victim, row.box) == (name, box)]
        firsts = [row for row in mine if row.objective.startswith("top")]
        half = len(image_set("dev")) // 2  # see `worse_half`
        return sum(sum(row.seed == s for row in firsts) >= half for s in SEEDS)

    table = {
        f"{name}, {box}": {f"{total:,}": seeds(name, box, total) for total in TOTALS}
        | {"first places": of_places(name, box)}
        for box, name in itertools.product(BOXES, VICTIMS)
    }
    return coverage(table, len(SEEDS), "seeds")


def plot(found: dict[tuple[str, str], dict[str, Curve]]) -> None:
    """SROCC against queries, a panel for each victim and box."""
    mpl.use("Agg")
    boxes = list(dict.fromkeys(box for _, box in found))
    names = [name for name in VICTIMS if any(key[0] == name for key in found)]
    figure, axes = plt.subplots(
        len(boxes), len(names), figsize=(3.2 * len(names), 3.1 * len(boxes)), squeeze=False,
        sharex=True, sharey=True, layout="constrained",
    )  # fmt: skip
    for (line, box), (place, name) in itertools.product(enumerate(boxes), enumerate(names)):
        axis = axes[line, place]
        both = found.get((name, box), {})
        for objective, curve in both.items():
            spent = [mean(values(of, "spent")) for of in curve.values()]
            each = [values(of, "srocc") for of in curve.values()]
            style = {"color": "C3"} if objective == TOGETHER else {"color": "0.3", "ls": "--"}
            axis.plot(spent, list(map(mean, each)), marker="o", ms=3, label=objective, **style)
            low, high = [one.min() for one in each], [one.max() for one in each]
            axis.fill_between(spent, low, high, color=style["color"], alpha=0.15, lw=0)
        axis.axhline(0.0, color="0.8", linewidth=0.8, zorder=0)
        axis.set(xscale="log", title=f"{name}, {box}" if both else f"{name}, {box}: not measured")
        axis.grid(alpha=0.3)
    for axis in axes[-1]:
        axis.set_xlabel("queries, all 24 images together")
    for axis in axes[:, 0]:
        axis.set_ylabel("SROCC, clean to attacked")
    axes[0, 0].legend()
    figure.savefig(PLOT, dpi=90)
    plt.close(figure)


def write_page() -> None:
    """docs/ranking-figures.md and its plot."""
    rows = read()
    found = curves(rows)
    if not found:
        print("no victim has both objectives yet")
        return
    plot(found)
    parts = []
    for box in dict.fromkeys(box for _, box in found):
        lines = [
            line for (name, b), both in found.items() if b == box for line in table(both, name)
        ]
        parts += [f"### {box}", markdown(lines)]
    texts = {
        "machine": f"Printed by `python benchmarks/ranking.py` on {machine()}.",
        "savings": markdown(savings(found)),
        "totals": "\n\n".join(parts),
        "places": markdown(places(rows)),
        "missing": missing(rows),
    }
    note = NOTE.read_text(encoding="utf-8")
    for name, content in texts.items():
        note = note.replace(f"<!-- {name} -->", content)
    PAGE.write_text(note.strip() + "\n", encoding="utf-8")
    print(texts["savings"], texts["totals"], texts["places"], sep="\n\n")
    print(f"written: {PAGE.relative_to(ROOT)}, {PLOT.relative_to(ROOT)}")


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=list(VICTIMS), choices=VICTIMS)
    parser.add_argument("--boxes", nargs="+", default=list(BOXES), choices=BOXES)
    parser.add_argument("--totals", nargs="+", type=int, default=list(TOTALS), choices=TOTALS)
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), choices=SEEDS)
    parser.add_argument("--top", action="store_true", help="only the first places")
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    shared_data()
    torch.set_num_threads(1)
    kinds = itertools.product(options.seeds, options.boxes, options.victims)
    for seed, box, name in kinds if not options.report else ():
        if options.top:
            total = len(image_set("dev")) + WITHIN
            complete(Job(name, box, into(image), total, seed) for image in worse_half(name))
        else:
            complete(
                Job(name, box, objective, total, seed)
                for total, objective in itertools.product(options.totals, (ALONE, TOGETHER))
            )
    write_page()


if __name__ == "__main__":
    main()
