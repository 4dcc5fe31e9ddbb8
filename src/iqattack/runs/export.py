"""Export the attacked images of a run as WebDataset shards: tar files that training code
streams."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from iqattack.engine import QueryLog, image_hash
from iqattack.engine.log import refuse_links
from iqattack.errors import InputError, RunError
from iqattack.images import read_file, read_image
from iqattack.runs.columns import Results
from iqattack.runs.files import FolderLock, cannot_write
from iqattack.runs.numbers import without_folders
from iqattack.runs.pairs import Scored
from iqattack.runs.results import Result
from iqattack.runs.run import Run

SHARD = 1000  # images
EXPORTING = ".exporting"  # temporary folder
OPTION = "--webdataset"
FIELDS = (
    "image", "direction", "mos", "score_clean", "score_adv", "gain", "queries", "linf", "rms",
    "psnr", "ssim", "sha256", "status",
)  # fmt: skip


def export(
    run: Run,
    out: Path,
    *,
    shard_size: int = SHARD,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> int:
    """Write the attacked images of a run to out/000000.tar, out/000001.tar, …, and return their
    number.

    In a tar file, each image is KEY.png, as it was saved, and KEY.json, with `FIELDS` of its result
    and the attack; KEY is its number in the run, since names may have dots, at which WebDataset
    splits. The same run gives the same bytes. Failed and pending images are left out. shard_size:
    images in each file. progress: called with (images done, images).

    Raises InputError for a size below 1 and a folder that is not empty or cannot be written;
    RunError if no image is finished, the log does not fit, or a saved image is not the one that was
    scored. Nothing half-written is left.
    """
    if shard_size < 1:
        raise InputError(f"shard size {shard_size}: expected at least 1 image")
    results = run.checked_state().results
    done = results.done
    if not len(done):
        raise RunError(f"{run.folder}: no image is finished yet, nothing to export")
    with _made(out) as folder:
        _write(run, results, folder, shard_size, progress)
    return len(done)


@contextmanager
def _made(out: Path) -> Iterator[Path]:
    """A new folder in `out`, whose files move to `out` once everything is done. InputError if `out`
    is not empty. A failure leaves nothing, and the next attempt removes the remains of a killed
    one.

    An existing folder is kept, since it may be a mount, or the working folder of a shell.
    """
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise InputError(f"{out}: is a link or a file, expected a new folder; give another")
    made, new = out / EXPORTING, [path for path in (out, *out.parents) if not path.exists()]
    try:
        out.mkdir(parents=True, exist_ok=True)
        _refuse_used(out)
        lock = FolderLock(out, "these shards", OPTION)
        try:
            _refuse_used(out)  # another process may have been faster
            shutil.rmtree(made, ignore_errors=True)  # left by a killed process
            made.mkdir()
            yield made
            _move(sorted(made.iterdir()), out)
        finally:
            shutil.rmtree(made, ignore_errors=True)
            lock.release(remove=True)
    except OSError as error:
        raise cannot_write(out, error, OPTION) from None
    finally:
        for path in new:
            with suppress(OSError):
                path.rmdir()  # empty after a failure


def _refuse_used(out: Path) -> None:
    passed = (EXPORTING, FolderLock.NAME)
    if any(path.name not in passed or path.is_symlink() for path in out.iterdir()):
        raise InputError(f"{out}: is not empty, expected a new folder; give another")


def _move(files: Sequence[Path], out: Path) -> None:
    """Move all files, or none."""
    try:
        for path in files:
            path.rename(out / path.name)
    except BaseException:
        for path in files:
            (out / path.name).unlink(missing_ok=True)
        raise


def _write(
    run: Run,
    results: Results,
    folder: Path,
    shard_size: int,
    progress: Callable[[int, int], None],
) -> None:
    numbers = np.flatnonzero(~results.failed).tolist()
    digits, written = max(6, len(str(len(results)))), 0
    with run.open_log() as log:
        for k, first in enumerate(range(0, len(numbers), shard_size)):
            with tarfile.open(folder / f"{k:06}.tar", "w", format=tarfile.USTAR_FORMAT) as shard:
                for number in numbers[first : first + shard_size]:
                    result, key = results[number], f"{number:0{digits}}"
                    _add(shard, f"{key}.png", _saved(run, log, result))
                    _add(shard, f"{key}.json", _described(result))
                    written += 1
                    progress(written, len(numbers))


def _saved(run: Run, log: QueryLog, result: Result) -> bytes:
    """The file of an attacked image; RunError if it is not the one that was scored."""
    png = run.images / result.png_name
    refuse_links(run.images, png)
    try:
        content, pixels = read_file(png), read_image(png).pixels
    except InputError as error:
        raise RunError(f"{error}; 'iqattack attack --resume' makes it again from the log") from None
    scored = Scored.read(result, log)
    if scored is None or image_hash(pixels) not in scored.attacked:
        raise RunError(
            f"{png}: the saved image is not the one that was scored; restore it from a copy, or "
            "delete it: 'iqattack attack --resume' makes it again from the log"
        )
    return content


def _described(result: Result) -> bytes:
    values: dict[str, Any] = result.model_dump(mode="json", include=set(FIELDS))
    values["attack"] = without_folders(result.attack)
    return json.dumps(values, sort_keys=True, ensure_ascii=False).encode()


def _add(shard: tarfile.TarFile, name: str, content: bytes) -> None:
    """Add a file without time or owner, so that the same run gives the same bytes."""
    member = tarfile.TarInfo(name)
    member.size = len(content)
    shard.addfile(member, io.BytesIO(content))
