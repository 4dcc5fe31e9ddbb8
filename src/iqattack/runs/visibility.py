"""The visibility of a run's changes, by other people's measures."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from iqattack.errors import InputError, RunError
from iqattack.images import pixels_sha256
from iqattack.models import PyiqaReference
from iqattack.perception import flip, jod
from iqattack.perception.viewing import Viewing
from iqattack.runs.columns import Results
from iqattack.runs.files import feed, read_text, write_text
from iqattack.runs.owner import has_signed, sign
from iqattack.runs.pairs import Scored, read_pair, scored_pairs
from iqattack.runs.results import Result
from iqattack.runs.summary import Measured, Visibility, mean_measured

if TYPE_CHECKING:
    from pathlib import Path

    from iqattack.runs.run import Run

VISIBILITY = "visibility.json"
MOST_MEASURED = 5000  # images: each takes about a second
MOST_VIEWINGS = 4  # the latest ones are kept in the file
EVERY_S = 60.0  # between two saves, in case of an interruption
PACKAGES = (jod.PACKAGE, flip.PACKAGE)


class Seen(BaseModel):
    """One image. clean: SHA-256 of its pixels; attacked: of the file of the attacked image.

    jod: at most 10; flip: mean, in 0..1; None if not measured.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    clean: str
    attacked: str
    jod: float | None = Field(le=jod.NO_DIFFERENCE, allow_inf_nan=False)
    flip: float | None = Field(ge=0.0, le=1.0)


class Kept(Visibility):
    """Images measured under the same conditions, by name."""

    images: dict[str, Seen]


class Measurements(BaseModel):
    """The contents of visibility.json, by viewing conditions. signed: this user's code over the
    rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    measured: tuple[Kept, ...] = ()
    signed: str | None = None

    @classmethod
    def parse(cls, folder: Path) -> Self:
        """Read a run's file, whoever wrote it; empty if it is missing or damaged."""
        try:
            return cls.model_validate_json(read_text(folder / VISIBILITY))
        except (OSError, ValueError):
            return cls()

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read this user's own measurements of a run: measuring again is cheap, and somebody else's
        file may contain anything.
        """
        found = cls.parse(folder)
        return found if has_signed(found.text(), found.signed) else cls()

    def text(self) -> str:
        """The signed text."""
        return json.dumps([kept.model_dump() for kept in self.measured], sort_keys=True)

    def of(self, viewing: Viewing) -> Kept | None:
        """The images measured under these conditions."""
        for kept in self.measured:
            if (kept.display, kept.distance) == (viewing.display, viewing.distance):
                return kept
        return None

    def with_(self, kept: Kept) -> Self:
        """A copy with other images for one set of viewing conditions."""
        there = (kept.display, kept.distance)
        others = tuple(k for k in self.measured if (k.display, k.distance) != there)
        made = type(self)(measured=(*others, kept)[-MOST_VIEWINGS:])
        return made.model_copy(update={"signed": sign(made.text())})

    def write(self, folder: Path) -> None:
        """Write them, if the run is writable."""
        with suppress(InputError):
            write_text(folder / VISIBILITY, self.model_dump_json(indent=1) + "\n")


class Meter:
    """Measures visibility with the installed packages.

    missing: why a measure is unavailable, and what to do, on one line.
    """

    def __init__(self, viewing: Viewing) -> None:
        self.viewing = viewing
        self.missing: str | None = None
        self.jod: jod.ColorVideoVdp | None = self._made(jod.ColorVideoVdp)
        self.flip: flip.Flip | None = self._made(flip.Flip)

    def _made(self, kind: Callable[..., Any]) -> Any:
        try:
            return kind(self.viewing.display, self.viewing.distance)
        except InputError as error:
            self.missing = self.missing or str(error)
            return None

    @property
    def versions(self) -> dict[str, str]:
        """Versions of the measuring packages."""
        there = zip(PACKAGES, (self.jod, self.flip), strict=True)
        return {name: version(name) for name, tool in there if tool is not None}

    def values(self, clean: Tensor, attacked: Tensor) -> dict[str, float | None]:
        """JOD and mean FLIP of a pair (3, H, W) uint8, by the names of a result."""
        found: dict[str, float | None] = {"jod": None, "flip": None}
        if self.jod is not None:
            value = float(self.jod.jod(clean, attacked))
            found["jod"] = None if math.isnan(value) else value
        if self.flip is not None:
            found["flip"] = float(self.flip.mean(clean, attacked))
        return found


def unmeasured(seen: Visibility | None) -> str | None:
    """Why JOD or FLIP was not measured, and how to get it, on one line; None if both were."""
    if seen is not None and set(PACKAGES) <= seen.versions.keys():
        return None
    return Meter(Viewing.of()).missing


def known(run: Run, results: Sequence[Result]) -> tuple[Results, Visibility | None]:
    """Results with JOD and FLIP from visibility.json; nothing is measured."""
    results = Results.of(results)
    return _joined(results, _kept(run, results, Viewing.of()))


def measured(
    run: Run,
    results: Sequence[Result],
    viewing: Viewing | None = None,
    *,
    progress: Callable[[int, int], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> tuple[Results, Visibility | None]:
    """Results with JOD and FLIP, and how these were measured; None if they cannot be measured.

    Values are measured once and kept in visibility.json, each with the hashes of both pictures. Of
    more than 5,000 images, a random sample of 5,000 with a fixed seed is measured. viewing: by
    default, `standard_fhd` at its own distance. progress: called with (images done, images). stop:
    called between images; True leaves the others without values.

    Raises InputError if the viewing was chosen, and JOD cannot be measured.
    """
    results = Results.of(results)
    at = viewing or Viewing.of()
    kept = _kept(run, results, at)
    wanted = _wanted(results)
    todo = [k for k in wanted if kept is None or results.images[k] not in kept.images]
    if kept is not None and not todo and kept.versions.items() >= _installed().items():
        return _joined(results, kept)
    meter = Meter(at)
    if viewing is not None and meter.jod is None:
        raise InputError(str(meter.missing))
    if not meter.versions:
        return _joined(results, kept)
    if kept is None or not kept.versions.items() >= meter.versions.items():
        kept = _of(at, meter.versions, {})
        todo = wanted
    elif not todo:
        return _joined(results, kept)
    found = dict(kept.images)
    versions = kept.versions | meter.versions
    file = Measurements.read(run.home)

    def keep() -> None:
        file.with_(_of(at, versions, found)).write(run.home)

    pairs = scored_pairs(run, results.take(todo))
    try:
        last = time.monotonic()
        for number, k in enumerate(todo, 1):
            if stop():
                break
            result = results[k]
            value = _measure(run, result, meter, pairs.get(result.image))
            if value is not None:
                found[result.image] = value
            progress(number, len(todo))
            if time.monotonic() - last > EVERY_S:
                keep()
                last = time.monotonic()
    finally:
        keep()
    return _joined(results, _of(at, versions, found))


def _wanted(results: Results) -> list[int]:
    """The row numbers of the images to measure."""
    done = np.flatnonzero(~results.failed)
    if len(done) > MOST_MEASURED:
        rng = np.random.default_rng(0)
        done = np.sort(rng.choice(done, MOST_MEASURED, replace=False))
    found: list[int] = done.tolist()
    return found


def _of(viewing: Viewing, versions: dict[str, str], images: dict[str, Seen]) -> Kept:
    return Kept(
        display=viewing.display,
        distance=viewing.distance,
        pixels_per_degree=viewing.pixels_per_degree,
        versions=versions,
        images=images,
    )


def _installed() -> dict[str, str]:
    """Versions of the packages, without importing them."""
    found = {}
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _kept(run: Run, results: Results, viewing: Viewing) -> Kept | None:
    """The measurements of the pictures in their present state."""
    kept = Measurements.read(run.home).of(viewing)
    if kept is None:
        return None
    there = {}
    for k, image in enumerate(results.images):
        seen = kept.images.get(image)
        if seen is not None and (seen.clean, seen.attacked) == _hashes(run, results[k]):
            there[image] = seen
    return kept.model_copy(update={"images": there})


def _hashes(run: Run, result: Result, clean: Tensor | None = None) -> tuple[str, str] | None:
    """Hashes of the clean pixels, which all but old runs record, and of the attacked file."""
    digest, png = hashlib.sha256(), run.images / result.png_name
    try:
        if not png.is_file():  # a pipe would block
            return None
        feed(digest, png)
        before = result.sha256
        if before is None:
            before = pixels_sha256(run.read_clean(result.path) if clean is None else clean)
        return before, digest.hexdigest()
    except (OSError, InputError):
        return None


def _measure(run: Run, result: Result, meter: Meter, pair: Scored | None) -> Seen | None:
    """Measure one image; None if its pictures cannot be read or are not those that were scored, or
    measuring fails.
    """
    try:
        clean, attacked = read_pair(run, result, pair)
        hashes = _hashes(run, result, clean)
        if hashes is None:
            return None
        values = meter.values(clean, attacked)
    except (InputError, RunError, RuntimeError, AssertionError, MemoryError):
        return None
    return Seen(clean=hashes[0], attacked=hashes[1], **values)


def _joined(results: Results, kept: Kept | None) -> tuple[Results, Visibility | None]:
    if kept is None or not kept.images:
        return results, None
    seen = Visibility(**kept.model_dump(exclude={"images"}))
    failed, values = results.failed, dict[int, dict[str, float | None]]()
    for k, image in enumerate(results.images):
        found = kept.images.get(image)
        if found is not None and not failed[k]:
            values[k] = {"jod": found.jod, "flip": found.flip}
    return results.with_reals(values), seen


def full_reference(
    run: Run,
    metrics: Sequence[str],
    *,
    device: str = "cpu",
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[str, Measured]:
    """Means over the attacked images of full-reference metrics of pyiqa, by name: lpips, dists, …

    metrics: names in pyiqa, with options as in a model's spec. Clean images are read again from
    their paths. progress: called with (images done, images).

    Raises InputError without pyiqa, for metrics that it does not have or that fail, and for images
    that cannot be read or are not those that were scored.
    """
    loaded = {name: PyiqaReference(name, device) for name in metrics}
    done = run.state()[0].done
    values: dict[str, list[float]] = {name: [] for name in loaded}
    with run.open_log() as log:
        for number, result in enumerate(done, 1):
            clean, attacked = read_pair(run, result, Scored.read(result, log))
            for name, metric in loaded.items():
                values[name].append(metric(attacked, clean))
            progress(number, len(done))
    return {name: mean_measured(found) for name, found in values.items()}
