"""The cost of a page of 1,000 images: writing it, and opening and scrolling it in Chromium.

    python benchmarks/report.py [--images 1000]

The images are 512×384 crops of photographs from scikit-image, each brightened by a different
factor, attacked with two queries each. The page is written in a process of its own, whose peak
memory is reported. The unavoidable part is measured for comparison: reading the clean and attacked
pixels of every image, encoding the original as PNG, and copying the attacked one.
"""

from __future__ import annotations

import argparse
import os
import resource
import runpy
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

import iqattack
from common import ROOT, machine, markdown, write_doc
from iqattack.images import read_image, write_png
from iqattack.samples.photos import photographs

WIDTH, HEIGHT = 512, 384
PICTURES = """## What it shows
From top to bottom, as on the [page of an audit](audit.md):

- The verdict. Below it are the caveats for the figures: findings about the model, failed images, an
  unfinished run. A row of facts gives the extent of the run and its evidence: the check of noise
  and of dependence on the batch, and how many of the pictures on the page have exactly the pixels
  that were scored.
- The three images with the largest gains, clean and attacked under a slider, with their scores,
  JOD and SSIM.
- Gain against queries: median and quartiles over images. If the images share a budget, this chart
  shows the ranking against queries instead.
- The measures that the terminal prints by default, with their 95 % intervals; all measures
  are in a section that unfolds below them.
- The other charts.
- All images, which can be sorted and filtered, and which open in a viewer: slider, flicker,
  magnified difference, JND box, map of visibility, and the gain of each query. A table lists the
  same images.
- Settings, versions and evidence.

## What it looks like
`python benchmarks/report_screenshots.py` took these from a run of `filter-search` on CNNIQA,
`linf:3`, 200 queries per image, on the 24 development images. This is an opened image, 1280 pixels
wide; its left half is the original, its right half the attacked version:

![The viewer: two images under a slider, and the gain of each query](report-image.png)

The same image, with a map of where ColorVideoVDP predicts a visible change:

![The viewer: grey for no visible change, pink for one JOD, yellow for more](report-visible.png)

Two more screenshots show the whole page [on a screen](report-1280.png), 1280 pixels wide, and [on a
phone](report-390.png), 390 pixels wide."""
CHILD = "import sys, iqattack.cli; sys.exit(iqattack.cli.main(sys.argv[1:]))"
SCROLL = """
const done = arguments[0], frames = [];
let last = performance.now();
function frame(now) {
  const before = window.scrollY;
  frames.push(now - last);
  last = now;
  window.scrollBy(0, 120);
  if (window.scrollY > before) requestAnimationFrame(frame);
  else done(frames.slice(1));
}
window.scrollTo(0, document.getElementById("gallery").getBoundingClientRect().top + scrollY);
requestAnimationFrame(frame);
"""


def make_photos(folder: Path, n: int) -> None:
    """Write n crops; always the same."""
    rng = np.random.default_rng(0)
    large = [p for p in photographs().values() if p.shape[0] >= HEIGHT and p.shape[1] >= WIDTH]
    for number in range(n):
        photo = large[number % len(large)]
        top = rng.integers(photo.shape[0] - HEIGHT + 1)
        left = rng.integers(photo.shape[1] - WIDTH + 1)
        crop = photo[top : top + HEIGHT, left : left + WIDTH] * rng.uniform(0.7, 1.0)
        pixels = torch.from_numpy(crop.round().astype(np.uint8)).permute(2, 0, 1)
        write_png(folder / f"{number:04}.png", pixels)


def contrast(images: Tensor) -> Tensor:
    """A model that noise moves: the mean deviation of 8×8 blocks, as a fraction of 64 levels."""
    blocks = images.float().mean(dim=1).unfold(1, 8, 8).unfold(2, 8, 8)
    return blocks.flatten(3).std(dim=-1).mean(dim=(1, 2)).double() / 64.0


def bare_seconds(run: iqattack.api.Run, folder: Path) -> float:
    """Seconds to read every pair, encode the original and copy the attacked one."""

    def pair(result: iqattack.api.Result) -> None:
        before = read_image(result.path).pixels
        read_image(run.images / result.png_name)
        array = np.ascontiguousarray(before.permute(1, 2, 0).numpy())
        Image.fromarray(array).save(folder / f"{result.png_name}", compress_level=1)
        copy = (run.images / result.png_name).read_bytes()
        (folder / f"copy-{result.png_name}").write_bytes(copy)

    start = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(pair, run.results))
    return time.perf_counter() - start


def written(run: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak MiB of a process that writes the page."""
    start = time.perf_counter()
    command = [sys.executable, "-c", CHILD, "report", str(run)]
    subprocess.run(command, check=True, capture_output=True)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def bytes_of(folder: Path) -> int:
    """Of all files below it."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def opened(page: Path) -> dict[str, float]:
    """Speed of the page in Chromium: seconds until it is painted, milliseconds per frame."""
    browser: Any = runpy.run_path(str(ROOT / "tests" / "chromium.py"))["Browser"]()
    try:
        browser.size(1280, 900)
        seconds = []
        for _ in range(3):
            start = time.perf_counter()
            browser.open(page)
            seconds.append(time.perf_counter() - start)
        frames = browser.driver.execute_async_script(SCROLL)
    finally:
        browser.close()
    return {
        "first": seconds[0],
        "again": min(seconds[1:]),
        "frames": len(frames),
        "median": float(np.median(frames)),
        "p95": float(np.percentile(frames, 95)),
        "most": max(frames),
    }


def main() -> None:
    """Print what was measured and write docs/report.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    options = parser.parse_args()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        photos, out, bare = (Path(folder) / name for name in ("photos", "run", "bare"))
        photos.mkdir()
        bare.mkdir()
        make_photos(photos, options.images)
        model = iqattack.wrap(contrast, name="contrast", score_range=(0.0, 1.0), lower_better=False)
        run = iqattack.attack(
            photos, model, out=out, attack="noise", constraint="linf:3", queries=2
        )
        others = max(os.getloadavg()[0] - 1.0, 0.0)  # this process kept one core busy
        seconds, processor, peak = written(out)
        least = bare_seconds(run, bare)
        size = bytes_of(out / "report")
        seen = opened(out / "report" / "index.html")
        pngs = bytes_of(bare)
    rows = [
        {"": "writing the page, s", "measured": f"{seconds:.1f}"},
        {"": "processor seconds of it, over all cores", "measured": f"{processor:.1f}"},
        {"": "other processes on the machine just before", "measured": f"{others:.1f}"},
        {"": "reading and writing the PNGs alone, s", "measured": f"{least:.1f}"},
        {"": "ratio", "measured": f"{seconds / least:.2f}"},
        {"": "peak memory, MiB", "measured": f"{peak:.0f}"},
        {"": "size of the page's folder, MiB", "measured": f"{size / 2**20:.0f}"},
        {"": "size of the PNGs alone, MiB", "measured": f"{pngs / 2**20:.0f}"},
        {"": "opening it, first time, s", "measured": f"{seen['first']:.2f}"},
        {"": "opening it again, s", "measured": f"{seen['again']:.2f}"},
        {"": "scrolling the gallery, median frame, ms", "measured": f"{seen['median']:.0f}"},
        {"": "95 % of frames within, ms", "measured": f"{seen['p95']:.0f}"},
        {"": "longest frame, ms", "measured": f"{seen['most']:.0f}"},
    ]
    print(markdown(rows))
    text = (
        f"Cost of writing and opening the page of {options.images:,} images of "
        f"{WIDTH}×{HEIGHT} pixels, and its speed in headless Chromium without a GPU "
        f"({seen['frames']} frames of 120 pixels each from the first image to the last).\n\n"
        f"{markdown(rows)}\n\n{PICTURES}"
    )
    command = f"python benchmarks/report.py --images {options.images}"
    write_doc(ROOT / "docs" / "report.md", "What the report page of a run costs", command, text)


if __name__ == "__main__":
    main()
