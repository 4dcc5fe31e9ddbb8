"""Runs of a million images: how long commands take on them, and how much memory.

    python benchmarks/scale.py all --images 1000000 --shards 16

`all` writes docs/scale.md; a single part, such as `merge`, prints its result. No model is queried:
runs are synthetic, with consistent logs, results, attacked images and digests. Times are compared
with that of copying the logs.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from iqattack.engine.log import ROW, Page, QueryLog
from iqattack.images import ImageEntry, ImageSet, match_mos, read_mos
from iqattack.runs.owner import sign, write_signed
from iqattack.runs.provenance import CODE, signed_text
from iqattack.runs.results import OK, UNCHANGED, Result
from iqattack.runs.settings import ModelRecord, Record, Settings
from iqattack.runs.shards import Shard, WholeSet

AT_ONCE = 1000
LINKS = 30_000  # to one file: within the limits of all common file systems
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63606060"
    "000000040001f61738550000000049454e44ae426082"
)


def names(images: int) -> ImageSet:
    """A set of images, none of which exists."""
    return ImageSet(
        tuple(ImageEntry(f"{k:07d}.png", Path(f"/photos/{k:07d}.png")) for k in range(images))
    )


def made_up(folder: Path, whole: ImageSet, queries: int, shard: str | None = None) -> None:
    """Write a synthetic finished run on a set or a shard of it, with scores from 0 to 100."""
    (folder / "adversarial").mkdir(parents=True)
    record = Record(
        created="2026-01-01T00:00:00+00:00",
        versions={"iqattack": "0.2.0"},
        settings=Settings(
            images=("/photos",),
            model="made-up",
            attack="square",
            constraint="linf:3",
            objective="up",
            queries=queries,
            shard=shard,
        ),
        model=ModelRecord(name="made-up", score_range=(0.0, 100.0), lower_better=False),
    )
    write_signed(folder / "run.toml", record.text())
    images = whole if shard is None else Shard.parse(shard).part(whole)
    chance = np.random.default_rng(len(shard or ""))
    with QueryLog(folder / "log.sqlite", digests=True) as log:
        pages: list[Page] = []
        for page in _pages(images, queries, chance):
            pages.append(page)
            if len(pages) == AT_ONCE:
                log.adopt(pages, _codes(record, pages))
                pages = []
        log.adopt(pages, _codes(record, pages))
        if shard is not None:
            WholeSet.of(whole).keep(log)
    original = folder / "adversarial" / images[0].png_name
    for k, entry in enumerate(images):
        path = folder / "adversarial" / entry.png_name
        if k % LINKS == 0:
            path.write_bytes(PIXEL)
            original = path
        else:
            os.link(original, path)


def _pages(images: ImageSet, queries: int, chance: np.random.Generator) -> Iterator[Page]:
    for entry in images:
        rows = np.empty(queries, ROW)
        rows["hash"] = chance.integers(0, 2**63, queries)
        rows["score"] = np.clip(chance.normal(50, 15), 5, 95)
        rows["score"][1:] += np.abs(chance.normal(0, 1, queries - 1)) - 0.5
        scores = rows["score"]
        best = int(np.argmax(scores))
        gain = (float(scores[best]) - float(scores[0])) / 100.0
        result = Result(
            image=entry.name,
            width=512,
            height=384,
            direction="up",
            score_clean=float(scores[0]),
            score_adv=float(scores[best]),
            gain=gain,
            queries=queries,
            linf=3.0,
            rms=2.5,
            psnr=40.0,
            ssim=0.98,
            jnd_violation=0.1,
            attack="square",
            status=OK if gain > 0.0 else UNCHANGED,
            path=str(entry.path),
            sha256=f"{int(rows['hash'][0]):064x}",
            ms_ssim=0.99,
        )
        text = result.model_dump_json()
        yield Page(entry.name, "up", 0, rows.tobytes(), {}, text, None, None)


def _codes(record: Record, pages: list[Page]) -> dict[str, str]:
    texts = {page.image: page.result or "" for page in pages}
    codes = {name: sign(signed_text(record, text)) for name, text in texts.items()}
    return {f"{CODE} {name}": code for name, code in codes.items() if code is not None}


def measured(*arguments: str | Path) -> tuple[float, float, float]:
    """Seconds that a command of iqattack takes, those of the processor, and the most memory, GB."""
    return used_by("-m", "iqattack", *arguments)


def used_by(*arguments: str | Path) -> tuple[float, float, float]:
    """The same of any Python program."""
    command = [sys.executable, *map(str, arguments)]
    begun = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as child:
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{command}: ended with {child.returncode}")
    return time.monotonic() - begun, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def row(what: str, found: tuple[float, float, float], least: float, limit: str) -> dict[str, str]:
    """A line of the page. least: seconds that Python, PyTorch and iqattack take to be loaded."""
    seconds, busy, memory = found
    cells = {
        "": what,
        "seconds": f"{seconds:.0f}",
        "of the processor": f"{busy:.0f}",
        "in starts of iqattack": f"{busy / least:.0f}",
        "most memory, GB": f"{memory:.2f}",
        "limit": limit,
    }
    print(" | ".join(cells.values()), flush=True)
    return cells


def lists(work: Path, images: int) -> tuple[float, float, float]:
    """Of reading a list of images and their opinion scores."""
    folder = work / "lists"
    (folder / "photos").mkdir(parents=True)
    found = [f"photo_{k:07d}.jpg" for k in range(images)]
    for name in found:
        (folder / "photos" / name).touch()
    (folder / "list.txt").write_text("".join(f"photos/{name}\n" for name in found))
    scores = (f"{name},{k % 97 / 20:.2f}\n" for k, name in enumerate(found))
    (folder / "mos.csv").write_text(f"image,mos\n{''.join(scores)}")
    return used_by(__file__, "lists", "--child", folder)


def read_lists(folder: Path) -> None:
    """Run in the child process of `lists`."""
    images = ImageSet.from_spec([folder / "list.txt"]).anchored()
    rated = match_mos(images, read_mos(folder / "mos.csv"))
    print(len(rated))


def merge(work: Path, images: int, shards: int, queries: int) -> tuple[float, float, float]:
    """Time and memory of `iqattack merge`."""
    whole = names(images)
    for k in range(1, shards + 1):
        made_up(work / str(k), whole, queries, f"{k}/{shards}")
    folders = [work / str(k) for k in range(1, shards + 1)]
    (work / "copies").mkdir()
    begun = time.monotonic()
    for k, folder in enumerate(folders):
        shutil.copyfile(folder / "log.sqlite", work / "copies" / str(k))
    copying = time.monotonic() - begun
    size = sum((folder / "log.sqlite").stat().st_size for folder in folders)
    seconds, busy, memory = measured("merge", *folders, "--out", work / "merged")
    print(
        f"merge: {images:,} images of {queries} queries in {shards} shards, logs of "
        f"{size / 1e9:.2f} GB: {seconds:.0f} s, {busy:.0f} s of the processor "
        f"({1e6 * busy / images:.0f} µs an image; copying the logs alone {copying:.1f} s), "
        f"{memory:.2f} GB"
    )
    return seconds, busy, memory


LIMITS = {
    "lists": "",
    "evaluate": "180 s, 2 GB",
    "report": "120 s",
    "compare": "",
    "merge": "180 s, 2 GB",
}
NOTES = """
These runs have no readable images. JOD and FLIP for at most 5,000 images, and at most 5,000 images
on the page, add a cost that does not grow with the run. `lists` reads and matches a list of images
and a table of their opinion scores. *In starts of iqattack* gives processor seconds as a multiple
of those for its imports.
"""


def main() -> None:
    """Run one part, or all of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=["all", *LIMITS])
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--shards", type=int, default=16)
    parser.add_argument("--queries", type=int, default=50)
    parser.add_argument("--work", type=Path, help="where runs are made; a temporary folder")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        read_lists(given.child)
        return
    wanted = list(LIMITS) if given.part == "all" else [given.part]
    _, least, _ = used_by("-c", "import iqattack.api")
    rows = []
    for part in wanted:
        with tempfile.TemporaryDirectory(dir=given.work) as made:
            found = _measured_part(part, Path(made), given)
        rows.append(row(f"`{part}`", found, least, LIMITS[part]))
    if given.part == "all":
        from common import ROOT, markdown, write_doc  # noqa: PLC0415 - loads more than a child needs

        command = f"python benchmarks/scale.py all --images {given.images}"
        title = f"Commands on {given.images:,} images of {given.queries} queries"
        write_doc(ROOT / "docs" / "scale.md", title, command, f"{markdown(rows)}\n{NOTES}")


def _measured_part(part: str, work: Path, given: argparse.Namespace) -> tuple[float, float, float]:
    if part == "lists":
        return lists(work, given.images)
    if part == "merge":
        return merge(work, given.images, given.shards, given.queries)
    runs = [work / "a", work / "b"][: 2 if part == "compare" else 1]
    for folder in runs:
        made_up(folder, names(given.images), given.queries)
    return measured(part, *runs)


if __name__ == "__main__":
    main()
