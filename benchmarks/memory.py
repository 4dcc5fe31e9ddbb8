"""Peak memory of a run against the number of images.

    python benchmarks/memory.py [--queries 40]

Two processes attack the same 24 pictures, once as they are and once ten times over under other
names; memory must not grow with the number of images. Batches of 16, with which as many searches
are open as ever are: a batch size found by timing would differ between the two.
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
from common import ROOT, dev_images, machine, shared_data, write_doc


def child(folder: Path, queries: int) -> None:
    """Attack a folder and print the peak resident memory in MiB."""
    weights = shared_data() / "models" / "cnniqa_live.pth"
    with tempfile.TemporaryDirectory() as out:
        iqattack.attack(
            folder, f"cnniqa:{weights}", queries=queries, batch=16, out=Path(out) / "run"
        )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def peak(copies: int, queries: int) -> float:
    """Peak MiB with that many copies of each image."""
    with tempfile.TemporaryDirectory() as folder:
        for entry in dev_images():
            for copy in range(copies):
                shutil.copy(entry.path, Path(folder) / f"{copy:03d}_{entry.name}")
        command = [sys.executable, __file__, "--child", folder, "--queries", str(queries)]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return float(printed.splitlines()[-1])


def main() -> None:
    """Print both peaks and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=40)
    parser.add_argument("--child", type=Path)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.queries)
        return
    print(machine())
    few, many = peak(1, options.queries), peak(10, options.queries)
    text = f"24 images: {few:.0f} MiB; 240 images: {many:.0f} MiB; ratio {many / few:.3f}"
    print(text)
    command = f"python benchmarks/memory.py --queries {options.queries}"
    write_doc(ROOT / "docs" / "memory.md", "Memory against the number of images", command, text)


if __name__ == "__main__":
    main()
