"""The clean scores of a whole set, queried once, so that runs on parts of it agree.

A survey is the first stage of a run, stored in a file: the score of every clean image, and the
check of the model. While it is under way, its scores are in a log beside the file.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator

from iqattack.engine import QueryLog, image_hash
from iqattack.engine.engine import spread
from iqattack.engine.log import TAKEN, Row
from iqattack.errors import InputError, fault_text
from iqattack.images import ImageSet, read_image
from iqattack.runs.checked import Checked
from iqattack.runs.checking import FEWEST
from iqattack.runs.files import read_text
from iqattack.runs.run import REPAIRED
from iqattack.runs.settings import ModelRecord, Record, Settings
from iqattack.specs import is_text, printable

FORMAT = 1
SAMPLE = 32  # images whose pixels are compared before a run; the search compares all
AT_ONCE = 1000  # images per transaction
Hash = Annotated[str, Field(pattern="^[0-9a-f]{16}$")]
Attempts = Annotated[int, Field(ge=1, le=2**32)]  # a run adds to these
PAIR = 2  # most images in a check


class Conventions(BaseModel):
    """The settings of a run that its clean scores depend on; see `Settings`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str
    input: str | None = None
    score_range: tuple[float, float] | None = None
    lower_better: bool | None = None
    convert: bool = False
    resize: int | None = None
    compile: bool = False
    autocast: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Select them from all settings."""
        return cls(**{name: getattr(settings, name) for name in cls.model_fields})


class Survey(BaseModel):
    """The contents of a survey's file: a list for each property of the images, in the order of the
    set.

    created, versions, model: date, versions and model of the survey. settings: those on which clean
    scores depend. images: names. hashes: 64-bit XXH3 of the 8-bit pixels, as in logs, None for an
    image without a finite score. scores: raw, likewise. failed: why images have no score, by name.
    attempts: images that were sent to the model, but not answered, by name, if there were any.
    check: of the model, with its scores in `others`; None without one.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="constants", protected_namespaces=()
    )

    format: int = FORMAT
    created: str
    versions: dict[str, str]
    model: ModelRecord
    settings: Conventions
    images: tuple[str, ...]
    hashes: tuple[Hash | None, ...]
    scores: tuple[FiniteFloat | None, ...]
    failed: dict[str, str] = {}
    attempts: dict[str, Attempts] = {}
    check: Checked | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.format != FORMAT:
            raise ValueError(f"format {self.format}, expected {FORMAT}")
        if not len(self.images) == len(self.hashes) == len(self.scores):
            raise ValueError("has lists whose lengths differ from the number of images")
        known = dict(zip(self.images, self.hashes, strict=True))
        if len(known) != len(self.images) or not all(map(is_text, self.images)):
            raise ValueError("has images with equal or unprintable names")
        if any((h is None) != (s is None) for h, s in zip(self.hashes, self.scores, strict=True)):
            raise ValueError("has scores without pixels")
        own = dict(zip(self.images, self.scores, strict=True))
        if self.failed.keys() != {name for name in own if own[name] is None}:
            raise ValueError("has failures of images with a score, or lacks some")
        if not self.attempts.keys() <= known.keys():
            raise ValueError("has attempts for unknown images")
        others = {} if self.check is None else self.check.others
        if self.check is not None and set(others) != set(self.check.images):
            raise ValueError("has a check whose images and scores do not match")
        if any((known.get(name) or "") != asked.hash for name, asked in others.items()):
            raise ValueError("has a check of images that it has not scored")
        if len(others) > PAIR:
            raise ValueError(f"has a check of {len(others)} images, expected at most {PAIR}")
        for name, asked in others.items():
            score = own.get(name)
            if asked.scores[:1] != (() if score is None else (score,)):
                raise ValueError(
                    f"has two different scores of {name}, in its check and among its scores"
                )
        return self

    @classmethod
    def read(cls, path: Path) -> tuple[Self, str]:
        """Read a survey's file, with its SHA-256; InputError if it is invalid."""
        remedy = "give the file that 'iqattack survey' wrote"
        try:
            text = read_text(path)
            found = cls.model_validate_json(text)
        except ValidationError as error:
            reason = fault_text(error)
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).split())
        else:
            return found, hashlib.sha256(text.encode()).hexdigest()
        raise InputError(f"{path}: is not a survey ({printable(reason)}); {remedy}")

    @property
    def known(self) -> dict[str, float]:
        """Clean scores, by name, in the order of the set."""
        pairs = zip(self.images, self.scores, strict=True)
        return {name: score for name, score in pairs if score is not None}

    def difference(self, record: Record, images: ImageSet) -> str | None:
        """How a run with this record, on the set of these images or a part of it, does not fit:
        'NAME is A there, B here'.
        """
        settings = record.settings.model_copy(update=dict(self.settings))
        there = record.model_copy(update={"settings": settings, "model": self.model})
        found = there.difference(record)
        if found is not None:
            return found
        names = tuple(entry.name for entry in images)
        if names == self.images:
            return None
        odd = sorted(set(names) ^ set(self.images))
        which = f", such as {odd[0]}" if odd else ", in another order"
        return f"it has {len(self.images)} images there, {len(names)} here{which}"

    def changed(self, images: ImageSet, settings: Settings) -> str | None:
        """The first image in a sample whose pixels are not those that were scored."""
        hashes = dict(zip(self.images, self.hashes, strict=True))
        sample = (entry for entry, _ in zip(spread(images), range(SAMPLE), strict=False))
        for entry in sample:
            there = hashes.get(entry.name)
            if there is None:
                continue
            with suppress(InputError):  # the engine reports it
                pixels = read_image(
                    entry.path, convert=settings.convert, resize=settings.resize, endings=False
                ).pixels
                if f"{image_hash(pixels):016x}" != there:
                    return f"{entry.path} has different pixels here"
        return None

    def feed(self, log: QueryLog, settings: Settings, *, first: bool = True) -> None:
        """Copy the scores into the log of a run, as the first queries of its images, and the
        attempts of images without a score, marked as not sent by the run. Images with a query are
        not changed.

        first: whether this is the first time.
        """
        wanted = settings.check and settings.queries >= FEWEST
        check = self.check if wanted else None
        others = {} if check is None else check.others
        here = set(log.images())
        rows: dict[str, tuple[int, list[Row]]] = {}
        for name, digest, score in zip(self.images, self.hashes, self.scores, strict=True):
            if name not in here or digest is None or score is None or log.queries(name):
                continue
            scores = others[name].scores if name in others else (score,)
            rows[name] = 0, [(int(digest, 16), one) for one in scores]
            if len(rows) == AT_ONCE:
                self._append(log, rows)
                rows = {}
        if rows:
            self._append(log, rows)
        if check is not None and Checked.read(log) is None:
            away = {name: asked for name, asked in others.items() if name not in here}
            check.model_copy(update={"others": away}).keep(log)
        failed = [name for name in self.failed if name in here]
        if failed and first:
            attempts = {name: self.attempts[name] for name in failed if name in self.attempts}
            log.append({}, attempts=attempts)
            log.keep(REPAIRED, str(len(failed)))
        if log.kept(TAKEN) is None:  # no query yet
            log.keep(TAKEN, str(log.sent()))

    def _append(self, log: QueryLog, rows: dict[str, tuple[int, list[Row]]]) -> None:
        attempts = {name: self.attempts[name] for name in rows if name in self.attempts}
        log.append(rows, attempts=attempts)
