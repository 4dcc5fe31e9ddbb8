"""The pictures at the top of a page: the images whose scores moved most, before and after."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from iqattack.auditing import Card
from iqattack.auditing.card import RunRecord
from iqattack.errors import InputError, RunError
from iqattack.perception import ssim
from iqattack.reporting.common import LOOK, fixed, percent, score_digits
from iqattack.reporting.pictures import as_png
from iqattack.runs import Result, Run
from iqattack.runs.columns import Results
from iqattack.runs.numbers import jod, number, without_folders
from iqattack.runs.pairs import read_pair, scored_pairs
from iqattack.runs.visibility import known

SHOWN = 3  # pictures
MOST_DIGITS = 7  # of a score, after the point
LONGEST = 1024  # pixels of a side: larger pictures are shrunk for the page
_FOLDER = re.compile(r"runs/(?!\.\.?$)[^/\\]+")


@dataclass(frozen=True)
class RunHere:
    """A run of a card, as found in its folder. run, results: None if it cannot be read. trouble:
    why, or how it differs from the card; None if it does not. page: the page of the run, beneath
    the audit's folder, if it was written.
    """

    record: RunRecord
    run: Run | None
    results: Results | None
    trouble: str | None
    page: str | None


@dataclass(frozen=True)
class Picture:
    """One image whose score moved a lot, as text. facts: name and value, visibility first. before,
    after: PNGs in base64; None if they cannot be shown, and missing: why. size: width and height as
    shown.
    """

    image: str
    clean: str
    attacked: str
    gain: str
    look: str
    facts: tuple[tuple[str, str], ...]
    before: str | None = None
    after: str | None = None
    size: tuple[int, int] = (1, 1)
    note: str | None = None
    missing: str | None = None


def runs_here(folder: Path, card: Card) -> list[RunHere]:
    """The runs of a card, read again from beneath its folder."""
    return [_here(folder, record) for record in card.runs]


def _here(folder: Path, record: RunRecord) -> RunHere:
    place = folder / record.folder
    if not _FOLDER.fullmatch(record.folder) or place.is_symlink():
        return RunHere(
            record, None, None, f"{record.folder}: is not a folder beneath the card", None
        )
    page = f"{record.folder}/report/index.html"
    link = page if (folder / page).is_file() else None
    try:
        run = Run.open(place)
        results = run.checked_state(pictures=False).results
        digest = hashlib.sha256((place / "results.csv").read_bytes()).hexdigest()
    except (InputError, RunError, OSError) as error:
        reason = without_folders(str(error).removeprefix(f"{place}: "))
        if isinstance(error, OSError):
            reason = f"results.csv cannot be read ({error.strerror})"
        return RunHere(record, None, None, f"{record.folder}: {reason}", link)
    trouble = None
    if digest != record.results:
        trouble = f"{record.folder}: results.csv is not the one from which the card was made"
    return RunHere(record, run, results, trouble, link)


def most_moved(folder: Path, runs: Sequence[RunHere], shown: int) -> list[Picture]:
    """The images of an audit that gained most with the largest budget, in any constraint, by any
    attack.
    """
    best: dict[str, tuple[float, int, int]] = {}  # gain, number of the run, and of the row
    for k, one in enumerate(runs):
        if one.results is None or one.trouble is not None:
            continue
        for row, gain in _gains(one.results):
            name = one.results.images[row]
            if name not in best or gain > best[name][0]:
                best[name] = gain, k, row
    first = sorted(best, key=lambda name: -best[name][0])[:shown]  # the first of equals
    return [_of_audit(folder, runs[best[name][1]], best[name][2]) for name in first]


def most_gained(run: Run, results: Results, shown: int) -> list[Picture]:
    """The images of a run that gained most. results: with JOD, if measured."""
    gains = _gains(results)
    first = sorted(gains, key=lambda one: -one[1])[:shown]  # the first of equals
    return [
        _picture(run, result, [("queries", f"{result.queries:,}")])
        for result in results.take([row for row, _ in first])
    ]


def _gains(results: Results) -> list[tuple[int, float]]:
    """Row and gain of each image whose score was moved."""
    gains = results.real("gain")
    moved = np.flatnonzero(~results.failed & (gains > 0.0))
    return [(int(row), float(gains[row])) for row in moved]


def _of_audit(folder: Path, here: RunHere, row: int) -> Picture:
    assert here.run is not None
    assert here.results is not None
    (result,) = known(here.run, here.results.take([row]))[0]
    how = f"{here.record.attack}, {here.record.constraint}"
    return _picture(here.run, result, [("attack", how)], folder)


def _picture(
    run: Run, result: Result, facts: Sequence[tuple[str, str]], audit: Path | None = None
) -> Picture:
    """A picture of a finished image. audit: folder of the run's audit, if it is part of one."""
    clean, attacked = _scores(result, score_digits(run.model.score_range))
    facts = (*facts, ("image", result.image))
    text: dict[str, Any] = {
        "image": result.image,
        "clean": clean,
        "attacked": attacked,
        "gain": percent(result.gain),
        "look": LOOK[result.direction or "up"],
    }
    try:
        before, after = _pair(run, result, audit)
    except (InputError, RunError) as error:
        reason = without_folders(str(error))
        return Picture(**text, facts=(*_seen(result.jod, math.nan), *facts), missing=reason)
    similar = float(ssim(before, after))
    pictures = [smaller(pixels) for pixels in (before, after)]
    height, width = pictures[0].shape[1:]
    note = None
    if pictures[0].shape != before.shape:
        note = f"Shrunk for the page: {before.shape[2]}×{before.shape[1]} pixels were scored."
    return Picture(
        **text,
        facts=(*_seen(result.jod, similar), *facts),
        before=as_png(pictures[0]),
        after=as_png(pictures[1]),
        size=(width, height),
        note=note,
    )


def _scores(result: Result, digits: int) -> tuple[str, str]:
    """Clean and attacked score with these digits, or as many as it takes to tell them apart."""
    scores = result.score_clean, result.score_adv
    for more in range(digits, MOST_DIGITS):
        clean, attacked = (fixed(score, more) for score in scores)
        if clean != attacked:
            return clean, attacked
    return fixed(scores[0], digits), fixed(scores[1], digits)


def _seen(jods: float | None, similar: float) -> tuple[tuple[str, str], ...]:
    """The measures of a change's visibility that are known."""
    known_jod = () if jods is None else (("JOD", jod(jods)),)
    return known_jod if math.isnan(similar) else (*known_jod, ("SSIM", number(similar, 4)))


def has_jod(pictures: Sequence[Picture]) -> bool:
    """Whether any picture has a JOD."""
    return any(name == "JOD" for picture in pictures for name, _ in picture.facts)


def _pair(run: Run, result: Result, audit: Path | None) -> tuple[Tensor, Tensor]:
    """Clean and attacked pixels as they were scored; errors as in `read_pair`."""
    pair = scored_pairs(run, [result]).get(result.image)
    try:
        return read_pair(run, result, pair)
    except InputError:
        # The sample set lies in the audit's folder, which may have been moved since.
        moved = None if audit is None else audit / "images" / result.image
        if moved is None or not moved.is_file():
            raise
        return read_pair(run, result.model_copy(update={"path": str(moved)}), pair)


def smaller(pixels: Tensor) -> Tensor:
    """Shrink pixels (3, H, W) uint8 so that no side exceeds `LONGEST`, by area means."""
    height, width = pixels.shape[1:]
    longest = max(height, width)
    if longest <= LONGEST:
        return pixels
    size = tuple(max(1, round(side * LONGEST / longest)) for side in (width, height))
    array = np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())
    small = cv2.resize(array, size, interpolation=cv2.INTER_AREA)
    return torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)))
