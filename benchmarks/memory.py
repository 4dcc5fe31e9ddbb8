"""Peak memory of a run against the number of images and of queries.

    python benchmarks/memory.py [--queries 40]

Processes attack the same 24 images: once, ten copies of each under different names, and with ten
times the queries; memory must not grow with either. In one process and with two workers, of which
the larger one counts. The batch size is four, so that all runs have about twenty searches open; one
found by timing would differ.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import iqattack
from common import ROOT, dev_images, machine, markdown, shared_data, write_doc


def child(folder: Path, queries: int, workers: int | None) -> None:
    """Attack a folder; print the peak resident memory of this process and the largest other."""
    weights = shared_data() / "models" / "cnniqa_live.pth"
    with tempfile.TemporaryDirectory() as out:
        iqattack.attack(
            folder,
            f"cnniqa:{weights}",
            queries=queries,
            batch=4,
            workers=workers,
            out=Path(out) / "run",
        )
    print(*(resource.getrusage(who).ru_maxrss / 1024 for who in (0, resource.RUSAGE_CHILDREN)))


def peaks(copies: int, queries: int, workers: int | None) -> list[float]:
    """Peak MiB of the process, and of its largest worker, with that many copies of each image."""
    with tempfile.TemporaryDirectory() as folder:
        for entry in dev_images():
            for copy in range(copies):
                shutil.copy(entry.path, Path(folder) / f"{copy:03d}_{entry.name}")
        command = [sys.executable, __file__, "--child", folder, "--queries", str(queries)]
        command += [] if workers is None else ["--workers", str(workers)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(value) for value in printed.splitlines()[-1].split()]


def main() -> None:
    """Print peaks and ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--workers", type=int)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.queries, options.workers)
        return
    print(machine())
    few = options.queries
    rows = []
    for workers in (None, 2):
        settings = (("24 images", 1, few), ("240 images", 10, few), ("24 images", 1, 10 * few))
        first: list[float] = []
        for label, copies, queries in settings:
            found = peaks(copies, queries, workers)
            first = first or found
            row = {
                "": f"{'one process' if workers is None else 'two workers'}, {label}, {queries} "
                "queries",
                "peak, MiB": f"{found[0]:.0f}",
                "ratio": f"{found[0] / first[0]:.3f}",
                "largest worker, MiB": "" if workers is None else f"{found[1]:.0f}",
                "its ratio": "" if workers is None else f"{found[1] / first[1]:.3f}",
            }
            print(" ".join(row.values()), flush=True)
            rows.append(row)
    command = f"python benchmarks/memory.py --queries {options.queries}"
    title = "Memory against the number of images and queries"
    write_doc(ROOT / "docs" / "memory.md", title, command, markdown(rows))


if __name__ == "__main__":
    main()
