"""A long run whose workers are killed repeatedly: lost queries, repeated queries, memory.

    python benchmarks/soak.py                        # 2,000 images × 50 queries; about ten minutes
    python benchmarks/soak.py --images 100 --every 5

Two workers attack the built-in model on images of many sizes, and `kill -9` ends one of them at
regular intervals. The model records each image that it scores, which counts the queries really
made; the log has those that were kept. Writes docs/soak.md.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console
from rich.progress import Progress
from scipy import stats

from common import ROOT, machine, markdown, write_doc
from iqattack.images import ImageSet, read_image, write_png
from iqattack.runs import Run
from iqattack.samples import write_samples

SIDES = (64, 176)  # pixels, the shortest and the longest
LOOK_S = 0.5  # between two looks at the run
MODEL = """
import os
from pathlib import Path
from iqattack.engine import image_hash
from iqattack.models import load_model, wrap

PAID = Path(__file__).parent / "paid"

def load():
    model = load_model("builtin")
    file = os.open(PAID / str(os.getpid()), os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    def scored(images):
        os.write(file, b"".join(image_hash(image).to_bytes(8, "little") for image in images))
        return model(images)
    return wrap(scored, name="builtin, counted", score_range=model.score_range, lower_better=False)
"""


@dataclass
class Watched:
    """Samples of a run: images done and memory of its driver; and the number of workers killed."""

    done: list[int] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)  # MiB
    killed: int = 0
    seconds: float = 0.0
    status: int = 0


def make_pictures(folder: Path, count: int) -> None:
    """Rectangles cut from the sample pictures, each of a size of its own."""
    source = folder.with_name("samples")
    write_samples(source)
    pictures = [read_image(entry.path).pixels for entry in ImageSet.from_folder(source)]
    rng = np.random.default_rng(0)
    folder.mkdir()
    for k in range(count):
        picture = pictures[k % len(pictures)]
        height, width = (int(side) for side in rng.integers(*SIDES, size=2, endpoint=True))
        top = int(rng.integers(picture.shape[1] - height))
        left = int(rng.integers(picture.shape[2] - width))
        write_png(folder / f"{k:05d}.png", picture[:, top : top + height, left : left + width])


def watched(command: list[str], run: Path, images: int, every: float) -> Watched:
    """Run a command to its end, and kill one of its workers every `every` seconds."""
    seen, draw = Watched(), random.Random(0)
    started = time.monotonic()
    due = started + every
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        driver = psutil.Process(process.pid)
        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("images attacked", total=images)
            while process.poll() is None:
                time.sleep(LOOK_S)
                there = run / "adversarial"
                done = sum(1 for _ in os.scandir(there)) if there.is_dir() else 0
                bar.update(task, completed=done)
                try:
                    workers = driver.children()
                    if memory := driver.memory_info().rss:  # none of one that has just ended
                        seen.memory.append(memory / 2**20)
                        seen.done.append(done)
                except psutil.NoSuchProcess:
                    break
                # The last ones end by themselves.
                if time.monotonic() >= due and workers and 0 < done < images:
                    os.kill(draw.choice(workers).pid, signal.SIGKILL)
                    seen.killed += 1
                    due = time.monotonic() + every
        seen.status = process.wait()
    seen.seconds = time.monotonic() - started
    return seen


def paid(folder: Path) -> Counter[int]:
    """How often the model was given each image, by its hash."""
    found: Counter[int] = Counter()
    for file in folder.iterdir():
        found.update(np.fromfile(file, dtype="<u8").tolist())
    return found


def logged(folder: Path) -> tuple[Counter[int], int, int]:
    """How often the log has each image; images that are finished, and that failed."""
    run = Run.open(folder)
    found: Counter[int] = Counter()
    with run.open_log() as log:
        for name in log.images():
            found.update(log.rows(name)["hash"].tolist())
            found.update(row[0] for row in log.early(name).values())
        return found, len(log.results()), len(log.failures())


def reasons(folder: Path) -> Counter[str]:
    """Why images failed, without their names."""
    with Run.open(folder).open_log() as log:
        return Counter(text.partition(": ")[2] for text in log.failures().values())


def slope(seen: Watched) -> tuple[float, float, float]:
    """KiB of the driver's memory per image over the second half of the images, and 95 % limits.

    Up to the last image, because the measures of the whole set that follow need memory of their
    own. Consecutive samples are correlated, so the limits are computed from means over ten spans.
    """
    whole = seen.done[-1]
    half = [k for k, done in enumerate(seen.done) if whole / 2 <= done < whole]
    parts = np.array_split(np.array(half), 10)
    images = np.array([np.mean([seen.done[k] for k in part]) for part in parts])
    memory = np.array([np.mean([seen.memory[k] for k in part]) for part in parts])
    line = stats.linregress(images, memory * 1024)
    off = float(stats.t.ppf(0.975, len(parts) - 2)) * line.stderr
    return float(line.slope), float(line.slope - off), float(line.slope + off)


def main() -> None:
    """Attack, kill, count, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--every", type=float, default=20.0, help="seconds between two kills")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as home:
        folder, run = Path(home) / "images", Path(home) / "run"
        make_pictures(folder, options.images)
        model = Path(home) / "model.py"
        model.write_text(MODEL, encoding="utf-8")
        (model.parent / "paid").mkdir()
        command = [sys.executable, "-m", "iqattack", "attack", str(folder)]
        command += ["--model", f"{model}:load", "--queries", str(options.queries)]
        command += ["--workers", str(options.workers), "--batch", "4", "--out", str(run)]
        seen = watched(command, run, options.images, options.every)
        given, (kept, finished, failed) = paid(model.parent / "paid"), logged(run)
        for reason, count in reasons(run).most_common(5):
            print(f"{count} failed: {reason}")
    twice = sum((given - kept).values())
    unpaid = sum((kept - given).values())
    per_image, low, high = slope(seen)
    lines = [
        ("images finished", f"{finished} of {options.images}", "all"),
        ("images failed", str(failed), "0"),
        ("exit status", str(seen.status), "0"),
        ("workers killed", str(seen.killed), f"one every {options.every:g} s"),
        ("queries in the log", f"{sum(kept.values()):,}", ""),
        ("in the log, but never given to the model", str(unpaid), "0"),
        ("given to the model beyond the log", str(twice), f"what is in flight: {seen.killed} × 4"),
        (
            "memory of the process that writes, KiB an image",
            f"{per_image:.1f} [{low:.1f}, {high:.1f}]",
            "0 within the interval",
        ),
        ("its memory at the end", f"{seen.memory[-1]:.0f} MiB", ""),
        ("queries per second", f"{sum(kept.values()) / seen.seconds:.0f}", ""),
    ]
    table = markdown([{"": what, "measured": is_, "required": must} for what, is_, must in lines])
    print(table)
    text = (
        f"{options.images:,} images of {SIDES[0]} to {SIDES[1]} pixels a side, "
        f"{options.queries} queries each, the built-in model, filter-search, "
        f"{options.workers} workers, calls of at most 4 images; `kill -9` ends a worker "
        f"every {options.every:g} s. *Given to the model* counts the images that the model "
        f"recorded before it scored them.\n\n{table}"
    )
    asked = " ".join(sys.argv[1:])
    write_doc(
        ROOT / "docs" / "soak.md",
        "A long run with killed workers",
        f"python benchmarks/soak.py {asked}".strip(),
        text,
    )


if __name__ == "__main__":
    main()
