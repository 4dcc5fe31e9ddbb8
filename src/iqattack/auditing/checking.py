"""Whether a card agrees with its runs, both of which may be untrusted.

Nothing that a submission names is imported, started or connected to. Clean images of the sample set
are made here, and others must be given: paths in a submitted run are not read.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import random
import re
import stat
import tempfile
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import islice, product
from pathlib import Path, PurePath
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict
from torch import Tensor

from iqattack.auditing.audit import AUDIT, CARD, PICTURES, VERIFIED, folder_of
from iqattack.auditing.card import Card
from iqattack.auditing.from_runs import Done, card_of
from iqattack.auditing.parsing import field_and_reason
from iqattack.auditing.replayed import FailedAt, replayed
from iqattack.auditing.same_way import other_ways, too_tolerant
from iqattack.auditing.soundness import faults, implausible
from iqattack.auditing.suite import Attempt, Suite, bundled, digest_of, read_suite
from iqattack.defences import parse_defence, read_label
from iqattack.defences.naming import is_built_in, parts_of
from iqattack.errors import InputError, IqattackError, RunError
from iqattack.images import ImageSet, read_image
from iqattack.images.files import LARGEST_IMAGE
from iqattack.models import BY, ModelFailedError, Scorer, bare_spec, split_spec
from iqattack.perception import Viewing
from iqattack.runs import Meter, ModelRecord, Record, Run, Summary, verify
from iqattack.runs.files import MOST_BYTES, read_json, read_text
from iqattack.runs.numbers import without_folders
from iqattack.runs.owner import is_own
from iqattack.runs.run import LOG, CheckedState
from iqattack.runs.settings import versions_here
from iqattack.runs.verify import NOT_LOGGED, NOT_REPEATED, TOLERANCE, UNSEEN, reported, scores_of
from iqattack.samples import MOS, write_samples
from iqattack.scoring import DEFAULT_RETRY, InProcess, Retry
from iqattack.specs import is_line, printable
from iqattack.version import __version__

Level = Literal["card", "files", "model"]
State = Literal["refuted", "not verified", "note"]
LEVELS: tuple[Level, ...] = ("card", "files", "model")
RUNS = "runs"
FAMILIES = {"builtin", "cnniqa", "pyiqa", "onnx"}  # models whose names begin like their specs
SUMMED = (
    "numpy",
    "opencv",
    "pillow",
    "scikit-image",
)  # on which the pixels of the sample set depend
LARGEST_LOG = 2**34  # bytes
MOST_FILES = 500_000
MOST_RUNS = 10_000
SHOWN = 5  # most fields of a card, and differences of a run, to name
_ID = re.compile(r"([a-z][a-z0-9]*)-v([1-9][0-9]{0,8})")


class Finding(BaseModel):
    """Something that is refuted, could not be verified, or is worth knowing, on one line.

    where: a file or folder beneath the submission, or `model`. level: the level that it concerns:
    something not verified at level `model` does not affect the files. unranked: whether a
    leaderboard lists the card without a rank because of it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    state: State
    where: str
    what: str
    level: Level = "files"
    unranked: bool = False

    def __str__(self) -> str:
        return f"{self.state}: {self.where}: {self.what}"


class CardCheck(BaseModel):
    """The result of checking one submission.

    submission: its name, without the folders above it. sha256: of card.json. wanted: the requested
    level; level: the level reached: `card` if nothing is verified, `files` if the card follows from
    the runs, which agree with their logs, attacks and pictures, `model` if the model was also
    queried again. images: number of checked images, over all runs; scored: number of repeated
    scores; sampled: the images that the model scored again, out of `pictures`, None for all.
    tolerance: of scores, as a fraction of the score range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: Literal[1] = 1
    iqattack: str = __version__
    submission: str
    model: str
    suite: str
    sha256: str
    wanted: Level
    level: Level
    images: int = 0
    scored: int = 0
    sampled: tuple[str, ...] | None = None
    pictures: int = 0
    tolerance: float = TOLERANCE
    findings: tuple[Finding, ...] = ()

    @property
    def outcome(self) -> Literal["holds", "refuted", "not verified"]:
        """Refuted if one finding is; otherwise, whether the requested level is reached."""
        if any(finding.state == "refuted" for finding in self.findings):
            return "refuted"
        reached = LEVELS.index(self.level) >= LEVELS.index(self.wanted)
        return "holds" if reached else "not verified"

    @property
    def exit_status(self) -> int:
        """0 if it holds, 1 if it is refuted, 2 if it could not be verified."""
        return {"holds": 0, "refuted": 1, "not verified": 2}[self.outcome]

    def of(self, state: State) -> list[Finding]:
        """The findings of one state."""
        return [finding for finding in self.findings if finding.state == state]


class CardChecks(BaseModel):
    """`check.json`: the checks of one or more submissions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    checks: tuple[CardCheck, ...]


@dataclass(frozen=True)
class Asking:
    """How a model is queried again. load: returns it, once, according to the first run's record;
    sample: number of images of each run to score, None for all; tolerance, retry: see `verify`.
    input, compile, autocast: how the model is run here, as in run.toml.
    """

    load: Callable[[Record], Scorer]
    sample: int | None = None
    tolerance: float = TOLERANCE
    retry: Retry = DEFAULT_RETRY
    input: str | None = None
    compile: bool = False
    autocast: str | None = None


class NoCardError(InputError):
    """A submission has no card."""


def read_checks(path: str | Path) -> list[CardCheck]:
    """Read the checks in a file that `iqattack check --json` wrote; InputError for any other
    file."""
    file = Path(path)
    try:
        return list(CardChecks.model_validate_json(read_text(file)).checks)
    except (OSError, ValueError) as error:
        reason = _reason(error)
        raise InputError(
            f"{file}: has no checks ({reason}); give a file that 'iqattack check --json' wrote"
        ) from None


def check_card(
    path: str | Path,
    asking: Asking | None = None,
    *,
    suite: Suite | None = None,
    images: Mapping[str, Path] | None = None,
    progress: Callable[[int, int], None] = lambda *_: None,
    note: Callable[[str], None] = lambda _phrase: None,
) -> CardCheck:
    """Compare a card with the runs beside it, and these with their logs and pictures.

    path: of a submission, a folder that `iqattack audit` wrote, or of a card. asking: how to query
    its model again; None for only the checks that need no model. suite: of the card, if it is not
    in the package. images: clean images by name, if the audit did not use the sample set. progress:
    called with (images checked, images) of a run; note: with the next step.

    Raises NoCardError if there is no card.
    """
    given = Path(path)
    file = given / CARD if given.is_dir() else given
    try:
        text = read_text(file)
        card = Card.model_validate_json(text)
    except (OSError, ValueError) as error:
        reason = _reason(error)
        raise NoCardError(
            f"{file}: is not a card ({reason}); give one that 'iqattack audit' wrote"
        ) from None
    found = _Found()
    folder = file.parent
    possible = not found.refute_all((CARD, what) for what in faults(card))
    if possible:
        _note_unranked(card, found)
        if file.name != CARD or not (folder / RUNS).is_dir():
            _suite_of(card, suite, found)
            found.open(file.name, "its runs are not beside it, so nothing can be verified")
        elif not found.refute_all(_odd_files(folder)):
            with _Submission.opened(folder, card, suite, images, found) as submission:
                submission.check(asking, progress, note)
    level = found.level(asked=asking is not None)
    if possible and level == "card":
        for what in implausible(card):
            found.open(CARD, what)
    return CardCheck(
        submission=printable(file.absolute().parent.name if file.name == CARD else file.name),
        model=card.model.name,
        suite=card.suite.id,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        wanted="files" if asking is None else "model",
        level=level,
        images=found.images,
        scored=found.scored,
        sampled=found.sampled,
        pictures=found.pictures,
        tolerance=TOLERANCE if asking is None else asking.tolerance,
        findings=tuple(found.findings),
    )


@dataclass
class _Found:
    """The findings so far."""

    findings: list[Finding] = field(default_factory=list)
    images: int = 0
    scored: int = 0
    sampled: tuple[str, ...] | None = None
    pictures: int = 0

    def _add(
        self, state: State, where: str, what: str, level: Level, *, unranked: bool = False
    ) -> None:
        text = " ".join(printable(what).split())
        finding = Finding(
            state=state, where=printable(where), what=text, level=level, unranked=unranked
        )
        if finding not in self.findings:
            self.findings.append(finding)

    def refute(self, where: str, what: str) -> None:
        self._add("refuted", where, what, "files")

    def open(self, where: str, what: str, level: Level = "files") -> None:
        """Record something that could not be verified."""
        self._add("not verified", where, what, level)

    def note(self, where: str, what: str, *, unranked: bool = False) -> None:
        self._add("note", where, what, "files", unranked=unranked)

    def refute_all(self, refuted: Iterable[tuple[str, str]]) -> bool:
        """Refute each (where, what); returns whether there were any."""
        before = len(self.findings)
        for where, what in refuted:
            self.refute(where, what)
        return len(self.findings) > before

    @property
    def refuted(self) -> bool:
        return any(finding.state == "refuted" for finding in self.findings)

    def level(self, *, asked: bool) -> Level:
        """The level reached."""
        unsettled = {f.level for f in self.findings if f.state != "note"}
        if self.refuted or "files" in unsettled:
            return "card"
        return "model" if asked and not unsettled and self.scored else "files"


# -- what may be in a submission ------------------------------------------------------------------


def _odd_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Links, devices, oversized files and unprintable names, found before any file is read."""
    todo, count = [folder / name for name in (CARD, AUDIT, VERIFIED, PICTURES, RUNS)], 0
    while todo:
        path = todo.pop()
        where = path.relative_to(folder).as_posix()
        try:
            found = path.lstat()
        except OSError:
            continue
        count += 1
        if count > MOST_FILES:
            yield folder.name, f"has more than {MOST_FILES:,} files"
            return
        if not is_line(where):
            yield where, "has an unprintable name"
        elif stat.S_ISDIR(found.st_mode):
            with os.scandir(path) as inside:
                todo += [Path(one.path) for one in islice(inside, MOST_FILES)]
        elif not stat.S_ISREG(found.st_mode):
            what = "a link" if stat.S_ISLNK(found.st_mode) else "not a regular file"
            yield where, f"is {what}, which submissions must not contain"
        elif found.st_size > (most := _most_bytes(path.name)):
            yield where, f"has {found.st_size:,} bytes, expected at most {most:,}"


def _most_bytes(name: str) -> int:
    if name.startswith(LOG):
        return LARGEST_LOG
    return MOST_BYTES if name.endswith((".json", ".toml", ".csv", ".end")) else LARGEST_IMAGE


def _inside(folder: Path, name: str) -> Path | None:
    """A file in a folder, by an untrusted name; None for one outside, or a link."""
    pure = PurePath(name)
    if pure.is_absolute() or ".." in pure.parts or "\0" in name:
        return None
    path = folder
    for part in pure.parts:
        path = path / part
        if path.is_symlink():
            return None
    return path if path.is_file() else None


class _Placed(Run):
    """A run for reading, whose clean images `find` locates by name.

    What the run reports is taken as given: `verify` compares it with the pictures.
    """

    find: Callable[[str], Path | None] = staticmethod(lambda _name: None)

    @classmethod
    def at(cls, folder: Path, mos: Path | None) -> Self:
        """Open a run of a submission. mos: its table of opinion scores on this machine, if any."""
        run = cls.open(folder)
        run.absent, run._paths, run._checked, run._mos = set(), {}, None, mos
        return run

    absent: set[str]  # messages on missing clean images
    _paths: dict[str, str]
    _checked: CheckedState | None
    _mos: Path | None

    @property
    def mos_table(self) -> Path | None:
        """See `Run`."""
        return None if self.settings.mos is None else self._mos

    def checked_state(self, *, pictures: bool = True) -> CheckedState:  # noqa: ARG002
        """See `Run`; without pictures, and cached."""
        if self._checked is None:
            self._checked = super().checked_state(pictures=False)
        return self._checked

    def read_clean(self, path: str | Path) -> Tensor:
        """The clean image of the name with this path in the log; InputError if it is missing."""
        if not self._paths:
            self._paths = {row.path: row.image for row in self.state()[0] if row.path}
        name = self._paths.get(str(path), "")
        file = self.find(name)
        if file is None:
            what = f"{name}: its clean image is missing; give it with --images"
            self.absent.add(what)
            raise InputError(what)
        return super().read_clean(file)


# -- the check of one submission ------------------------------------------------------------------


@dataclass
class _Submission:
    """A folder with a card and its runs.

    suite: of the card; None if unknown. samples: the files of the sample set made here, by name;
    None for an audit of other images.
    """

    folder: Path
    card: Card
    suite: Suite | None
    images: Mapping[str, Path]
    samples: dict[str, Path] | None
    audit: dict[str, Any]
    found: _Found
    odd_samples: set[str] = field(default_factory=set)  # samples that differ from the set made here

    @classmethod
    @contextmanager
    def opened(
        cls,
        folder: Path,
        card: Card,
        suite: Suite | None,
        images: Mapping[str, Path] | None,
        found: _Found,
    ) -> Iterator[_Submission]:
        audit = _read_audit(folder, card, found)
        known = _suite_of(card, suite, found)
        listed = "images" in audit if audit else not (folder / PICTURES / MOS).is_file()
        if listed:
            yield cls(folder, card, known, images or {}, None, audit, found)
            return
        with tempfile.TemporaryDirectory() as made:
            names = write_samples(Path(made))
            samples = {name: Path(made) / name for name in names}
            yield cls(folder, card, known, images or {}, samples, audit, found)

    def check(
        self,
        asking: Asking | None,
        progress: Callable[[int, int], None],
        note: Callable[[str], None],
    ) -> None:
        """Check everything."""
        runs = self._runs()
        if not runs:
            self.found.open(CARD, "it has no runs, so nothing can be verified")
            return
        self._check_settings(runs)
        whole = self._check_same(runs)
        for run in runs.values():
            self._place(run)
        scorer = None if asking is None else self._loaded(asking, runs)
        only = self._sample(asking, runs) if scorer is not None else None
        for number, (name, run) in enumerate(runs.items(), 1):
            note(f"{number} of {len(runs)}: {name}")
            whole &= self._verify(name, run, scorer, asking, only, progress)
            if not self.found.refuted:
                failed = self._replay(name, run, progress)
                if scorer is not None and asking is not None:
                    self._ask_about(name, failed, scorer, asking)
        if whole:
            note("its card")
            self._rebuild(runs)
        self._notes()

    # -- the runs and their settings

    def _runs(self) -> dict[str, _Placed]:
        """The runs by folder, in the order of the card or the suite."""
        there = {path.name for path in islice((self.folder / RUNS).iterdir(), MOST_RUNS)
                 if path.is_dir()}  # fmt: skip
        if self.suite is not None:
            pairs = product(self.suite.attempts, self.suite.seeds)
            wanted = [folder_of(k, attempt, seed) for k, (attempt, seed) in enumerate(pairs, 1)]
        else:
            wanted = [record.folder.rpartition("/")[2] for record in self.card.runs]
        for name in wanted:
            if name not in there:
                self.found.refute(
                    f"{RUNS}/{name}", "is missing, although the card includes this run"
                )
        for name in sorted(there - set(wanted)):
            self.found.refute(f"{RUNS}/{name}", "is not a run of the suite")
        runs = {}
        mos = None
        if self.samples is not None:
            mos = next(iter(self.samples.values())).parent / MOS
        for name in dict.fromkeys(wanted):
            if name in there:
                path = self.folder / RUNS / name
                try:
                    own = mos if self.samples is not None else _own_mos(path)
                    runs[f"{RUNS}/{name}"] = _Placed.at(path, own)
                except IqattackError as error:  # perhaps about an unknown setting
                    self._say(f"{RUNS}/{name}", path, error)
        return runs

    def _say(self, where: str, folder: Path, error: IqattackError) -> None:
        """Refute a run because of a reading error, whose message begins with its folder."""
        text = str(error)
        for prefix in (f"{folder}: ", f"{folder}{os.sep}"):
            text = text.removeprefix(prefix)
        self.found.refute(where, self._plain(text))

    def _plain(self, text: str) -> str:
        """A message with paths relative to the submission's folder."""
        folder = re.escape(f"{self.folder}{os.sep}")
        return re.sub(rf"(?<![^\s:;,('\"]){folder}", "", text)

    def _check_settings(self, runs: Mapping[str, _Placed]) -> None:
        """Check that each run has the settings of the suite."""
        for where, run in runs.items():
            settings = run.settings
            for name in ("floor", "budget_total", "shard"):
                if getattr(settings, name) is not None:
                    text = f"{name} is {getattr(settings, name)}, which no suite sets"
                    self.found.refute(where, text)
            self._check_named(where, run)
        self._note_settings(runs)
        if self.suite is None:
            self._check_claimed(runs)
            return
        expected = product(self.suite.attempts, self.suite.seeds)
        folders = {
            f"{RUNS}/{folder_of(k, attempt, seed)}": (attempt, seed)
            for k, (attempt, seed) in enumerate(expected, 1)
        }
        for where, run in runs.items():
            attempt, seed = folders[where]
            settings, suite = run.settings, self.suite
            for name, here, wanted in (
                ("attack", without_folders(settings.attack), attempt.label),
                ("constraint", settings.constraint, attempt.constraint),
                ("seed", settings.seed, seed),
                ("budget", settings.queries, suite.budgets[-1]),
                ("objective", settings.objective, suite.objective),
            ):
                if here != wanted:
                    self.found.refute(where, f"{name} is {here}, but {wanted} in {suite.id}")
            if suite.limit is not None and (settings.limit or suite.limit + 1) > suite.limit:
                limit = "all images" if settings.limit is None else f"{settings.limit} images"
                self.found.refute(where, f"uses {limit}, but {suite.id} the first {suite.limit}")
            if suite.limit != settings.limit is not None:
                self.found.note(where, f"uses only the first {settings.limit} images")
            files = dict(attempt.content.get("files", {}))  # type: ignore[call-overload]
            for name, digest in files.items():
                if run.record.files.get(name) != digest:
                    self.found.refute(where, f"{name} of its attack differs from the file here")

    def _check_named(self, where: str, run: _Placed) -> None:
        """Check that the model's name follows from its spec."""
        spec, name = run.settings.model, run.model.name
        bare, _, defence = name.partition(BY)
        try:
            parts = split_spec(spec)
            expected = "" if parts is None else read_label(parts[0])
        except IqattackError as error:
            self.found.refute(where, f"model: {error}")
            return
        if spec == name:  # of a Python object, which has no other spec
            expected = defence
        if defence != expected:
            said = f"is defended by {expected}" if expected else "has no defence"
            self.found.refute(where, f"model is called {name}, but {spec} {said}")
            return
        if not run.model.drawn and _draws(defence):
            self.found.refute(where, f"its model is called {name}, but is not said to be random")
        kind, named = bare_spec(spec).partition(":")[0], bare.partition(":")[0]
        other = kind != named and not FAMILIES.isdisjoint((kind, named))
        if other or (kind == "pyiqa" and bare != bare_spec(spec).partition(",")[0]):
            self.found.refute(where, f"model is called {name}, but its spec is {spec}")

    def _note_settings(self, runs: Mapping[str, _Placed]) -> None:
        """Note settings that no suite has."""
        given = [run.settings for run in runs.values()]
        for name in ("input", "convert", "resize", "autocast", "compile"):
            values = {getattr(settings, name) for settings in given} - {None, False}
            for value in sorted(values, key=str):
                what = name if value is True else f"{name} {value}"
                self.found.note(
                    "model", f"was run with {what}, which is not a setting of the suite"
                )
        if not all(settings.check for settings in given):
            self.found.note("model", "was not checked before the attacks (check = false)")
        ranges = sorted({s.score_range for s in given if s.score_range is not None})
        for low, high in ranges:
            what = f"its score range, {low:g} to {high:g}, was given by whoever ran the audit"
            self.found.note("model", what, unranked=True)
        for lower in sorted({s.lower_better for s in given if s.lower_better is not None}):
            better = "lower" if lower else "higher"
            what = f"its direction, {better} is better, was given by whoever ran the audit"
            self.found.note("model", what, unranked=True)

    def _check_claimed(self, runs: Mapping[str, _Placed]) -> None:
        """For a suite that is not available, check that the settings of the runs have its
        digest."""
        card, records = self.card, {record.folder: record for record in self.card.runs}
        for where, run in runs.items():
            record, settings = records.get(where), run.settings
            if record is None:
                continue
            for name, here, wanted in (
                ("attack", without_folders(settings.attack), record.attack),
                ("constraint", settings.constraint, record.constraint),
                ("seed", settings.seed, record.seed),
                ("budget", settings.queries, max(card.budgets, default=0)),
            ):
                if here != wanted:
                    self.found.refute(where, f"{name} is {here}, but {wanted} on the card")
        if not _has_digest(card, [run.record for run in runs.values()]):
            self.found.open(
                CARD,
                f"suite {card.suite.id} is not available, and the settings of the runs do not have "
                "its digest; give its file with --suite",
            )

    def _check_same(self, runs: Mapping[str, _Placed]) -> bool:
        """Check that all runs share one model and one set of images; returns whether a card can be
        made."""
        (_, first), before = next(iter(runs.items())), len(self.found.findings)
        try:
            names = first.image_names()
            for where, run in runs.items():
                for name, here, there in run.model.differing(first.model):
                    self.found.refute(where, f"model's {name} is {here}, but {there} before")
                if run.model.hashes != first.model.hashes:
                    self.found.refute(where, "has another model than the runs before it")
                if run.image_names() != names:
                    self.found.refute(where, "has other images than the runs before it")
        except IqattackError as error:
            self._say(RUNS, self.folder / RUNS, error)
        if self.samples is not None and len(self.found.findings) == before:
            expected = list(self.samples)[: first.settings.limit]
            if names != expected:
                self.found.refute(
                    RUNS,
                    f"their {len(names)} images are not the {len(expected)} images of the "
                    "sample set",
                )
        return len(self.found.findings) == before and not any(
            f.what.startswith("is missing") for f in self.found.findings
        )

    # -- pictures

    def _place(self, run: _Placed) -> None:
        """Locate its clean images: made here, given, in the submission, or at the paths of the
        user's own run.
        """
        own = is_own(run.home / "run.toml")
        try:
            rows = {row.image: row for row in run.state()[0]}
        except IqattackError:
            rows = {}  # reported where it is verified

        attacked_at = cache(partial(_attacked_at, run))

        def find(name: str) -> Path | None:
            if self.samples is not None and name in self.samples and name not in self.odd_samples:
                return self.samples[name]
            given = self.images.get(name) or _inside(self.folder / PICTURES, name)
            if given is not None:
                return given
            if not own or name not in rows:
                return None
            path = Path(rows[name].path) if rows[name].path else attacked_at().get(name)
            return path if path is not None and path.is_file() else None

        run.find = find
        if self.samples is None:
            return
        versions = run.record.versions
        here = versions_here()
        other = [name for name in SUMMED if versions.get(name) != here[name]]
        for name, row in rows.items():
            if name not in self.samples or row.failed or row.sha256 is None:
                continue
            if row.is_of(_pixels(self.samples[name])):
                continue
            self.odd_samples.add(name)
            if other:
                self.found.open(
                    f"{PICTURES}/{name}",
                    "differs from the picture of the sample set made here with another version of "
                    f"{', '.join(other)}",
                )
            else:
                self.found.refute(f"{PICTURES}/{name}", "is not the picture of the sample set")

    # -- scores

    def _loaded(self, asking: Asking, runs: Mapping[str, _Placed]) -> Scorer | None:
        """The given model, if it is that of the runs."""
        first = next(iter(runs.values()))
        if not self._as_asked(asking, runs):
            return None
        scorer = asking.load(first.record)
        here = ModelRecord.of(scorer)
        if here.drawn != first.model.drawn:
            what = "is random" if here.drawn else "is not random"
            self.found.refute("model", f"{what}, but the runs say otherwise")
            return None
        for name, now, there in here.differing(first.model):
            what = f"{name} is {now}, but {there} in the runs; give that model"
            self.found.open("model", what, "model")
            return None
        file = first.model.changed(here)
        if file is not None:
            what = f"{PurePath(file).name} differs from the file of the runs"
            self.found.open("model", what, "model")
            return None
        if not here.hashes:
            self.found.note("model", "depends on no file, so only its name is compared")
        return scorer

    def _as_asked(self, asking: Asking, runs: Mapping[str, _Placed]) -> bool:
        """Whether the model is run in the same way as in the runs."""
        other = list(other_ways(asking, [run.settings for run in runs.values()]))
        for what in (*other, *too_tolerant(asking)):
            self.found.open("model", what, "model")
        return not other

    def _sample(self, asking: Asking | None, runs: Mapping[str, _Placed]) -> set[str] | None:
        """Images to score again, drawn at random, so that nobody can predict them."""
        if asking is None or asking.sample is None:
            return None
        names: dict[str, None] = {}
        for run in runs.values():
            try:
                names |= dict.fromkeys(row.image for row in run.state()[0] if not row.failed)
            except IqattackError:
                continue  # reported where it is verified
        self.found.pictures = len(names)
        drawn = random.SystemRandom().sample(list(names), min(asking.sample, len(names)))
        if len(drawn) < len(names):
            self.found.sampled = tuple(sorted(drawn))
            self.found.note("model", f"scored {len(drawn)} of {len(names)} images again")
        return set(drawn)

    def _verify(
        self,
        where: str,
        run: _Placed,
        scorer: Scorer | None,
        asking: Asking | None,
        only: set[str] | None,
        progress: Callable[[int, int], None],
    ) -> bool:
        """Verify one run; returns whether a card can be made from it."""
        sound, asked = True, scorer
        if not (run.home / "summary.json").is_file():
            self.found.open(where, "summary.json is missing from the submission")
        try:
            run.checked_state()
        except IqattackError as error:
            self._say(where, run.folder, error)
            sound, asked = False, None
        how = asking or Asking(load=_no_model)
        try:
            result = verify(
                run,
                asked,
                tolerance=how.tolerance,
                retry=how.retry,
                only=only,
                progress=progress,
            )
        except IqattackError as error:
            if sound and asked is not None and not isinstance(error, RunError):
                raise  # a failure of the model
            self._say(where, run.folder, error)
            return False
        self.found.images += result.checked
        self.found.scored += result.scored or 0
        wrong = [d for d in result.differences if d.what not in run.absent]
        # First pictures that differ, since everything else follows from them.
        wrong.sort(key=lambda difference: not difference.what.endswith(NOT_LOGGED))
        for difference in wrong[:SHOWN]:
            self.found.refute(where, self._plain(str(difference)))
        if len(wrong) > SHOWN:
            self.found.refute(where, f"and {len(wrong) - SHOWN} more differences")
        if run.absent:
            self.found.open(
                where,
                f"{len(run.absent)} clean images are missing, such as {min(run.absent)}",
            )
        for phrase in result.notes:
            if phrase == NOT_REPEATED:  # no rank depends on them
                self.found.note(where, phrase)
            elif not phrase.startswith(UNSEEN):  # `_notes` handles JOD on the card
                self.found.open(where, phrase)
        if result.pending:
            self.found.refute(where, f"{result.pending} images are pending")
            return False
        if scorer is not None and only is None and (result.scored or 0) < 2 * result.checked:
            what = f"{result.scored or 0} of {2 * result.checked} scores were repeated"
            self.found.open(where, what, "model")
        return sound

    def _replay(
        self, where: str, run: _Placed, progress: Callable[[int, int], None]
    ) -> list[FailedAt]:
        """Check that the search of a run is that of its attack; return what the model failed on."""
        failed: list[FailedAt] = []
        attack = None
        if self.suite is not None:
            pairs = enumerate(product(self.suite.attempts, self.suite.seeds), 1)
            attack = next(
                attempt.attack
                for number, (attempt, seed) in pairs
                if where == f"{RUNS}/{folder_of(number, attempt, seed)}"
            )
        for state, what in replayed(run, run.find, attack, progress, failed.append):
            say = self.found.refute if state == "refuted" else self.found.open
            say(where, self._plain(what))
        return failed

    def _ask_about(
        self, where: str, failed: Sequence[FailedAt], scorer: Scorer, asking: Asking
    ) -> None:
        """Whether the model fails on what it is said to have failed on: a query each."""
        scored = []
        with closing(InProcess(scorer, batch=1, retry=asking.retry)) as pool:
            for one in failed:
                try:
                    (score,) = scores_of(pool, one.picture)
                except ModelFailedError as error:
                    if error.transient:
                        raise  # which says nothing of what was asked
                    continue
                except InputError:
                    continue
                # A clean image whose score is not finite has failed; another query gained nothing.
                if one.query or math.isfinite(score):
                    scored.append(f"query {one.query + 1} of {one.image}")
        if scored:
            self.found.open(
                where,
                f"the model is said to have failed on {len(scored)} images, and answers what it "
                f"failed on, such as {scored[0]}; resume the audit, which tries them again",
                "model",
            )

    # -- the card

    def _rebuild(self, runs: Mapping[str, _Placed]) -> None:
        """Compute the card from the runs again, and compare."""
        card, verified = self.card, self._verified()
        suite = self.suite or _Claimed.of(card, [run.record for run in runs.values()])
        try:
            done = [
                Done(
                    run,
                    self._summary(run),
                    without_folders(run.settings.attack),
                    run.settings.constraint,
                    run.settings.seed,
                    verified.get(hashlib.sha256(_bytes(run, "results.csv")).hexdigest()),
                )
                for run in runs.values()
            ]
            made = card_of(suite, done, fresh=any(run.fresh for run in card.runs))
        except (IqattackError, OSError) as error:
            text = self._plain(str(error))
            self.found.refute(CARD, f"no card can be made from the runs: {text}")
            return
        self._check_version(runs)
        there = dict(_leaves(card.model_dump(mode="json", exclude={"iqattack"})))
        here = dict(_leaves(made.model_dump(mode="json", exclude={"iqattack"})))
        wrong = [
            name
            for name in dict.fromkeys((*here, *there))
            if name not in there or name not in here or not _same(there[name], here[name])
        ]
        say = self.found.refute if card.iqattack == __version__ else self.found.open
        for name in wrong[:SHOWN]:
            says, follows = (printable(json.dumps(x.get(name), ensure_ascii=False))
                             for x in (there, here))  # fmt: skip
            say(CARD, f"{name} is {says}, but {follows} follows from the runs")
        if len(wrong) > SHOWN:
            say(CARD, f"and {len(wrong) - SHOWN} more fields differ")
        if wrong and card.iqattack != __version__:
            self.found.open(
                CARD,
                f"was written by iqattack {card.iqattack}, whose measures may differ from those of "
                f"{__version__}; check it with that version",
            )

    def _summary(self, run: _Placed) -> Summary:
        results, pending, _ = run.checked_state()  # with notes that `verify` reports
        return run.summary_of(CheckedState(reported(run, results), pending), None)

    def _check_version(self, runs: Mapping[str, _Placed]) -> None:
        """Check that the version on the card is that of a run, or this one."""
        versions = {run.record.versions.get("iqattack", "") for run in runs.values()}
        if self.card.iqattack not in versions:
            made = ", ".join(sorted(versions))
            self.found.open(
                CARD, f"iqattack is {self.card.iqattack}, but the runs were begun by {made}"
            )

    def _verified(self) -> dict[str, bool]:
        """The audit's record of verified runs, by the digest of results.csv."""
        try:
            kept = read_json(read_text(self.folder / VERIFIED))
        except (OSError, ValueError):
            return {}
        if not isinstance(kept, dict):
            return {}
        return {name: value for name, value in kept.items() if isinstance(value, bool)}

    def _notes(self) -> None:
        """What was not measured again of a card that holds."""
        if any(seen.jod is not None for seen in self.card.seen):
            missing = Meter(Viewing.of())
            if missing.jod is None:
                self.found.open(CARD, f"JOD was not measured again: {missing.missing}")


def _attacked_at(run: Run) -> dict[str, Path]:
    """Where the images of a run of this user's lie, by name: a row of a failed one does not say."""
    try:
        return {entry.name: entry.path for entry in ImageSet.from_spec(run.settings.images)}
    except InputError:
        return {}


def _note_unranked(card: Card, found: _Found) -> None:
    """Note why a card that may well hold says too little to be ranked."""
    for record in card.runs:
        if record.verified is False:
            what = "was not as reported when the audit verified it"
            found.note(record.folder, what, unranked=True)
    if (why := card.silence) is not None:
        found.note(CARD, f"nothing can be said about robustness: {why}", unranked=True)
    if card.model.drawn:
        what = "its defence is random: the best of many queries is partly luck"
        found.note(CARD, what, unranked=True)
    images = card.images
    for number, what in (
        (images.count - images.attacked, "were not attacked"),
        (images.partly, "failed with some attacks"),
    ):
        if number:
            found.note(CARD, f"{number} of {images.count} images {what}", unranked=True)


def _draws(label: str) -> bool:
    """Whether a defence that ships with the package draws at random; nothing else is imported."""
    for part in filter(is_built_in, parts_of(label)):
        with suppress(InputError):
            if parse_defence(part).random:
                return True
    return False


def _reason(error: Exception) -> str:
    """Why something cannot be read, on one line."""
    return getattr(error, "strerror", None) or field_and_reason(error)


def _no_model(_record: Record) -> Scorer:
    raise InputError("no model was given")


def _pixels(path: Path) -> Tensor:
    return read_image(path).pixels


def _bytes(run: Run, name: str) -> bytes:
    return (run.home / name).read_bytes()


def _own_mos(folder: Path) -> Path | None:
    """The table of opinion scores of a run that this user began."""
    file = folder / "run.toml"
    try:
        mos = Record.read(file).settings.mos if file.is_file() and is_own(file) else None
    except IqattackError:
        return None  # which is reported where the run is read
    return None if mos is None else Path(mos)


def _read_audit(folder: Path, card: Card, found: _Found) -> dict[str, Any]:
    """Read audit.toml, and compare it with the card."""
    try:
        kept = tomllib.loads(read_text(folder / AUDIT))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        found.open(AUDIT, f"cannot be read ({reason}); restore it")
        return {}
    for name, value in (("suite", card.suite.id), ("digest", card.suite.digest)):
        if kept.get(name) != value:
            found.refute(AUDIT, f"{name} is {kept.get(name, 'not given')}, but {value} on the card")
    return kept


def _suite_of(card: Card, given: Suite | None, found: _Found) -> Suite | None:
    """The suite of a card; None if it is not available."""
    match, known = _ID.fullmatch(card.suite.id), bundled()
    suite = given if given is not None and given.id == card.suite.id else None
    if match is not None and match[1] in known:
        if int(match[2]) not in known[match[1]]:
            found.open(CARD, f"suite {card.suite.id} is not in iqattack {__version__}")
            return None
        suite = read_suite(card.suite.id)
    if suite is not None and suite.digest != card.suite.digest:
        found.refute(
            CARD,
            f"suite {suite.id} has the digest {suite.digest[:12]} here, but "
            f"{card.suite.digest[:12]} on the card: the versions differ",
        )
    return suite


def _has_digest(card: Card, records: Sequence[Record]) -> bool:
    """Whether a suite made from the settings of the runs, in order, has the card's digest."""
    match = _ID.fullmatch(card.suite.id)
    asked = [(record, without_folders(record.settings.attack)) for record in records]
    attempts: dict[tuple[str, str], dict[str, object]] = {}
    for record, label in asked:
        settings = record.settings
        files = {name: digest for name, digest in record.files.items()
                 if name == "attack" or f"{name}=" in settings.attack}  # fmt: skip
        content: dict[str, object] = {"attack": label, "constraint": settings.constraint}
        attempts.setdefault(
            (label, settings.constraint), content | ({"files": files} if files else {})
        )
    seeds = list(dict.fromkeys(record.settings.seed for record in records))
    order = [(label, record.settings.constraint, record.settings.seed) for record, label in asked]
    if match is None or order != [(*attempt, seed) for attempt, seed in product(attempts, seeds)]:
        return False
    content = {
        "name": match[1],
        "version": int(match[2]),
        "objective": records[0].settings.objective,
        "budgets": card.budgets,
        "seeds": seeds,
        "attempts": list(attempts.values()),
    }
    limits = {None, records[0].settings.limit}
    return any(digest_of(content | {"limit": limit}) == card.suite.digest for limit in limits)


class _Claimed(Suite):
    """A suite as claimed by a card and its runs, if it is not available: nothing is looked up."""

    claimed: str = ""

    @classmethod
    def of(cls, card: Card, records: Sequence[Record]) -> _Claimed:
        match = _ID.fullmatch(card.suite.id)
        return cls.model_construct(
            name=match[1] if match else card.suite.id,
            version=int(match[2]) if match else 1,
            about="",
            objective=records[0].settings.objective,
            budgets=tuple(card.budgets),
            seeds=tuple(dict.fromkeys(record.settings.seed for record in records)),
            limit=None,
            attempts=tuple(
                Attempt.model_construct(attack=r.settings.attack, constraint=r.settings.constraint)
                for r in records
            ),
            claimed=card.suite.digest,
        )

    @property
    def digest(self) -> str:
        """The digest on the card."""
        return self.claimed


def _leaves(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """All values in a card, by their paths: `lines[0].measures.gain.value`."""
    if isinstance(value, dict) and value:
        for key, part in value.items():
            yield from _leaves(part, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and value:
        for number, part in enumerate(value):
            yield from _leaves(part, f"{name}[{number}]")
    else:
        yield name, value


def _same(there: object, here: object) -> bool:
    """Whether a field of a card has the expected value, up to rounding on other machines."""
    floats = (float, int)
    if isinstance(there, floats) and isinstance(here, floats) and not isinstance(there, bool):
        if isinstance(here, bool):
            return False
        if isinstance(there, float) or isinstance(here, float):
            return math.isclose(there, here, rel_tol=1e-9, abs_tol=1e-12)
    return type(there) is type(here) and there == here
