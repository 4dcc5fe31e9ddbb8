"""The cards of the reference models, and the leaderboard made from them.

    python benchmarks/cards.py                       # missing audits of all models, with quick-v1
    python benchmarks/cards.py --models niqe piqe    # only these; the page has all finished audits
    python benchmarks/cards.py --suite standard-v1
    python benchmarks/cards.py --report              # only checks and writes existing audits
    python benchmarks/cards.py --page                # only writes the pages, from docs/leaderboard/
    python benchmarks/cards.py --models builtin --limit 2 --reference /tmp/cards --site /tmp/site

Each audit is kept in benchmarks/out/cards/SUITE/MODEL, and continues where it stopped. When it is
done, its model is queried again to check the card, which is copied to
src/iqattack/auditing/reference/; docs/leaderboard/ is made from all finished audits of the suite,
and docs/leaderboard-figures.md from that.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

import iqattack
from common import ROOT, declare_operators, machine, markdown
from iqattack.auditing import (
    CARD,
    Card,
    CardCheck,
    CardChecks,
    Suite,
    read_checks,
    read_suite,
    shown,
)
from iqattack.auditing.audit import AUDIT
from iqattack.reporting.board import DATA, INDEX, Board, page_text, rank_text
from iqattack.runs.files import write_text
from scorers import scorer

MODELS = ("builtin", "cnniqa", "scnn", "brisque", "niqe", "piqe")
SUITE = "quick-v1"
OUT = ROOT / "benchmarks" / "out" / "cards"
REFERENCE = ROOT / "src" / "iqattack" / "auditing" / "reference"
SITE = ROOT / "docs" / "leaderboard"
PAGE = ROOT / "docs" / "leaderboard-figures.md"
NOTE = Path(__file__).with_suffix(".md")  # the page without its table
CHECK = "check.json"  # beside the audit's card: the result of querying its model again


def audited(name: str, suite: Suite, folder: Path, limit: int | None) -> Card:
    """The card of a model, from its audit, which continues where it stopped."""
    return iqattack.audit(
        scorer(name),
        out=folder,
        suite=suite,
        limit=limit,
        resume=(folder / AUDIT).is_file(),
    )


def checked(name: str, suite: Suite, folder: Path) -> CardCheck:
    """The check of an audit against its model, which is queried only once for the same card."""
    file = folder / CHECK
    if file.is_file():
        (known,) = read_checks(file)
        same = known.sha256 == hashlib.sha256((folder / CARD).read_bytes()).hexdigest()
        if same and known.outcome == "holds":
            return known
    found = iqattack.check_card(folder, scorer(name), suite=suite)
    write_text(file, CardChecks(checks=(found,)).model_dump_json(indent=2) + "\n")
    return found


def made(models: Sequence[str], suite: Suite, out: Path) -> list[Path]:
    """The finished audits, in the order of the models."""
    return [path for name in models if ((path := out / suite.id / name) / CARD).is_file()]


def write(folders: Sequence[Path], suite: Suite, reference: Path, site: Path) -> Board:
    """Write the cards into the package, and the leaderboard."""
    checks = [checked(folder.name, suite, folder) for folder in folders]
    reference.mkdir(parents=True, exist_ok=True)
    for folder in folders:
        shutil.copyfile(folder / CARD, reference / f"{folder.name}.{suite.id}.json")
    return iqattack.leaderboard(folders, site, checks=checks, suite=suite)


def write_page(board: Board, page: Path) -> None:
    """Write the table of the leaderboard where no browser is needed."""
    (section,) = board.sections
    rows = []
    several = len(section.rankings) > 1
    for ranking, row in ((each, row) for each in section.rankings for row in each.rows):
        low, high = row.score_range
        rows.append(
            {
                **({"constraint": f"`{ranking.constraint}`"} if several else {}),
                "rank": rank_text(row.rank),
                "model": f"`{row.model}`",
                "score range": f"{low:g} to {high:g}",
                "gain, SD": shown(row.gain_sd),
                **{
                    f"gain, {queries} queries, %": shown(gain, percent=True).replace(" %", "")
                    for queries, gain in zip(section.budgets, row.gains, strict=True)
                },
                "SROCC, clean and attacked": shown(row.srocc),
                "SROCC, clean and opinion": "–" if row.srocc_mos is None else shown(row.srocc_mos),
            }
        )
    texts = {
        "machine": f"Printed by `python benchmarks/cards.py` on {machine()}.",
        "suite": section.suite,
        "images": f"{section.images}",
        "table": markdown(rows),
    }
    note = NOTE.read_text(encoding="utf-8")
    for name, content in texts.items():
        note = note.replace(f"<!-- {name} -->", content)
    page.write_text(note, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    """Audit what is missing, check, and write."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument("--suite", default=SUITE)
    parser.add_argument("--limit", type=int, help="only the first images, to try it")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of the audits")
    parser.add_argument("--reference", type=Path, help="folder of the cards")
    parser.add_argument("--site", type=Path, help="folder of the page")
    parser.add_argument("--report", action="store_true", help="audit nothing")
    parser.add_argument("--page", action="store_true", help="write only the pages again")
    options = parser.parse_args(arguments)
    suite = read_suite(options.suite)
    if options.limit is not None and None in (options.reference, options.site):
        parser.error("--limit: is to try it; give --reference and --site, too")
    torch.set_num_threads(1)
    site = options.site or SITE
    if options.page:
        board = Board.model_validate_json((site / DATA).read_text(encoding="utf-8"))
        today = datetime.now(UTC).date().isoformat()
        (site / INDEX).write_text(page_text(board, today), encoding="utf-8")
        if site == SITE:
            write_page(board, PAGE)
        return
    declare_operators()  # JOD needs them, too
    out = options.out if options.limit is None else options.out / f"first-{options.limit}"
    for name in options.models if not options.report else ():
        card = audited(name, suite, out / suite.id / name, options.limit)
        print(card.verdict, flush=True)
    folders = made(MODELS, suite, out)
    if not folders:
        parser.error(f"{out / suite.id}: holds no audit that is done; run it without --report")
    board = write(folders, suite, options.reference or REFERENCE, site)
    if site == SITE:
        write_page(board, PAGE)
    for section in board.sections:
        for ranking in section.rankings:
            print(f"\n{section.suite}, {ranking.constraint}")
            for row in ranking.rows:
                print(f"{rank_text(row.rank):>5}  {row.model}  ({row.level})")
    for refused in board.refused:
        print(f"refuted: {refused.model}: {'; '.join(refused.reasons)}")


if __name__ == "__main__":
    main()
