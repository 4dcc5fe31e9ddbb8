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
from collections.abc import Mapping, Sequence
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
from iqattack.evaluation import bootstrap_interval, srocc
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
HELD = 0.25  # share of the gain: a defence holds if it leaves less, and
KEPT = 0.9  # keeps at least this SROCC between clean scores with and without it
ALL = 0.995  # share of the gain that is printed as 1.00
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

    @property
    def worst(self) -> float:
        """The larger of the two gains behind the defence: that of an attacker who tries both."""
        return max(self.adaptive, self.other)


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


NAMES = {"cnniqa": "CNNIQA", "scnn": "S-CNN", "builtin": "The built-in model"}
WORDS = {
    "worst": "worst of both",
    "adaptive": "adaptive",
    "reported": "adaptive, as reported",
    "other": "not adaptive",
}


def gains(rows: Sequence[Row], victim: str, attack: str) -> list[dict[str, str]]:
    """A line for each defence of a victim that was measured on enough images."""
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if (row.victim, row.attack) == (victim, attack):
            found[row.defence].append(row)
    table = []
    for defence in (NONE, *EVERY):
        cell = found[defence]
        if len(cell) < FEWEST:
            continue
        line = {"defence": NONE if defence == NONE else f"`{defence}`"}
        for name, head in WORDS.items():
            alone = defence == NONE and name != "worst"
            line[head] = "" if alone else with_interval(".1f", mean, column(cell, name))
        table.append(line | {"images": str(len(cell))})
    return table


@dataclass(frozen=True)
class Standing:
    """What a defence leaves of the gain of the strongest attack on each image, (I,).

    without: the gain without a defence. worst, adaptive, other: as of `Row`. kept: SROCC of clean
    scores with and without the defence.
    """

    defence: str
    without: Floats
    worst: Floats
    adaptive: Floats
    other: Floats
    kept: float

    @property
    def share(self) -> float:
        """The share of the gain that an attacker keeps who tries both."""
        return share(self.worst, self.without)

    @property
    def holds(self) -> bool:
        """Whether little of the gain is left, and the ranking of clean images."""
        return self.share < HELD and self.kept >= KEPT

    def left(self, name: str = "worst") -> str:
        """The share left by one kind of attack, or by the worst of both, with its interval."""
        return with_interval(".2f", share, getattr(self, name), self.without)

    def inside(self, limit: float) -> bool:
        """Whether the whole interval of the share is below a limit."""
        return bootstrap_interval(share, self.worst, self.without)[1] < limit


def share(behind: Floats, without: Floats) -> float:
    """The ratio of means, because the gain on some images is almost 0."""
    whole = mean(without)
    return mean(behind) / whole if whole > 0.0 else float("nan")


def standings(rows: Sequence[Row], victim: str) -> list[Standing]:
    """The defences of a victim, the strongest first, by the attacks that met most of them.

    All of them are judged on the same images; none if there are fewer than FEWEST.
    """
    attacks = strongest(rows, victim)
    found: dict[str, dict[tuple[str, str], Row]] = defaultdict(dict)
    for row in rows:
        if row.victim == victim and row.attack in attacks:
            found[row.defence][row.attack, row.image] = row
    enough = [d for d in EVERY if len(found[d]) >= FEWEST * len(attacks) > 0]
    if not enough:
        return []
    common = set.intersection(*(set(found[defence]) for defence in (NONE, *enough)))
    images = sorted(i for i in {i for _, i in common} if all((a, i) in common for a in attacks))
    if len(images) < FEWEST:
        return []

    def most(defence: str, name: str) -> Floats:
        cells = [[getattr(found[defence][a, i], name) for i in images] for a in attacks]
        gained: Floats = np.max(cells, axis=0)
        return gained

    table = []
    for defence in enough:
        scores = [found[defence][attacks[0], image] for image in images]
        table.append(
            Standing(
                defence,
                without=most(NONE, "worst"),
                worst=most(defence, "worst"),
                adaptive=most(defence, "adaptive"),
                other=most(defence, "other"),
                kept=srocc([row.model for row in scores], [row.clean for row in scores]),
            )
        )
    return sorted(table, key=lambda standing: standing.share)


def strongest(rows: Sequence[Row], victim: str) -> list[str]:
    """The attacks that were measured with the largest number of defences of a victim."""
    done = counted(rows)[victim]
    return [attack for attack, number in done.items() if number == max(done.values()) > 0]


def counted(rows: Sequence[Row]) -> dict[str, dict[str, int]]:
    """The number of defences that were measured, by victim and attack; 0 without the undefended
    model, or if attacks gain nothing there.
    """
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        found[row.victim, row.attack, row.defence].append(row.adaptive)

    def defences(victim: str, attack: str) -> int:
        alone = found[victim, attack, NONE]
        if len(alone) < FEWEST or not np.mean(alone) > 0.0:
            return 0
        return sum(len(found[victim, attack, defence]) >= FEWEST for defence in EVERY)

    return {victim: {a: defences(victim, a) for a in ATTACKS} for victim in VICTIMS}


def standing_table(table: Sequence[Standing]) -> str:
    """As Markdown."""
    return markdown(
        [
            {
                "defence": f"`{row.defence}`",
                "gain left, worst of both": row.left(),
                "adaptive alone": row.left("adaptive"),
                "not adaptive alone": row.left("other"),
                "SROCC of clean scores": f"{row.kept:.2f}",
                "images": str(len(row.without)),
            }
            for row in table
        ]
    )


def conclusion(tables: Mapping[str, Sequence[Standing]], by: Mapping[str, str]) -> str:
    """A paragraph for each victim with a ranking. by: its attacks and images, in words."""
    parts = []
    for victim, table in tables.items():
        if not table:
            continue
        holding = [row for row in table if row.holds]
        ranked = [row for row in table if row.kept >= KEPT]
        half = [row for row in table if row.share < 0.5]
        surely = sum(row.inside(0.5) for row in half)
        useless = [row for row in table if row.share >= ALL]
        number = f"{len(holding) or 'none'} of {len(table)} defences"
        names = ", ".join(f"`{row.defence}`" for row in holding)
        verb = "hold" if len(holding) > 1 else "holds"
        text = [
            f"**{NAMES[victim]}, {by[victim]}: {number} {verb}{names and f' ({names})'}.** "
            f"{described(table[0])}."
        ]
        if ranked and ranked[0] is not table[0]:
            text.append(f"Among those with at least {KEPT}, {described(ranked[0])}.")
        text.append(
            f"{len(half)} of {len(table)} leave less than half of the gain"
            + (f" ({surely} with the whole interval)" if half else "")
            + f", and {len(useless)} leave all of it or more."
        )
        parts.append(" ".join(text))
    return "\n\n".join(parts) or "Not measured yet."


def described(row: Standing) -> str:
    """A defence, what it leaves and what it costs."""
    return f"`{row.defence}` leaves least: {row.left()}, at an SROCC of {row.kept:.2f}"


def section(rows: Sequence[Row], victim: str, table: Sequence[Standing], by: str) -> str:
    """The tables of one victim."""
    parts = [f"## {NAMES[victim]}"]
    if table:
        parts += [f"### Share of the gain left, {by}", standing_table(table)]
    for attack in ATTACKS:
        found = gains(rows, victim, attack)
        if found:
            parts += [f"### Gains of {attack}, points of 100", markdown(found)]
    if len(parts) == 1:
        parts.append(f"No attack has been measured on {FEWEST} images yet.")
    return "\n\n".join(parts)


def write_page(rows: Sequence[Row]) -> None:
    """docs/defences-figures.md."""
    tables = {victim: standings(rows, victim) for victim in VICTIMS}
    by = {
        victim: f"{', '.join(strongest(rows, victim))}, {len(table[0].without)} images"
        for victim, table in tables.items()
        if table
    }
    done = {NAMES[victim]: number for victim, number in counted(rows).items()}
    absent = coverage(done, len(EVERY), "defences")
    parts = {
        "absent": absent and f"{absent}\n\nA defence counts once it has {FEWEST} images.",
        "conclusion": conclusion(tables, by),
        "held": f"{100 * HELD:.0f} %",
        "kept": f"{KEPT}",
        "keys": str(len(KEYS)),
        "machine": machine(),
        "victims": "\n\n".join(
            section(rows, victim, tables[victim], by.get(victim, "")) for victim in VICTIMS
        ),
    }
    body = NOTE.read_text(encoding="utf-8")
    for name, part in parts.items():
        body = body.replace(f"{{{name}}}", part)
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
