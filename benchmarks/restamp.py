"""Keeps measured rows after refactoring: code that changed, but not its results.

    python benchmarks/restamp.py                     # measures some rows again, rewrites the files
    python benchmarks/restamp.py --each 3 strength   # three rows of each attack, box and model

Rows are dropped when the code of their attack or their box changes (benchmarks/fingerprints.py),
even if only a name moved. For each attack, box and model, random rows of the smallest budget are
measured again; if all of them agree, up to rounding differences between processors, the other rows
of that attack, box and model get the current fingerprint, too.
"""

from __future__ import annotations

import argparse
import random
from collections import defaultdict
from dataclasses import replace

from cells import EARLIER, Row, compute, image_set, read_rows, rewrite
from common import rows_file, shared_data
from fingerprints import fingerprint
from iqattack.attacks import ATTACKS

FILES = ("strength", "filter_search", "visibility", "limit_attacks", "baselines")
CLOSE = 1e-5  # of the score range, and in SSIM: rounding differences between processors


def same(old: Row, new: Row) -> bool:
    """Whether two rows agree, up to rounding differences between processors."""
    apart = max(abs(old.gain - new.gain), abs(old.ssim - new.ssim))
    return old.spent == new.spent and apart <= CLOSE


def main() -> None:
    """Measure, print which rows agree, and rewrite the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="*", default=FILES)
    parser.add_argument("--each", type=int, default=1, help="rows of each attack, box and model")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    shared_data()
    for name in options.files:
        path = rows_file(name)
        rows = read_rows(path)
        stale: defaultdict[tuple[str, str, str], list[Row]] = defaultdict(list)
        for row in rows:
            known = row.attack.partition(":")[0] in ATTACKS and row.code not in EARLIER
            if known and not row.failed and row.code != fingerprint(row.attack, row.model, row.box):
                stale[row.attack, row.model, row.box].append(row)
        drawn: dict[tuple[object, str], Row] = {}
        for group in stale.values():
            least = min(row.queries for row in group)
            cheap = [row for row in group if row.queries == least]
            for row in random.Random(0).sample(cheap, min(options.each, len(cheap))):
                drawn[row.cell, row.image] = row
        numbers = {
            images: {entry.name: k for k, entry in enumerate(image_set(images))}
            for images in {row.images for row in drawn.values()}
        }
        todo = [(row.cell, numbers[row.images][row.image]) for row in drawn.values()]
        differ = set()
        for new in compute(todo, options.workers):
            old = drawn[new.cell, new.image]
            if not same(old, new):
                differ.add((new.attack, new.model, new.box))
                print(f"differs: {old}\n         {new}")
        kept = set(stale) - differ
        rewrite(
            path,
            [
                replace(row, code=fingerprint(row.attack, row.model, row.box))
                if (row.attack, row.model, row.box) in kept and row.code not in EARLIER
                else row
                for row in rows
            ],
        )
        count = sum(len(stale[key]) for key in kept)
        print(f"{name}: {len(todo)} rows measured again, {count} kept, {len(differ)} groups differ")


if __name__ == "__main__":
    main()
