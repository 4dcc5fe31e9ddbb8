"""How much a profile with students helps on new images, at few queries per image.

    python benchmarks/students.py                               # hours; continues where it stopped
    python benchmarks/students.py --victims cnniqa --learnt 0 20000
    python benchmarks/students.py --report                      # only writes the page

Profiles learn from half of the development images (twelve, three of each distortion), in the box
`linf:3`; each is then used on the other half (the halves of benchmarks/baselines.py). Rows are
added to benchmarks/rows/students.csv.xz, profiles are kept in benchmarks/out/students;
docs/students.md is made from the rows.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

import iqattack
from baselines import CHOOSING, REPORTING
from cells import image_set
from common import (
    ROOT,
    Floats,
    machine,
    markdown,
    measure,
    read_csv,
    rows_file,
    shared_data,
    with_interval,
    write_csv,
)
from iqattack.attacks import load_attack
from iqattack.directions import read_profile
from iqattack.images import ImageSet
from limit import BOX, CEILING, VICTIMS, ratio, shown, victim

LEARNT = (0, 5_000, 20_000, 100_000)  # queries that students learn from
SEARCH = 300  # queries of a profile's search on one image
QUERIES = (2, 5, 20, 100)  # of the attack, each image; the first is the clean one
NOTHING = -1  # learnt: no profile at all
ROWS = rows_file("students")
PAGE = ROOT / "docs" / "students.md"
NOTE = Path(__file__).with_suffix(".md")  # the page without its tables
PROFILES = ROOT / "benchmarks" / "out" / "students"


@dataclass(frozen=True)
class Row:
    """The result for one image.

    learnt: queries that students learnt from; 0 for a profile without, NOTHING for no profile.
    paid: queries of the whole profile. queries: of the attack; 0 for the ceiling.
    """

    victim: str
    learnt: int
    paid: int
    queries: int
    image: str
    gain: float


def profile_of(name: str, learnt: int) -> tuple[Path, int]:
    """The file of a profile, which is made if it is missing, and its cost in queries."""
    folder = PROFILES / f"{shown(name)}-{learnt}"
    file = folder / "profile.json"
    if file.exists():
        return file, read_profile(file).queries
    entries = image_set("dev").entries
    made = iqattack.profile(
        ImageSet(tuple(entries[k] for k in CHOOSING.images)),
        victim(name).scorer,
        out=folder,
        constraint=f"linf:{BOX}",
        queries=SEARCH,
        students=learnt,
        resume=(folder / "profile.toml").exists(),
    )
    return file, made.queries


def rows_of(name: str, learnt: int, there: set[Row]) -> list[Row]:
    """Measure the missing rows of a victim and a profile."""
    known = {(row.image, row.queries) for row in there}
    todo = [
        (k, queries)
        for k, queries in itertools.product(REPORTING.images, QUERIES)
        if (image_set("dev").entries[k].name, queries) not in known
    ]
    if not todo:
        return []
    attack, paid = "filter-search", 0
    if learnt != NOTHING:
        path, paid = profile_of(name, learnt)
        attack = f"filter-search:profile={path}"
    known_victim, found = victim(name), []
    for k, queries in track(todo, f"{shown(name)}, {learnt:,}", console=Console(stderr=True)):
        entry, target = image_set("dev").entries[k], known_victim.targets[k]
        outcome = measure(
            attack,
            known_victim.scorer,
            ImageSet((entry,)),
            load_attack(attack),
            constraint=f"linf:{BOX}",
            queries=queries,
            objective=target.direction,
        )
        gain = min(float(outcome.gain[0]), target.reach)
        found.append(Row(name, learnt, paid, queries, entry.name, gain))
    return found


def ceilings(name: str, there: set[Row]) -> list[Row]:
    """White-box PGD on the attacked half, as in `limit.py`."""
    known = {row.image for row in there}
    return [
        Row(name, NOTHING, 0, 0, image, victim(name).ascended(k, CEILING, lambda g: g))
        for k, image in zip(REPORTING.images, REPORTING.names, strict=True)
        if image not in known
    ]


def read() -> list[Row]:
    """All existing rows."""
    return read_csv(ROWS, Row)


# -- the page -------------------------------------------------------------------------------------


def gains(rows: Sequence[Row], name: str, learnt: int, queries: int) -> Floats:
    """Of the attacked images, in their order."""
    wanted = (name, learnt, queries)
    found = {row.image: row.gain for row in rows if (row.victim, row.learnt, row.queries) == wanted}
    return np.array([found[image] for image in sorted(found)])


def table(rows: Sequence[Row]) -> list[dict[str, str]]:
    """A row for each victim and profile: shares of the ceiling by queries."""
    lines = []
    for name, learnt in itertools.product(VICTIMS, (NOTHING, *LEARNT)):
        ceiling = gains(rows, name, NOTHING, 0)
        by_queries = {queries: gains(rows, name, learnt, queries) for queries in QUERIES}
        if not len(ceiling) or any(len(g) != len(ceiling) for g in by_queries.values()):
            continue
        paid = max(row.paid for row in rows if (row.victim, row.learnt) == (name, learnt))
        line = {
            "victim": shown(name),
            "students learnt from": {NOTHING: "no profile", 0: "no students"}.get(
                learnt, f"{learnt:,}"
            ),
            "queries of the profile": f"{paid:,}",
        }
        for queries, gain in by_queries.items():
            line[f"{queries}"] = with_interval(".2f", ratio, gain, ceiling)
        lines.append(line | {"images": str(len(ceiling))})
    return lines


def write_page() -> None:
    """docs/students.md."""
    lines = table(read())
    if not lines:
        print("no victim is done yet")
        return
    text = markdown(lines)
    print(text)
    note = NOTE.read_text(encoding="utf-8").replace("<!-- shares -->", text)
    note = note.replace(
        "<!-- machine -->", f"Printed by `python benchmarks/students.py` on {machine()}."
    )
    PAGE.write_text(note, encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--victims", nargs="+", default=list(VICTIMS), choices=list(VICTIMS))
    parser.add_argument(
        "--learnt", nargs="+", type=int, default=[0, 5_000, 20_000], help="queries of students"
    )
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    shared_data()
    if not options.report:
        for name in options.victims:
            known = {r for r in read() if (r.victim, r.queries) == (name, 0)}
            write_csv(ROWS, Row, ceilings(name, known))
            for learnt in (NOTHING, *options.learnt):
                there = {r for r in read() if (r.victim, r.learnt) == (name, learnt)}
                write_csv(ROWS, Row, rows_of(name, learnt, there))
    write_page()


if __name__ == "__main__":
    main()
