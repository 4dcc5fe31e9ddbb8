"""Settings and provenance of a run: run.toml."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
import tomllib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import tomli_w
import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from iqattack.attacks import canonical_attack, is_of_set, labelled, taken_files
from iqattack.catalogue import defaults
from iqattack.constraints import parse_constraint, parse_floor
from iqattack.errors import InputError, RunError, first_fault
from iqattack.images import ImageSet, MosColumns
from iqattack.models import Inference, Input, Scorer, Traits, bare_spec
from iqattack.objectives import SetObjective, Top, parse_objective
from iqattack.perception.jod import brought_along
from iqattack.runs.files import feed, read_text
from iqattack.runs.shards import Shard
from iqattack.scoring import Retry
from iqattack.specs import is_line, printable
from iqattack.version import __version__

FORMAT = 1
DIGESTS_SINCE = (0, 2)
MOST_QUERIES = 10**9  # per image: more is probably a typing error
SHARES = 4  # most equal shares of a budget for all images that one image may take
FEWEST = 3  # queries under a floor of the result: the clean image, a candidate, the result
MOST_LOGGED = 2**60  # queries in a log: no real log has more
OF_MODELS = ("onnxruntime", "pyiqa", "torchvision")  # recorded if a model has imported them
STORED = "stored"  # validation context for run.toml


class Settings(BaseModel):
    """Everything that decides a run's results; two runs with equal settings give equal bytes.

    images: folders, files, patterns and lists, as absolute paths. queries: budget per image;
    budget_total: budget for all images, with a set objective. mos: the table of opinion scores;
    mos_columns: its columns, None if the header names them; mos_lower_better: True for DMOS. model:
    its spec, with absolute paths. input: how it takes its images; None for unchanged. score_range,
    lower_better: override the model's declaration; None if not given. limit: number of images to
    use. resize: longest side in pixels, to which larger images are shrunk; None for unchanged.
    check: whether the model is checked before the search, with queries of two images; never before
    version 0.2. shard: the part of these images to attack, such as `3/16`; None for all. compile,
    autocast: how torch ran the model, see `Inference`.

    Specs are kept in canonical form. Raises InputError for those that do not exist.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    images: tuple[str, ...]
    mos: str | None = None
    mos_columns: str | None = None
    mos_lower_better: bool = False
    model: str
    input: str | None = None
    score_range: tuple[float, float] | None = None
    lower_better: bool | None = None
    attack: str = defaults.ATTACK
    constraint: str = defaults.CONSTRAINT
    floor: str | None = None
    objective: str = defaults.OBJECTIVE
    queries: int = defaults.QUERIES
    budget_total: int | None = None
    seed: int = defaults.SEED
    limit: int | None = None
    convert: bool = False
    resize: int | None = None
    check: bool = False
    shard: str | None = None
    compile: bool = False
    autocast: str | None = None

    @classmethod
    def of(cls, **values: Any) -> Self:
        """Settings with these values; InputError if one has an unexpected type."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise InputError(_first_of(error)) from None

    @field_validator("images", "mos", "mos_columns", "model", "attack")
    @classmethod
    def _text(cls, value: Any) -> Any:
        for part in (value,) if isinstance(value, str) else value or ():
            if not is_line(part):  # run.toml is UTF-8, and messages are one line
                raise InputError(f"{part!a}: expected printable text; rename it")
        return value

    @field_validator("attack")
    @classmethod
    def _attack(cls, spec: str, info: ValidationInfo) -> str:
        # A run can be read without the files of its attack, which may be gone by now.
        return spec if info.context == STORED else canonical_attack(spec)

    @field_validator("mos_columns")
    @classmethod
    def _mos_columns(cls, text: str | None) -> str | None:
        return None if text is None else MosColumns.parse(text).text

    @field_validator("input")
    @classmethod
    def _input(cls, text: str | None) -> str | None:
        return Input.parse(text).text

    @field_validator("autocast")
    @classmethod
    def _autocast(cls, dtype: str | None) -> str | None:
        return Inference(autocast=dtype).autocast

    @field_validator("constraint")
    @classmethod
    def _constraint(cls, spec: str) -> str:
        return parse_constraint(spec).spec

    @field_validator("floor")
    @classmethod
    def _floor(cls, spec: str | None) -> str | None:
        return None if spec is None else parse_floor(spec).spec

    @model_validator(mode="after")
    def _enough(self) -> Self:
        if self.floor is not None and parse_floor(self.floor).of_result and self.queries < FEWEST:
            raise InputError(
                f"queries {self.queries}: expected at least {FEWEST} with floor {self.floor}, "
                "which takes one for the result; use more queries, or leave out the floor"
            )
        return self

    @property
    def together(self) -> bool:
        """Whether all images are attacked in one search, whose queries depend on each other."""
        return self.budget_total is not None or is_of_set(self.attack)

    @model_validator(mode="after")
    def _of_set(self) -> Self:
        of_set = isinstance(parse_objective(self.objective), SetObjective)
        if of_set and self.budget_total is None:
            raise InputError(
                f"objective {self.objective} applies to all images together; give a budget for "
                "all of them, such as --budget-total 5000"
            )
        if not of_set and self.budget_total is not None:
            raise InputError(
                f"budget-total {self.budget_total} applies to the objectives srocc and top:3; with "
                f"{self.objective}, give --queries, per image"
            )
        if self.budget_total is not None and not 1 <= self.budget_total <= MOST_LOGGED:
            raise InputError(f"budget-total {self.budget_total}: expected at least 1 query")
        if of_set and is_of_set(self.attack):
            raise InputError(
                f"attack {self.attack}: attacks all images together, and so does objective "
                f"{self.objective}, with an attack on single images; give one, such as "
                f"{defaults.ATTACK}"
            )
        return self

    @model_validator(mode="after")
    def _together(self) -> Self:
        if not self.together:
            return self
        pooled = f"objective {self.objective}"
        instead = "use rank"
        if self.budget_total is None:
            pooled, instead = f"attack {self.attack}", f"use {defaults.ATTACK}"
        if self.shard is not None:
            raise InputError(
                f"shard {self.shard}: {pooled} applies to all images together; leave out the "
                f"shard, or {instead}"
            )
        if self.floor is not None and parse_floor(self.floor).of_result:
            raise InputError(
                f"floor {self.floor}: takes a query for the result of each image; with {pooled}, "
                "use ssim:0.95, or none"
            )
        return self

    @property
    def label(self) -> str:
        """The attack as shown in tables: labelled as white-box or pooled if it is."""
        pooled = "" if self.budget_total is None else ", pooled"
        return f"{labelled(self.attack, bare_spec(self.model))}{pooled}"

    def share(self, images: int) -> int:
        """Queries per image, if they are divided equally."""
        if self.budget_total is None:
            return self.queries
        return min(self.queries, self.budget_total // max(images, 1))

    def most(self, images: int) -> int:
        """The most queries that one of `images` images may take."""
        if self.budget_total is None:
            return self.queries
        objective = parse_objective(self.objective)
        free = images
        if isinstance(objective, Top):  # the most that it may take
            free = len(objective.named) or objective.k
        left = max(self.budget_total - images, 0)
        return min(self.queries, 1 + min(SHARES * -(-left // max(free, 1)), left))

    @field_validator("objective")
    @classmethod
    def _objective(cls, name: str) -> str:
        return parse_objective(name).name

    @field_validator("queries")
    @classmethod
    def _queries(cls, queries: int) -> int:
        if queries < 1:
            raise InputError(f"queries {queries}: expected at least 1, for the clean image")
        if queries > MOST_QUERIES:
            raise InputError(f"queries {queries}: expected at most {MOST_QUERIES:,} per image")
        return queries

    @field_validator("shard")
    @classmethod
    def _shard(cls, text: str | None) -> str | None:
        return None if text is None else str(Shard.parse(text))

    @field_validator("resize")
    @classmethod
    def _resize(cls, resize: int | None) -> int | None:
        if resize is not None and resize < 1:
            raise InputError(f"resize {resize}: expected the longest side in pixels, at least 1")
        return resize


class ModelRecord(BaseModel):
    """The record of a model.

    files: SHA-256 of the files that it depends on, by path. drawn: see `Traits`. weights,
    sha256: of the single file that runs before version 0.2 recorded instead.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    score_range: tuple[float, float]
    lower_better: bool
    files: dict[str, str] = {}
    drawn: bool = False
    weights: str | None = None
    sha256: str | None = None

    @classmethod
    def of(cls, scorer: Scorer) -> Self:
        """The record of a model; InputError if its name, or that of a file, is not printable."""
        for name in (scorer.name, *map(str, Traits.of(scorer).files)):
            if not is_line(name):
                raise InputError(f"model {name!a}: expected a printable name; rename it")
        return cls(
            name=scorer.name,
            score_range=scorer.score_range,
            lower_better=scorer.lower_better,
            files={str(path): file_sha256(path) for path in Traits.of(scorer).files},
            drawn=Traits.of(scorer).drawn,
        )

    @property
    def hashes(self) -> list[str]:
        """Hashes of its files, independent of their paths."""
        return sorted([*self.files.values(), *filter(None, [self.sha256])])

    def differing(self, other: ModelRecord) -> Iterator[tuple[str, object, object]]:
        """What makes the other one another model: the field, and its values here and there."""
        for name in ("name", "score_range", "lower_better"):
            here, there = getattr(self, name), getattr(other, name)
            if here != there:
                yield name, here, there

    def changed(self, other: ModelRecord) -> str | None:
        """A file whose contents differ between both records, if the model has changed."""
        if self.hashes == other.hashes:
            return None
        there = {path: digest for path, digest in other.files.items() if digest not in self.hashes}
        return next(iter([*there, *self.files, *filter(None, [self.weights])]), "its files")


class ModelChange(BaseModel):
    """An accepted change of the model's files while the run was under way.

    queries: number in the log before it. old, new: SHA-256 of the model's files, by path.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    created: str
    queries: int = Field(ge=0, le=MOST_LOGGED)
    old: dict[str, str]
    new: dict[str, str]

    @property
    def text(self) -> str:
        """A phrase for users."""
        was, names = self.old, {Path(path).name: path for path in self.new}
        parts = []
        for name, path in names.items():
            before = was.get(path) or next((d for p, d in was.items() if Path(p).name == name), "")
            if before != self.new[path]:
                parts.append(
                    f"{name} (SHA-256 {before[:12] or 'not known'} → {self.new[path][:12]})"
                )
        return (
            f"the model was changed after {self.queries:,} queries: "
            f"{', '.join(parts) or 'its files'}; scores before and after come from two models"
        )


class Loss(BaseModel):
    """An accepted loss of queries in the log, which were repeated.

    lost, of: number of lost queries, and of all, as far as is known. what: the first fault.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    created: str
    lost: int = Field(ge=0, le=MOST_LOGGED)
    of: int = Field(ge=0, le=MOST_LOGGED)
    what: str

    @property
    def text(self) -> str:
        """A phrase for users."""
        return (
            f"the log had lost {self.lost:,} of {self.of:,} queries ({self.what}), which was "
            "accepted: they were repeated, or still have to be"
        )


class Record(BaseModel):
    """The contents of run.toml.

    files: SHA-256 of the attack's files, such as a profile, by option. survey: SHA-256 of the file
    with the clean scores, None if the run queried them itself. retry: number and pauses of retries
    after transient failures; this decides whether an image fails, but changes no result, so
    sessions may differ. changes: accepted changes of the model's files; `model` is the latest.
    losses: accepted losses of the log.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    created: str
    versions: dict[str, str]
    settings: Settings
    model: ModelRecord
    files: dict[str, str] = {}
    survey: str | None = None
    retry: Retry | None = None
    changes: tuple[ModelChange, ...] = ()
    losses: tuple[Loss, ...] = ()

    @property
    def accepted(self) -> list[str]:
        """What was accepted, one phrase each."""
        return [change.text for change in self.changes] + [loss.text for loss in self.losses]

    @property
    def digests(self) -> bool:
        """Whether the version that began the run logs a digest with every row: 0.2 and later."""
        found = re.match(r"(\d{1,9})\.(\d{1,9})", self.versions.get("iqattack", ""))
        return found is not None and (int(found[1]), int(found[2])) >= DIGESTS_SINCE

    @classmethod
    def now(cls, settings: Settings, scorer: Scorer, retry: Retry | None = None) -> Self:
        """The record of a run that starts now."""
        return cls(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions=versions_here(),
            settings=settings,
            model=ModelRecord.of(scorer),
            files={name: file_sha256(path) for name, path in taken_files(settings.attack).items()},
            retry=retry,
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read run.toml; RunError if it is invalid."""
        return cls._parsed(path, lambda: read_text(path))

    @classmethod
    def parse(cls, text: str, path: Path) -> Self:
        """Parse a record that is stored in another file; errors as in `read`."""
        return cls._parsed(path, lambda: text)

    @classmethod
    def _parsed(cls, path: Path, read: Callable[[], str]) -> Self:
        try:
            values = tomllib.loads(read())
            _refuse_odd_text(values)
            if (there := values.get("format", FORMAT)) != FORMAT or type(there) is not int:
                raise RunError(f"{path}: run format {printable(str(there))}, expected {FORMAT}")
            text = json.dumps(
                values, default=str
            )  # JSON mode, in which lists are tuples, and true is not a number
            return cls.model_validate_json(text, strict=True, context=STORED)
        except ValidationError as error:
            reason = _first_of(error)
        except (OSError, ValueError) as error:
            reason = printable(" ".join(str(error).split()))
        except RecursionError:
            reason = "it is nested too deeply"
        raise RunError(
            f"{path}: cannot be read as a run's settings ({reason}); check the file, "
            "or use another folder"
        )

    @property
    def model_spec(self) -> str:
        """The model's spec, with the absolute path of its file."""
        spec, weights = self.settings.model, self.model.weights
        if weights is None or not Path(weights).is_file():
            return spec
        part = next((part for part in _parts(spec) if part and weights.endswith(part)), weights)
        return spec.replace(part, weights)

    def _same_spec(self, other: Record) -> bool:
        """Whether the models' specs agree except for paths and names of files, whose contents are
        compared separately.
        """
        (names, hashes), (other_names, other_hashes) = self._specs(), other._specs()
        return names == other_names or hashes == other_hashes

    def _specs(self) -> tuple[str, str]:
        """The model's spec with its files replaced by names, and by hashes."""
        by_name = by_hash = self.model_spec
        files = self.model.files or {self.model.weights or "": self.model.sha256 or ""}
        for path, digest in files.items():
            by_name = by_name.replace(path, Path(path).name) if path else by_name
            by_hash = by_hash.replace(path, digest) if path else by_hash
        return by_name, by_hash

    def text(self) -> str:
        """The record as TOML, without values that are None."""
        values = self.model_dump(mode="json", exclude_none=True)
        if not self.changes:
            del values["changes"]  # which earlier versions do not know
        if not self.losses:
            del values["losses"]
        if not self.settings.compile:
            del values["settings"]["compile"]  # likewise
        if not self.model.drawn:
            del values["model"]["drawn"]
        return tomli_w.dumps(values)

    def difference(self, other: Record, *, files: bool = True) -> str | None:
        """The first setting, or property of the model, that differs: 'NAME is A there, B here'.

        files: whether the contents of the model's files count.
        """
        for name in Settings.model_fields:
            old, new = getattr(self.settings, name), getattr(other.settings, name)
            if name == "model" and self._same_spec(other):
                continue
            if old != new and name != "check":  # the resumed run's setting applies
                return f"{name} is {_show(old)} there, {_show(new)} here"
        for name, old, new in self.model.differing(other.model):
            return f"model's {name} is {_show(old)} there, {_show(new)} here"
        file = self.model.changed(other.model)
        if file is not None and files:
            return f"the model's file {file} has other contents here than there"
        changed = dict(self.files.items() ^ other.files.items())
        return f"{min(changed)} has other contents here than there" if changed else None


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, or of all images in a folder."""
    files = [path] if path.is_file() else [entry.path for entry in ImageSet.from_folder(path)]
    digest = hashlib.sha256()
    for file in files:
        feed(digest, file)
    return digest.hexdigest()


def versions_here() -> dict[str, str]:
    """Versions on which scores and pixels may depend: libraries, Python, and the kind of
    machine."""
    return {
        "iqattack": __version__,
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        **{name: metadata.version(name) for name in ("scipy", "pillow", "scikit-image")},
        "opencv": cv2.__version__,
        **{
            name: metadata.version(name)
            for name in OF_MODELS
            if name in sys.modules and name not in brought_along
        },
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
    }


def _refuse_odd_text(value: Any) -> None:
    """Raise ValueError if a text, or a name, in a run.toml would not stay on its line."""
    if isinstance(value, dict):
        for name in value:
            _refuse_odd_text(name)
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            _refuse_odd_text(part)
    if isinstance(value, str) and not is_line(value):
        raise ValueError(f"{value!a}: expected printable text")


def _show(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "not given" if value is None else str(value)


def _first_of(error: ValidationError) -> str:
    first = error.errors()[0]
    place, reason = first_fault(error)
    # If a value is missing, the input is the whole parent.
    value = "" if first["type"] == "missing" else f" {first['input']!r}"
    return f"{place}{value}: {reason}"


def _parts(spec: str) -> list[str]:
    """Parts that may be files in a spec before version 0.2: cnniqa:FILE, FILE.py:f, …path=FILE."""
    argument = spec.partition(":")[2]
    # The whole first: paths such as lr=0.1/best.pth contain the separators of options.
    return [argument, spec.rpartition(":")[0], *re.split("[,=]", argument)]
