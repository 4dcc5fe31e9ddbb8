"""The results of images: the rows of results.csv."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self, TextIO

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from iqattack.engine import Attacked, Outcome
from iqattack.errors import RunError, fault_text
from iqattack.images import ImageEntry, encode_png, pixels_sha256
from iqattack.objectives import Direction
from iqattack.perception import JND_MODELS, jnd_violation, linf, ms_ssim, psnr, rms, ssim
from iqattack.runs.cells import csv_line, from_cell, to_cell
from iqattack.runs.settings import MOST_QUERIES
from iqattack.specs import is_text, printable

LONGEST_LINE = 2**20  # characters, of results.csv
JND_SCALE, JND_MODEL = 0.38, "liu2010"
OK, UNCHANGED, FAILED = "ok", "unchanged", "failed: "
REWRITE = (
    "delete it; 'iqattack attack --resume' writes it again from the log, except for opinion scores "
    "of failed images"
)

# A log may be untrusted: no real count exceeds these.
Side = Annotated[int, Field(ge=1, le=2**31)]
Queries = Annotated[int, Field(ge=0, le=MOST_QUERIES)]
Attempts = Annotated[int, Field(ge=0, le=2**60)]


class Result(BaseModel):
    """One image; values are None if the image failed, has no MOS, or is too small for a measure.

    width, height: pixels. mos: as published. direction: of the quality. score_clean, score_adv:
    raw. gain: fraction of the score range, at least 0. queries: images scored, the clean one
    included. attempts: further images that were sent to the model, but not answered. linf, rms:
    grey levels. psnr: dB, infinite when unchanged. ssim: None below 11 pixels. jnd_violation: share
    of pixels that changed by more than 0.38 times the just-noticeable difference of Liu et al.
    2010, whatever the constraint. jod: by ColorVideoVDP, at most 10, None below 8 pixels; flip:
    mean, in 0..1. Both are measured from the saved images, and None before; they are in
    visibility.json, not in the log. attack: its spec, labelled if it is a white-box attack. status:
    `ok`, `unchanged` (nothing was gained) or `failed: reason`. Not in results.csv: path: of the
    clean image; sha256: of its pixels; ms_ssim: None below 176 pixels; scale: of `bands:`, if the
    constraint had to find one; stages: of the search, number of the first query and name. The last
    four are None or empty in runs of earlier versions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")

    image: str
    width: Side | None = None
    height: Side | None = None
    mos: float | None = None
    direction: Direction | None = None
    score_clean: float | None = None
    score_adv: float | None = None
    gain: float | None = None
    queries: Queries
    attempts: Attempts = 0
    linf: float | None = None
    rms: float | None = None
    psnr: float | None = None
    ssim: float | None = None
    jnd_violation: float | None = None
    jod: float | None = Field(default=None, exclude=True)
    flip: float | None = Field(default=None, exclude=True)
    attack: str
    status: str
    path: str
    sha256: str | None = None
    ms_ssim: float | None = None
    scale: float | None = None
    stages: tuple[tuple[Queries, str], ...] = ()

    @classmethod
    def read(cls, image: str, text: str, *, hashed: bool = False) -> Self:
        """Parse the result of an image from its log; RunError if the text is invalid.

        hashed: whether the version that wrote it recorded the SHA-256 of clean images.
        """
        try:
            result = cls.model_validate_json(text, strict=True)
            texts = (result.attack, result.path, *(name for _, name in result.stages))
            if result.image != image:
                reason = f"it belongs to {printable(result.image)}"
            elif result.status not in (OK, UNCHANGED):
                reason = f"its status is {printable(result.status)}"
            elif not result.queries:
                reason = "it has no query"
            elif hashed and result.sha256 is None:
                reason = "it has no SHA-256 of its clean image"
            elif all(map(is_text, texts)):
                if result.jod is result.flip is None:
                    return result
                return result.model_copy(update=dict.fromkeys(SEEN))
            else:
                reason = "it has texts that are not printable"
        except ValidationError as error:
            reason = printable(fault_text(error))
        raise RunError(
            f"{image}: the log has an invalid result ({reason}); restore a copy of the log, or "
            "make the result again with 'iqattack attack --resume --accept-lost-log'"
        )

    @property
    def failed(self) -> bool:
        """Whether the image could not be attacked."""
        return self.status.startswith(FAILED)

    @property
    def png_name(self) -> str:
        """Name of its file in adversarial/."""
        return f"{Path(self.image).stem}.png"

    def is_of(self, clean: Tensor) -> bool:
        """Whether pixels (3, H, W) are those attacked, if the run recorded their hash."""
        return self.sha256 in (None, pixels_sha256(clean))

    @classmethod
    def of(cls, outcome: Outcome, attack: str) -> Self:
        """Measure an outcome. attack: as shown in the row."""
        clean, adversarial = outcome.clean, outcome.adversarial
        height, width = clean.shape[-2:]
        return cls(
            image=outcome.entry.name,
            width=width,
            height=height,
            mos=outcome.entry.mos,
            direction=outcome.target.direction,
            score_clean=outcome.score_clean,
            score_adv=outcome.score_adv,
            gain=outcome.gain,
            queries=outcome.queries,
            linf=float(linf(clean, adversarial)),
            rms=float(rms(clean, adversarial)),
            **visibility(clean, adversarial),
            attack=attack,
            status=OK if outcome.gain > 0.0 else UNCHANGED,
            path=str(outcome.entry.path.absolute()),
            sha256=pixels_sha256(clean),
            scale=outcome.found,
            stages=outcome.stages,
        )

    @classmethod
    def of_failure(
        cls,
        image: str,
        reason: str,
        *,
        queries: int,
        attempts: int,
        attack: str,
        entry: ImageEntry | None,
    ) -> Self:
        """The row of an image that failed."""
        return cls(
            image=image,
            mos=None if entry is None else entry.mos,
            queries=queries,
            attempts=attempts,
            attack=attack,
            status=f"{FAILED}{printable(reason)}",
            path="" if entry is None else str(entry.path.absolute()),
        )

    def cells(self) -> dict[str, str]:
        """The row of results.csv, as from `read_csv`: floats as the shortest text that reads back
        exactly.
        """
        return {name: _text(getattr(self, name)) for name in COLUMNS}


SEEN = ("jod", "flip")  # stored in visibility.json
NOT_COLUMNS = ("path", "sha256", "ms_ssim", "scale", "stages")
COLUMNS = tuple(name for name in Result.model_fields if name not in NOT_COLUMNS)
TEXTS = ("image", "attack", "status")  # which may begin with anything


@dataclass(frozen=True)
class Saved(Attacked):
    """An outcome as stored by a run: its row, and the attacked image as a file."""

    row: Result
    png: bytes

    @classmethod
    def of(cls, outcome: Outcome, attack: str) -> Self:
        """Measure an outcome. attack: as shown in the row."""
        return cls(
            entry=outcome.entry,
            gain=outcome.gain,
            row=Result.of(outcome, attack),
            png=encode_png(outcome.adversarial),
        )


def visibility(clean: Tensor, adversarial: Tensor) -> dict[str, Any]:
    """The measures of visibility that take more than a difference, by the fields of `Result`."""
    threshold = JND_SCALE * JND_MODELS[JND_MODEL](clean)
    return {
        "psnr": float(psnr(clean, adversarial)),
        "ssim": _defined(ssim(clean, adversarial)),
        "ms_ssim": _defined(ms_ssim(clean, adversarial)),
        "jnd_violation": float(jnd_violation(clean, adversarial, threshold)),
    }


def same(there: object, value: object) -> bool:
    """Whether a measure equals the reported one, up to the last digits, which vary with
    libraries."""
    if isinstance(value, float) and isinstance(there, float | int):
        try:
            return math.isclose(there, value, rel_tol=1e-6, abs_tol=1e-9)
        except OverflowError:  # an integer beyond all floats
            return False
    return there == value


def _defined(value: Tensor) -> float | None:
    return None if value.isnan() else float(value)


def _text(value: float | str | None) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)


def csv_lines(results: Iterable[Result]) -> Iterator[str]:
    """The same line by line."""
    yield csv_line(COLUMNS)
    for result in results:
        row = result.cells()
        yield csv_line(to_cell(text) if name in TEXTS else text for name, text in row.items())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a results.csv as text, as in `Result.cells`; none without a file.

    RunError if it is not such a table, since other programs may have saved it.
    """
    return list(each_csv_row(path))


def each_csv_row(path: Path) -> Iterator[dict[str, str]]:
    """The same row by row."""
    if not path.is_file():
        return
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(_lines(file))
            columns = reader.fieldnames or ()
            # Runs of earlier versions lack these columns.
            newer = ("attempts", *SEEN)
            for name in COLUMNS:
                if name not in columns and name not in newer:
                    raise RunError(f"{path}: lacks the column {name}; {REWRITE}")
            for row in reader:
                if None in row.values():
                    raise RunError(f"{path}: has rows that are too short; {REWRITE}")
                row |= {name: from_cell(row[name]) for name in TEXTS}
                yield row
    except (OSError, ValueError, csv.Error) as error:
        raise RunError(f"{path}: cannot be read ({error}); {REWRITE}") from None


def _lines(file: TextIO) -> Iterator[str]:
    """The lines of a table; ValueError for a line longer than any of ours."""
    while line := file.readline(LONGEST_LINE):
        if len(line) == LONGEST_LINE:
            raise ValueError(f"has a line of {LONGEST_LINE:,} characters or more")
        yield line


def read_failures(path: Path) -> dict[str, Result]:
    """The failed images in a results.csv."""
    try:
        return {
            row["image"]: Result(
                image=row["image"],
                mos=float(row["mos"]) if row["mos"] else None,
                queries=int(row["queries"]),
                attempts=int(row.get("attempts") or 0),
                attack=row["attack"],
                status=row["status"],
                path="",
            )
            for row in each_csv_row(path)
            if row["status"].startswith(FAILED)
        }
    except ValueError as error:
        raise RunError(f"{path}: cannot be read ({error}); {REWRITE}") from None
