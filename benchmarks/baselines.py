"""Tuned baselines: options chosen on one half of the models and images, reported on the other.

    python benchmarks/baselines.py --limit 4     # continues where it stopped; an hour
    python benchmarks/baselines.py --report      # only writes the page, from existing rows

Measures all variants on the choosing half; then, on the reporting half, the defaults, nes and
sparse-rs as published, the best variants of the choosing half, and three attacks for comparison.
Rows are added to benchmarks/rows/baselines.csv.xz as they are done, and docs/baselines.md is made
from them.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from cells import IMAGES, Cell, Row, chosen, complete, image_set, measured
from common import ROOT, Floats, machine, markdown, mean, rows_file, shared_data, with_interval
from fingerprints import MAX_POOLING
from limit import shown, victim

BOX, QUERIES = "linf:3", 500
PAPERS = "nes:mirrored=yes,grey=no,last=1"  # nes as published
PUBLISHED = (PAPERS, "sparse-rs:grey=no")  # as published, where the default differs
VARIANTS = {  # the default first
    "nes": (
        "nes",
        PAPERS,
        "nes:grey=no",
        "nes:mirrored=yes",
        "nes:density=0.2",
        "nes:samples=40,eta=1.5",
        "nes:last=1",
        "nes:momentum=0.8",
        "nes:sigma=2",
    ),
    "square": ("square", "square:grey=yes", "square:p_init=0.2", "square:p_init=0.2,grey=yes"),
    "ran": ("ran", "ran:grey=yes"),
    "sparse-rs": (
        "sparse-rs",
        "sparse-rs:grey=no",
        "sparse-rs:alpha=0.1",
        "sparse-rs:alpha=0.1,grey=no",
    ),
}
EVERY = tuple(spec for specs in VARIANTS.values() for spec in specs)
OTHERS = ("filter-search", "score-boundary", "noise")
FEWEST = 4  # images for a line of a table: one of each distortion
ROWS = rows_file("baselines")
PAGE = ROOT / "docs" / "baselines.md"
NOTE = Path(__file__).with_suffix(".md")  # the page without its tables

Gains = dict[str, Floats]
"""Of each variant, points of 100: (models, images), the same images for all."""


@dataclass(frozen=True)
class Half:
    """Models and numbers of images; every four images have all kinds of distortion."""

    models: tuple[str, ...]
    images: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """Of the images."""
        return [image_set("dev").entries[k].name for k in self.images]


def every_other_four(odd: bool) -> tuple[int, ...]:
    """Numbers of images, the first four or the second of every eight."""
    return tuple(k for k in range(IMAGES) if (k // 4 % 2 == 1) == odd)


CHOOSING = Half(("cnniqa", "builtin", MAX_POOLING), every_other_four(odd=False))
REPORTING = Half(("scnn", "brisque"), every_other_four(odd=True))


# -- what is measured -----------------------------------------------------------------------------


def measure(half: Half, specs: Iterable[str], limit: int, workers: int) -> None:
    """Add missing rows of the first `limit` images of a half."""
    cells = [Cell(model, BOX, QUERIES, spec) for spec in specs for model in half.models]
    complete(ROWS, cells, limit, workers, half.images[:limit])


@cache
def reach(model: str) -> dict[str, float]:
    """The largest gain that the score range leaves each image."""
    targets = victim(model).targets
    return {
        entry.name: target.reach for entry, target in zip(image_set("dev"), targets, strict=True)
    }


def gains(rows: Sequence[Row], half: Half, specs: Iterable[str]) -> Gains:
    """Gains, capped at what the range leaves, of variants with enough images on all models."""
    done = {}
    for spec in specs:
        points = {
            (row.model, row.image): 100 * min(row.gain, reach(row.model)[row.image])
            for model in half.models
            for row in chosen(rows, attack=spec, model=model)
        }
        images = {name for name in half.names if all((m, name) in points for m in half.models)}
        if len(images) >= FEWEST:
            done[spec] = points, images
    common = sorted(set.intersection(*(images for _, images in done.values()))) if done else []
    return {
        spec: np.array([[points[model, image] for image in common] for model in half.models])
        for spec, (points, _) in done.items()
    }


def preferred(found: Gains) -> dict[str, str]:
    """The variant with the largest mean gain, of each attack whose variants are all measured."""
    return {
        attack: max(specs, key=lambda spec: mean(found[spec]))
        for attack, specs in VARIANTS.items()
        if all(spec in found for spec in specs)
    }


def reported(best: dict[str, str]) -> list[str]:
    """What the reporting half measures, in the order of the table."""
    wanted = {*VARIANTS, *PUBLISHED, *best.values()}
    return [*(spec for spec in EVERY if spec in wanted), *OTHERS]


# -- the page -------------------------------------------------------------------------------------


def over_models(*columns: Floats) -> float:
    """The mean of models and images; a column for each model, with an entry per image."""
    return mean(np.array(columns))


def table(found: Gains, half: Half, *, intervals: bool) -> list[dict[str, str]]:
    """A row for each variant: gain on each model, and the mean over models."""

    def cell(*columns: Floats) -> str:
        if intervals:
            return with_interval(".1f", over_models, *columns)
        return f"{over_models(*columns):.1f}"

    return [
        {
            "attack": f"`{spec}`",
            **{shown(m): cell(gain) for m, gain in zip(half.models, points, strict=True)},
            "mean": cell(*points),
        }
        for spec, points in found.items()
    ]


def ahead(spec: str, other: str, found: Gains) -> str:
    """Paired difference of two variants, where there is one."""
    if spec == other or not {spec, other} <= found.keys():
        return "–"
    return with_interval("+.1f", over_models, *(found[spec] - found[other]))


def choices(best: dict[str, str], choosing: Gains, reporting: Gains) -> list[dict[str, str]]:
    """Of each attack: the preferred variant, and how far it is ahead of the default."""
    return [
        {
            "attack": attack,
            "preferred": "the default" if spec == attack else f"`{spec}`",
            "over the default, choosing half": ahead(spec, attack, choosing),
            "over the default, reporting half": ahead(spec, attack, reporting),
        }
        for attack, spec in best.items()
    ]


def halves(choosing: Gains, reporting: Gains) -> list[dict[str, str]]:
    """Models and images of each half, and how many images are measured."""
    return [
        {
            "half": name,
            "models": ", ".join(map(shown, half.models)),
            "contents": ", ".join(image.partition("_")[0] for image in half.names),
            "images measured": str(next((points.shape[1] for points in found.values()), 0)),
        }
        for name, half, found in (
            ("choosing", CHOOSING, choosing),
            ("reporting", REPORTING, reporting),
        )
    ]


def page(rows: Sequence[Row]) -> dict[str, str]:
    """The tables, by their placeholders in the note."""
    choosing = gains(rows, CHOOSING, EVERY)
    best = preferred(choosing)
    reporting = gains(rows, REPORTING, reported(best))
    tables = {
        "halves": halves(choosing, reporting),
        "choices": choices(best, choosing, reporting),
        "choosing": table(choosing, CHOOSING, intervals=False),
        "reporting": table(reporting, REPORTING, intervals=True),
    }
    texts = {name: markdown(lines) for name, lines in tables.items()}
    over = (ahead("nes", PAPERS, found) for found in (choosing, reporting))
    return texts | dict(zip(("nes choosing", "nes reporting"), over, strict=True))


def write_page() -> None:
    """docs/baselines.md, and the tables printed."""
    rows, failed = measured(ROWS)
    texts = page(rows)
    print(*texts.values(), sep="\n\n")
    texts["machine"] = f"Printed by `python benchmarks/baselines.py` on {machine()}."
    note = NOTE.read_text(encoding="utf-8")
    for name, text in texts.items():
        note = note.replace(f"<!-- {name} -->", text)
    PAGE.write_text(note.replace("<!-- failed -->\n\n", failed), encoding="utf-8")
    print(f"written: {PAGE.relative_to(ROOT)}")


def main() -> None:
    """Measure what is missing, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=int, default=4, help="images of each half, of 12")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", action="store_true", help="measure nothing")
    options = parser.parse_args()
    shared_data()
    if not options.report:
        measure(CHOOSING, EVERY, options.limit, options.workers)
        best = preferred(gains(measured(ROWS)[0], CHOOSING, EVERY))
        measure(REPORTING, reported(best), options.limit, options.workers)
    write_page()


if __name__ == "__main__":
    main()
