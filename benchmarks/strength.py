"""How strong each attack is: all of them, on three models, in two boxes, at three budgets.

    python benchmarks/strength.py            # continues where it stopped; hours in all
    python benchmarks/strength.py --models cnniqa --queries 100 500
    python benchmarks/strength.py --report   # only writes the page, from existing rows
    python benchmarks/strength.py --quick    # a few small cells, writes nothing

Every attacked image is a row of benchmarks/rows/strength.csv.xz, added as soon as it is done, and
nothing is computed twice; docs/strength.md and docs/strength.png are made from the rows. Rows are
dropped when the code of their attack or their box changes (see benchmarks/fingerprints.py).
"""

from __future__ import annotations

import argparse
import ast
import io
import itertools
import math
import tokenize
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.lines import Line2D

from cells import (
    FEWEST,
    Cell,
    Row,
    column,
    complete,
    compute,
    line_styles,
    measured,
    missing,
    shared,
)
from common import ROOT, Floats, machine, markdown, mean, rows_file, shared_data, with_interval
from fingerprints import PACKAGE, Documented, attack_file, modules
from iqattack.attacks import ATTACKS, labelled
from iqattack.evaluation import srocc

MODELS = ("cnniqa", "builtin", "brisque")
BOXES = ("linf:3", "jnd:0.38")
BUDGETS = (100, 500, 2000)
ROWS, PAGE = rows_file("strength"), ROOT / "docs" / "strength.md"
PLOT = PAGE.with_suffix(".png")
ATTACK_FILES = PACKAGE / "attacks"
SETTINGS = list(itertools.product(MODELS, BOXES, BUDGETS))
TARGETS = {"square": 40, "hop-skip-jump": 90, "surfree": 90}  # most lines of code


# -- lines of code --------------------------------------------------------------------------------


def lines_of_code(path: Path) -> int:
    """Number of lines of code, without blank lines, comments, docstrings and imports."""
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
    """Lines of each attack's own file, and with shared files; prints which are too long."""
    rows, over = [], []
    for name in ATTACKS:
        own, *shared = (path for path in modules(attack_file(name)) if ATTACK_FILES in path.parents)
        lines, most = lines_of_code(own), TARGETS.get(name)
        rows.append(
            {
                "attack": name,
                "lines": str(lines),
                "with shared files": str(lines + sum(map(lines_of_code, shared))),
                "target": f"at most {most}" if most else "",
            }
        )
        if most and lines > most:
            over.append(name)
    if over:
        print(f"more lines than the target: {', '.join(over)}")
    return markdown(rows)


# -- the page -------------------------------------------------------------------------------------


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
            share = with_interval(".2f", _ratio, gain, top)
        line = {
            "attack": labelled(name),
            "gain, points of 100": with_interval(".1f", mean, points),
            "SROCC clean–attacked": with_interval(".2f", srocc, clean, attacked),
            "SSIM": with_interval(".3f", mean, similarity),
            "JOD, mean (least)": _visibility(mine),
            "queries": f"{mean(spent):.0f}",
            "points per 100 queries": with_interval(".2f", _ratio, 100 * points, spent),
            "of the ceiling": share,
            "images": str(len(mine)),
        }
        lines.append((mean(points), line))
    return [line for _, line in sorted(lines, key=lambda pair: -pair[0])]


def _visibility(rows: list[Row]) -> str:
    """JOD of the rows that have it, with their number if some have not."""
    jods = column([row for row in rows if not math.isnan(row.jod)], "jod")
    if not len(jods):
        return "–"
    of = f", {len(jods)} images" if len(jods) < len(rows) else ""
    return f"{jods.mean():.2f} ({jods.min():.2f}){of}"


def _ratio(gain: Floats, whole: Floats) -> float:
    """The ratio of means, because the denominator of some images is almost 0."""
    return float(gain.mean() / whole.mean()) if whole.mean() > 0 else float("nan")


def setting(rows: list[Row], model: str, box: str, queries: int) -> list[Row]:
    """The rows of one table: the same images for every attack."""
    mine = [row for row in rows if (row.model, row.box, row.queries) == (model, box, queries)]
    return shared([row for row in mine if row.attack == name] for name in ATTACKS)


def ceilings(rows: list[Row]) -> dict[tuple[str, str], dict[str, float]]:
    """Largest gain of the white-box attack at any budget, by model and box and image."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for row in rows:
        if ATTACKS[row.attack.partition(":")[0]].white_box:
            best = found.setdefault((row.model, row.box), {})
            best[row.image] = max(best.get(row.image, 0.0), row.gain)
    return found


Tables = dict[tuple[str, str, int], list[Row]]


def report(tables: Tables, top: dict[tuple[str, str], dict[str, float]]) -> str:
    """All tables, and what is not measured yet; top: see `ceilings`."""
    parts = []
    for (model, box, queries), rows in tables.items():
        lines = table(rows, top.get((model, box), {}))
        title = f"### {model}, `{box}`, {queries} queries"
        begun = f"No attack has {FEWEST} images yet."
        parts.append(f"{title}\n\n{markdown(lines) if lines else begun}")
    return "\n\n".join(parts)


def plot(tables: Tables) -> None:
    """Mean gain against the budget, a panel per model and box."""
    mpl.use("Agg")
    figure, axes = plt.subplots(
        len(BOXES), len(MODELS), figsize=(15, 9), sharex=True, constrained_layout=True
    )
    styles = line_styles()
    for (i, box), (j, model) in itertools.product(enumerate(BOXES), enumerate(MODELS)):
        axis = axes[i, j]
        panel = shared(tables[model, box, queries] for queries in BUDGETS)
        axis.set_title(f"{model}, {box}: {len({row.image for row in panel})} images")
        for name, (colour, line) in styles.items():
            points = [
                (queries, 100 * float(np.mean(gains)))
                for queries in BUDGETS
                if (gains := [r.gain for r in panel if (r.queries, r.attack) == (queries, name)])
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


def write_page(rows: list[Row], failed: str) -> None:
    """docs/strength.md and its plot, and the tables printed; failed: on rows that are left out."""
    tables = {key: setting(rows, *key) for key in SETTINGS}
    plot(tables)
    note = (ROOT / "benchmarks" / "strength.md").read_text(encoding="utf-8")
    done = sum(map(bool, tables.values()))
    measured = f"{len(rows)} images attacked, in {done} of {len(tables)} settings"
    text = report(tables, ceilings(rows))
    PAGE.write_text(
        "# How strong each attack is\n\n"
        f"Printed by `python benchmarks/strength.py` on {machine()}; {measured}.\n\n"
        f"{note}\n{failed}![Mean gain against queries]({PLOT.name})\n\n{text}\n\n"
        "## Lines of code\nThe table counts lines without blank lines, comments, docstrings and "
        "imports, in each attack's own file, and together with the files of `attacks/` that it "
        "shares with others.\n\n"
        f"{code_table()}\n",
        encoding="utf-8",
    )
    print(text)
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
    parser.add_argument(
        "--unseen", action="store_true", help="measure again what has no JOD, of --limit images"
    )
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
        settings = itertools.product(
            options.models, options.boxes, options.queries, options.attacks
        )
        cells = list(itertools.starmap(Cell, settings))
        complete(ROWS, cells, options.limit, options.workers, unseen=options.unseen)
    write_page(*measured(ROWS))


if __name__ == "__main__":
    main()
