"""How well defences hold: each at two strengths, against adaptive and non-adaptive attacks.

    python benchmarks/defences.py                              # hours; continues where it stopped
    python benchmarks/defences.py --attacks filter-search --limit 4
    python benchmarks/defences.py --report                     # only writes the page

Development images in the box `linf:3`, directions of objective `rank` by the undefended model.
*Adaptive* attacks query the defended model; others query the undefended one, and their result is
transferred to the defended one. Rows are added to benchmarks/rows/defences.csv.xz, from which
docs/defences-figures.md is made.
"""

from __future__ import annotations

import argparse
import hashlib
import inspect
import itertools
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cache
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
    coverage,
    machine,
    markdown,
    mean,
    measure,
    read_csv,
    rows_file,
    shared_data,
    with_interval,
    write_csv,
)
from fingerprints import fingerprint, texts, without_docstrings
from iqattack.attacks import load_attack
from iqattack.defences import parse_defence
from iqattack.evaluation import srocc
from iqattack.images import ImageSet, read_image
from iqattack.models import Scorer, defend, judges, score_checked
from iqattack.objectives import Target, parse_objective
from scorers import scorer

VICTIMS = ("cnniqa", "scnn", "builtin")
ATTACKS = ("filter-search", "square", "score-boundary")
# The milder one first.
DEFENCES = (
    ("jpeg:75", "jpeg:30"),
    ("webp:75", "webp:30"),
    ("resize:0.75", "resize:0.5"),
    ("bits:5", "bits:3"),
    ("median:3", "median:7"),
    ("blur:3", "blur:7"),
    ("unsharp:0.5", "unsharp:2"),
    ("tv:0.02", "tv:0.1"),
    ("crop:0.9:1", "crop:0.7:4"),
    ("flip:1", "flip:4"),
    ("noise:3:1", "noise:8:4"),
    ("smoothing:8:9", "smoothing:16:9"),
    ("round:2", "round:10"),
    ("score-noise:1", "score-noise:5"),
    ("aaa:2", "aaa:10"),
    ("aaa:2:sine", "aaa:10:sine"),
)
EVERY = tuple(itertools.chain.from_iterable(DEFENCES))
NONE = "none"
OWN = "iqattack.defences"
BOX, QUERIES = "linf:3", 500
KEYS = range(1, 9)  # of random draws that no attack has seen
FEWEST = 4  # images for a row of the table
HELD = 0.25  # share of the gain: a defence holds if it leaves less on each model
ROWS = rows_file("defences")
PAGE = ROOT / "docs" / "defences-figures.md"
NOTE = Path(__file__).with_suffix(".md")  # the page without its tables


@dataclass(frozen=True)
class Row:
    """The result for one image.

    code: see `code`. model, clean: raw scores of the clean image by the model itself, and through
    the defence. Gains are fractions of the score range. reported: as seen by an adaptive attack;
    adaptive: true gain of its image, see `judges`; other: of the attack on the undefended model.
    """

    victim: str
    attack: str
    defence: str
    image: str
    code: str
    model: float
    clean: float
    reported: float
    adaptive: float
    other: float


# -- one image ------------------------------------------------------------------------------------


@cache
def code(attack: str, victim: str, defence: str) -> str:
    """A hash of the code behind a row: the attack, and the files of the defences."""
    parts = [fingerprint(attack, victim, BOX)]
    if defence != NONE:
        kinds = [kind for one in parse_defence(defence).defences for kind in type(one).__mro__]
        files = {Path(inspect.getfile(kind)) for kind in kinds if kind.__module__.startswith(OWN)}
        trees = (without_docstrings(file.read_text(encoding="utf-8")) for file in files)
        parts.append(texts(trees).decode())
    return hashlib.sha256("".join(parts).encode()).hexdigest()[:8]


@cache
def targets(victim: str) -> list[Target]:
    """The target directions of all images, by the undefended model's scores."""
    images = torch.stack([read_image(entry.path).pixels for entry in image_set("dev")])
    model = scorer(victim)
    clean = score_checked(model, images).tolist()
    return parse_objective("rank").targets(clean, model.score_range, model.lower_better)


def gain(
    models: Sequence[Scorer], clean: torch.Tensor, changed: torch.Tensor, rising: bool
) -> float:
    """Mean gain of an image over models, as a fraction of the score range; may be negative."""
    low, high = models[0].score_range
    both = torch.stack([clean, changed])
    moved = [float(score_checked(model, both).diff()[0]) for model in models]
    return (1.0 if rising else -1.0) * float(np.mean(moved)) / (high - low)


def rows_of(victim: str, attack: str, number: int, defences: Sequence[str]) -> list[Row]:
    """Of one image and several defences."""
    torch.set_num_threads(1)
    model, target = scorer(victim), targets(victim)[number]
    entry = image_set("dev").entries[number]
    clean = read_image(entry.path).pixels

    def attacked(asked: Scorer) -> tuple[float, float, torch.Tensor]:
        found = measure(
            attack,
            asked,
            ImageSet((entry,)),
            load_attack(attack),
            constraint=BOX,
            queries=QUERIES,
            objective=target.direction,
        )
        return float(found.clean[0]), float(found.gain[0]), found.pictures[0]

    score, reported, picture = attacked(model)
    rows = []
    for defence in defences:
        if defence == NONE:
            rows.append(
                Row(
                    victim,
                    attack,
                    NONE,
                    entry.name,
                    code(attack, victim, NONE),
                    score,
                    score,
                    reported,
                    reported,
                    reported,
                )
            )
            continue
        through, promised, adaptive = attacked(defend(model, defence))
        judged = judges(model, defence, KEYS)
        rows.append(
            Row(
                victim,
                attack,
                defence,
                entry.name,
                code(attack, victim, defence),
                score,
                through,
                promised,
                gain(judged, clean, adaptive, target.rising),
                gain(judged, clean, picture, target.rising),
            )
        )
    return rows


# -- all of them ----------------------------------------------------------------------------------


def current() -> list[Row]:
    """Rows measured with the current code."""
    return [
        row for row in read_csv(ROWS, Row) if row.code == code(row.attack, row.victim, row.defence)
    ]


def complete(options: argparse.Namespace) -> None:
    """Add what is missing, the milder strengths of all first."""
    rows = current()
    write_csv(ROWS, Row, rows, anew=True)
    known = {(row.victim, row.attack, row.defence, row.image) for row in rows}
    names = [entry.name for entry in image_set("dev")][: options.limit]
    with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        for strength, attack in itertools.product((0, 1), options.attacks):
            wanted = [NONE, *(pair[strength] for pair in DEFENCES)]
            jobs = []
            for victim, (number, image) in itertools.product(options.victims, enumerate(names)):
                missing = [d for d in wanted if (victim, attack, d, image) not in known]
                known |= {(victim, attack, d, image) for d in missing}
                if missing:
                    jobs.append(pool.submit(rows_of, victim, attack, number, missing))
            done = track(
                as_completed(jobs),
                f"{attack}, strength {strength + 1}",
                len(jobs),
                console=Console(stderr=True),
            )
            for job in done:
                write_csv(ROWS, Row, job.result())


# -- the page -------------------------------------------------------------------------------------


def column(rows: Sequence[Row], name: str) -> Floats:
    """Of a gain in points of 100."""
    return 100.0 * np.array([getattr(row, name) for row in rows])


def lines(rows: Sequence[Row], victim: str) -> list[dict[str, str]]:
    """A line for each defence of one victim."""
    found: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        if row.victim == victim:
            found[row.attack, row.defence].append(row)
    table = []
    for defence in (NONE, *EVERY):
        line, there = {"defence": f"`{defence}`" if defence != NONE else NONE}, False
        for attack in ATTACKS:
            cell = found[attack, defence]
            cell = cell if len(cell) >= FEWEST else []
            there |= bool(cell)
            for name in ("adaptive", "reported", "other"):
                if attack != ATTACKS[0] and name == "reported":
                    continue
                shown = with_interval(".1f", mean, column(cell, name)) if cell else "–"
                hidden = defence == NONE and name != "adaptive"
                line[f"{attack}, {WORDS[name]}"] = "" if hidden and cell else shown
        every = {row.image: row for attack in ATTACKS for row in found[attack, defence]}
        pairs = list(every.values())
        line["SROCC of clean scores"] = (
            f"{srocc(np.array([r.model for r in pairs]), np.array([r.clean for r in pairs])):.2f}"
            if there and defence != NONE and len(pairs) >= FEWEST
            else ""
        )
        line["images"] = str(max(len(found[attack, defence]) for attack in ATTACKS))
        if there:
            table.append(line)
    return table


WORDS = {"adaptive": "adaptive", "reported": "as reported", "other": "not adaptive"}


@dataclass(frozen=True)
class Standing:
    """The gain that a defence leaves the strongest adaptive attack, relative to no defence.

    shares: of each victim. kept: least SROCC over victims of clean scores with and without it.
    """

    defence: str
    shares: dict[str, float]
    kept: float

    @property
    def share(self) -> float:
        """The mean over victims."""
        return float(np.mean(list(self.shares.values())))


def standings(rows: Sequence[Row]) -> list[Standing]:
    """All defences, the strongest first, on victims and by attacks that were measured with each."""
    cells: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    scores: dict[tuple[str, str], dict[str, tuple[float, float]]] = defaultdict(dict)
    for row in rows:
        cells[row.victim, row.attack, row.defence].append(row.adaptive)
        scores[row.victim, row.defence][row.image] = (row.model, row.clean)
    by = whole(rows)

    def worst(victim: str, defence: str) -> float:
        return max(float(np.mean(cells[victim, attack, defence])) for attack in by[victim])

    table = []
    for defence in EVERY if by else ():
        shares = {victim: worst(victim, defence) / worst(victim, NONE) for victim in by}
        own = [np.array(list(scores[victim, defence].values())) for victim in by]
        kept = min(srocc(pairs[:, 0], pairs[:, 1]) for pairs in own)
        table.append(Standing(defence, shares, kept))
    return sorted(table, key=lambda standing: standing.share)


def whole(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The attacks by victim that were measured without and with every defence."""
    found = {
        victim: [a for a, number in done.items() if number == len(EVERY)]
        for victim, done in counted(rows).items()
    }
    return {victim: attacks for victim, attacks in found.items() if attacks}


def counted(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """The number of defences that were measured, by victim and attack; 0 without the undefended
    model, or if attacks gain nothing there.
    """
    gains: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        gains[row.victim, row.attack, row.defence].append(row.adaptive)

    def defences(victim: str, attack: str) -> int:
        alone = gains[victim, attack, NONE]
        if len(alone) < FEWEST or not np.mean(alone) > 0.0:
            return 0
        return sum(len(gains[victim, attack, defence]) >= FEWEST for defence in EVERY)

    return {victim: {a: defences(victim, a) for a in ATTACKS} for victim in VICTIMS}


def standing_table(table: Sequence[Standing]) -> str:
    """As Markdown."""
    return markdown(
        [
            {
                "defence": f"`{row.defence}`",
                "gain left, mean": f"{row.share:.2f}",
                **{victim: f"{share:.2f}" for victim, share in row.shares.items()},
                "SROCC of clean scores, least": f"{row.kept:.2f}",
            }
            for row in table
        ]
    )


def conclusion(table: Sequence[Standing]) -> str:
    """A summary in two sentences."""
    if not table:
        return ""
    best, half = table[0], [row for row in table if row.share < 0.5]
    worse = [row for row in table if row.share > 1.0]
    holds = [row for row in table if max(row.shares.values()) < HELD]
    named = ", ".join(f"`{row.defence}`" for row in holds)
    first = (
        f"Those that leave less than {HELD:.0%} of the gain on each of these models: {named}."
        if holds
        else f"None leaves less than {HELD:.0%} of the gain on each of these models: none holds."
    )
    return (
        f"{first} Least is left by `{best.defence}`, {best.share:.0%} on average, at an SROCC of "
        f"clean scores of {best.kept:.2f}; {len(half)} of {len(table)} leave less than half, and "
        f"{len(worse)} more than there was without."
    )


def write_page(rows: Sequence[Row]) -> None:
    """docs/defences-figures.md."""
    table = standings(rows)
    by = (f"{victim} by {', '.join(attacks)}" for victim, attacks in whole(rows).items())
    parts = {
        "standing": standing_table(table),
        "conclusion": conclusion(table),
        "by": "; ".join(by) or "none yet",
    }
    for victim in VICTIMS:
        parts[victim] = markdown(lines(rows, victim))
    parts["absent"] = coverage(counted(rows), len(EVERY), "defences")
    body = NOTE.read_text(encoding="utf-8")
    for name, part in parts.items():
        body = body.replace(f"{{{name}}}", part)
    body = body.replace("{machine}", machine()).replace("{keys}", str(len(KEYS)))
    PAGE.write_text(body.rstrip() + "\n", encoding="utf-8")
    print(body)


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=VICTIMS, choices=VICTIMS)
    parser.add_argument("--attacks", nargs="+", default=ATTACKS, choices=ATTACKS)
    parser.add_argument("--limit", type=int, default=24, help="images, of 24")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    shared_data()
    if not options.report:
        complete(options)
    write_page(current())


if __name__ == "__main__":
    main()
