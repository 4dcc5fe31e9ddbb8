"""The folder of a run."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Self

from torch import Tensor

from iqattack.engine import QueryLog
from iqattack.engine.log import BESIDE, End, Rows, refuse_links
from iqattack.errors import InputError, IqattackError, RunError
from iqattack.images import ImageEntry, read_image
from iqattack.images.tensors import stacked
from iqattack.imports import absolute
from iqattack.models import Scorer, Traits
from iqattack.notebook import block, facts
from iqattack.objectives import Direction
from iqattack.probing import Check
from iqattack.runs.best import doubtful, miscounted, misreported
from iqattack.runs.checked import Checked, nonfinite
from iqattack.runs.columns import Results
from iqattack.runs.files import (
    FolderLock,
    cannot_write,
    is_temporary,
    read_json,
    read_text,
    write_text,
)
from iqattack.runs.losses import Losses, check_losses, endless, gone, unsound
from iqattack.runs.numbers import without_folders
from iqattack.runs.owner import is_own, owner, write_signed
from iqattack.runs.provenance import CODE, believed, signed_text
from iqattack.runs.ranking import Ranking, ranking_of
from iqattack.runs.rescored import FRESH, KEPT, RESCORED, Rescoring, each_rescored, rescoring_of
from iqattack.runs.results import Result, csv_lines, read_failures
from iqattack.runs.settings import Loss, ModelChange, ModelRecord, Record, Settings
from iqattack.runs.showing import Shown, shown
from iqattack.runs.summary import Session, Summary, Visibility, summarise
from iqattack.runs.visibility import VISIBILITY, known
from iqattack.scoring import DEFAULT_RETRY, Retry
from iqattack.specs import printable

LOG = "log.sqlite"
# Files that a session appends to, rather than replaces.
WRITTEN = (
    *(f"{LOG}{end}" for end in BESIDE), "log.end", "adversarial", "run.toml", FolderLock.NAME
)  # fmt: skip
REPAIRED = "failed before"  # name in the log of the number of failed images that were tried again
CHANGED = "model change"  # followed by its number: name of its entry in the log


class CheckedState(NamedTuple):
    """The results of a run, as far as its log supports them. pending: number of images without a
    result. notes: on what was not trusted and left out.
    """

    results: Results
    pending: int
    notes: tuple[str, ...] = ()


class Run:
    """A run on disk. Reading needs no lock, so a run can be evaluated while it is under way.

    `folder` is its path as given, which messages name; `home` is absolute, so its files are found
    even if the working folder changes.

    folder/run.toml: settings, model, versions. folder/log.sqlite: every score, and the result of
    each finished image, from which everything else follows. folder/log.end: where the log ends, to
    notice a loss. folder/adversarial/*.png: the attacked images. folder/results.csv,
    folder/summary.json: rewritten whenever the run ends or is interrupted.

    `create` and `resume` return a run for writing, which must be closed; `open` returns one for
    reading.
    """

    def __init__(
        self,
        folder: Path,
        record: Record,
        lock: FolderLock | None = None,
        made: tuple[Path, ...] = (),
        *,
        fresh: bool = False,
    ) -> None:
        self.folder = folder
        self.home = absolute(folder)
        self.record = record
        self.fresh = fresh
        self.check_wanted = (
            record.settings.check
        )  # by this session; the first session's setting applies
        self._lock = lock
        self._made = made  # folders that did not exist before, deepest first
        self._summary: Summary | None = None  # the one written last, since it is slow to compute

    @classmethod
    def create(
        cls,
        folder: str | Path,
        settings: Settings,
        scorer: Scorer,
        retry: Retry = DEFAULT_RETRY,
    ) -> Self:
        """Start a run in a folder that is empty or does not exist; RunError otherwise."""
        folder = Path(folder)
        record = Record.now(settings, scorer, retry)
        try:
            made = tuple(path for path in (folder, *folder.parents) if not path.exists())
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise cannot_write(folder, error) from None
        refuse_used(folder)
        try:
            run = cls(folder, record, FolderLock(folder), made, fresh=True)
        except BaseException:
            _remove_empty(made)
            raise
        try:
            refuse_used(folder)  # another process may have been faster
        except RunError:
            run.close()
            raise
        try:
            run.images.mkdir(exist_ok=True)
            write_signed(folder / "run.toml", record.text())
        except BaseException as error:
            run.discard()
            if isinstance(error, OSError):
                raise cannot_write(folder, error) from None
            raise
        return run

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        settings: Settings,
        scorer: Scorer,
        retry: Retry = DEFAULT_RETRY,
        *,
        accept_changed_model: bool = False,
        accept_lost_log: bool = False,
    ) -> Self:
        """Resume a run; RunError if there is none or it has other settings.

        retry: of this session; run.toml keeps that of the first. accept_changed_model: continue
        although the model's files have changed, which the run then reports. accept_lost_log: repeat
        the queries that the log has lost; otherwise a RunError says how many these are.
        """
        folder = Path(folder)
        refuse_links(*(folder / name for name in WRITTEN))
        path = _run_toml(folder)
        record = Record.read(path).model_copy(update={"retry": retry})
        now = Record.now(settings, scorer)
        difference = record.difference(now, files=not accept_changed_model)
        if difference:
            accept = (
                ", or continue with --accept-changed-model"
                if record.difference(now, files=False) is None
                else ""
            )
            raise RunError(
                f"{folder}: belongs to other settings: {difference}; use another --out{accept}"
            )
        begun = record
        # Its file may have moved: workers load it from its present place.
        moved = record.settings.model_copy(update={"model": settings.model})
        record = record.model_copy(update={"settings": moved, "model": now.model})
        run = cls(folder, record, FolderLock(folder))
        run.check_wanted = settings.check
        try:
            run.images.mkdir(exist_ok=True)
            # Temporary files of a killed process; nobody else writes while we hold the lock.
            for left in (*folder.iterdir(), *run.images.iterdir()):
                if is_temporary(left):
                    left.unlink()
            losses = check_losses(
                folder / LOG,
                accept=accept_lost_log,
                price=Traits.of(scorer).price,
                remedy="or continue with --accept-lost-log",
                digests=record.digests,
            )
            if losses is not None:
                run._keep_losses(losses)
            run._keep_failures()
            if begun.model.changed(now.model) is not None:
                run._keep_change(begun.model)
        except OSError as error:
            run.close()
            raise cannot_write(run.images, error) from None
        except BaseException:
            run.close()
            raise
        return run

    def _keep_change(self, before: ModelRecord) -> None:
        """Record that the model's files were changed, and how many queries each image had by
        then."""
        with self.open_log() as log:
            queries = {name: log.queries(name) for name in log.images()}
            log.keep(
                f"{CHANGED} {len(self.record.changes)}",
                json.dumps({name: n for name, n in queries.items() if n}),
            )
        old = before.files or {before.weights or "": before.sha256 or ""}
        change = ModelChange(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            queries=sum(queries.values()),
            old=old,
            new=self.model.files,
        )
        self._keep(changes=(*self.record.changes, change))

    def _keep_losses(self, losses: Losses) -> None:
        """Record what the log had lost, and that this was accepted."""
        loss = Loss(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            lost=losses.lost,
            of=losses.of,
            what=printable(losses.what),
        )
        self._keep(losses=(*self.record.losses, loss))

    def _keep_failures(self) -> None:
        """Record that failed images are tried again: their clean scores may be new, and with them
        the median that determines directions.
        """
        if not (self.home / LOG).is_file():
            return
        with self.open_log() as log:
            failed = len(log.failures())
            if failed:
                log.keep(REPAIRED, str(failed))

    def keep_survey(self, digest: str) -> None:
        """Record the SHA-256 of the file from which the run takes its clean scores."""
        if self.record.survey is None:
            self._keep(survey=digest)

    def _keep(self, **accepted: object) -> None:
        """Rewrite run.toml with something that was accepted."""
        self.record = self.record.model_copy(update=accepted)
        path = self.home / "run.toml"
        kept = self.record.model_copy(update={"retry": Record.read(path).retry})
        # A run that somebody else began stays theirs: the settings may name their files.
        (write_signed if is_own(path) else write_text)(path, kept.text())

    def before_change(self, log: QueryLog) -> dict[str, int]:
        """How many queries of each image an earlier model answered; RunError if run.toml and the
        log disagree on that.
        """
        if not self.record.changes:
            return {}
        change = self.record.changes[-1]
        if not self.model.hashes or sorted(change.new.values()) != self.model.hashes:
            raise RunError(
                f"{self.folder}: run.toml records a change to files that its model does not have; "
                "restore a copy of it"
            )
        try:
            kept = read_json(log.kept(f"{CHANGED} {len(self.record.changes) - 1}") or "")
            counts = {str(name): int(count) for name, count in kept.items()}
            most = sum(counts.values())
            if most == change.queries or (self.record.losses and most <= change.queries):
                rows = {name: log.queries(name) for name in counts}
                if self.record.losses or all(0 < n <= rows[name] for name, n in counts.items()):
                    return {name: min(n, rows[name]) for name, n in counts.items()}
        except (ValueError, TypeError, AttributeError, OverflowError):
            pass
        raise RunError(
            f"{self.folder}: the log and run.toml disagree on which queries came before the change "
            "of the model; restore a copy of both"
        )

    def moved(self, folder: Path) -> Self:
        """The same run for reading, at its folder's present place."""
        run = type(self)(folder, self.record)
        run._summary = self._summary
        return run

    @classmethod
    def writing(cls, folder: str | Path) -> Self:
        """Open a run for writing, which must be closed; RunError as in `open`, and while another
        process writes it.
        """
        folder = Path(folder)
        refuse_links(*(folder / name for name in WRITTEN))
        return cls(folder, Record.read(_run_toml(folder)), FolderLock(folder))

    @classmethod
    def open(cls, folder: str | Path) -> Self:
        """Open a run for reading; RunError if the folder has none."""
        folder = Path(folder)
        return cls(folder, Record.read(_run_toml(folder)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let others write; reading still works."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def discard(self) -> None:
        """Remove a run that this object has created."""
        if not self.fresh:
            raise ValueError(f"{self.folder}: only a run just created can be discarded")
        for path in self.home.iterdir():
            if path == self.images:
                shutil.rmtree(path, ignore_errors=True)
            elif _is_ours(path):
                path.unlink(missing_ok=True)
        self.close()
        _remove_empty(self._made)

    def __repr__(self) -> str:
        asked = self.settings
        budget = f"{asked.queries:,} queries per image"
        if asked.budget_total is not None:
            budget = f"{asked.budget_total:,} queries for all images"
        what = f"{without_folders(asked.label)} in {asked.constraint} on {self.model.name}"
        return f"Run({str(self.folder)!r}: {printable(what)}, {budget})"

    def _repr_html_(self) -> str:
        try:
            return self.summary()._repr_html_()
        except IqattackError as error:  # nothing is finished yet, or a file is missing
            return block(str(error), facts([("run", repr(self))]))

    def show(self, image: str | int | None = None) -> Shown:
        """Show an image before and after, with its scores and an amplified difference, in a
        notebook; `save` of the result writes a file.

        image: its name, or its number among the results; by default the one whose score moved most.
        Raises RunError while no image is finished, InputError for an image that does not exist,
        failed, or whose pictures cannot be read.
        """
        return shown(self, image)

    # -- what is in it --------------------------------------------------------------------------

    @property
    def place(self) -> Path:
        """Its path to hand on: as given, unless that leads elsewhere by now."""
        try:
            return self.folder if absolute(self.folder) == self.home else self.home
        except OSError:  # the working folder is gone
            return self.home

    @property
    def settings(self) -> Settings:
        """The settings of the run."""
        return self.record.settings

    @property
    def model(self) -> ModelRecord:
        """The record of the model."""
        return self.record.model

    def changed_file(self, scorer: Scorer) -> str | None:
        """A file of the model that has changed since; RunError for another model than the run's."""
        given = ModelRecord.of(scorer)
        for name, there, here in self.model.differing(given):
            raise RunError(
                f"{self.folder}: its model's {name} is {there}, not {here}; give the run's model"
            )
        return self.model.changed(given) if given.hashes and self.model.hashes else None

    @property
    def images(self) -> Path:
        """The folder of the attacked images."""
        return self.home / "adversarial"

    @property
    def mos_table(self) -> Path | None:
        """The path of its table of opinion scores; None if there is none."""
        return None if self.settings.mos is None else Path(self.settings.mos)

    def read_clean(self, path: str | Path) -> Tensor:
        """The pixels of a clean image as the run saw them; InputError as in `read_image`."""
        settings = self.settings
        return read_image(
            path, convert=settings.convert, resize=settings.resize, endings=False
        ).pixels

    def attacked(self, images: Sequence[str] | None = None) -> Tensor:
        """The attacked images (N, 3, H, W) as uint8 RGB, from the files of the run.

        images: their names, by default those of all results that did not fail, in order.
        Raises InputError for a name without an attacked image, and if sizes differ.
        """
        done = {row.image: row.png_name for row in self.results if not row.failed}
        for name in images or ():
            if name not in done:
                raise InputError(
                    f"{self.folder}: has no attacked image of {name!r}; choose one of the results "
                    "that did not fail"
                )
        names = list(done) if images is None else images
        if not names:
            raise InputError(f"{self.folder}: has no attacked image yet; resume the run")
        return stacked([self.images / done[name] for name in names])

    def open_log(self) -> QueryLog:
        """Open the log, for writing if this is the run's writer, otherwise for reading."""
        path = self.home / LOG
        digests = self.record.digests
        if self._lock is not None:
            return QueryLog(path, digests=digests)
        if not path.is_file():
            refuse_links(path)
            return QueryLog()
        return QueryLog(path, read_only=True, digests=digests)

    def refuse_lost(self) -> None:
        """Raise RunError if the log is missing, but existed."""
        if gone(self.home / LOG) is None:
            return
        end = End.read(self.home / LOG)
        had = f", which had {end.queries:,} queries," if end is not None else ""
        raise RunError(
            f"{self.folder}: its {LOG}{had} is missing or empty: nothing can be read or verified; "
            "restore a copy of it"
        )

    def image_names(self) -> list[str]:
        """Names of all images of the run, finished or not, in order."""
        with self.open_log() as log:
            return log.images()

    @property
    def results(self) -> list[Result]:
        """One row per finished or failed image, in the order of the run."""
        return list(self.state()[0])

    def state(self, entries: Mapping[str, ImageEntry] | None = None) -> tuple[Results, int]:
        """The results, and the number of pending images.

        entries: paths and MOS of the images, which the log lacks for failed ones; by default from
        results.csv.
        """
        with self.open_log() as log:
            results, pending, _ = self._state(log, entries)
        return results, pending

    def _state(
        self, log: QueryLog, entries: Mapping[str, ImageEntry] | None = None, *, own: bool = False
    ) -> tuple[Results, int, list[bool]]:
        """The state, and which results have a code of this user, if requested."""
        failed = self._failures(log, entries)
        signed, known = owner(), list[bool]()

        def rows() -> Iterator[Result]:
            """The finished and failed images, in order."""
            left = deque(failed)
            for number, name, text, attempts, code in log.each_result(CODE if own else None):
                while left and left[0][0] < number:
                    known.append(False)
                    yield left.popleft()[1]
                if left and left[0][0] == number:
                    left.popleft()
                row = Result.read(name, text, hashed=self.record.digests)
                known.append(own and signed(signed_text(self.record, text), code))
                yield (
                    row
                    if row.attempts == attempts
                    else row.model_copy(update={"attempts": attempts})
                )
            for _, row in left:
                known.append(False)
                yield row

        try:
            results = Results.of(rows())
        except RunError as error:
            raise RunError(f"{self.folder}: {error}") from None
        return results, log.count() - len(results), known

    def _failures(
        self, log: QueryLog, entries: Mapping[str, ImageEntry] | None
    ) -> list[tuple[int, Result]]:
        """The failed images, with their numbers in the log, in order."""
        attempts = log.attempts()
        failures = {
            name: Result.of_failure(
                name,
                reason,
                queries=log.queries(name),
                attempts=attempts.get(name, 0),
                attack=self.settings.label,
                entry=(entries or {}).get(name),
            )
            for name, reason in log.failures().items()
        }
        kept = log.has_failures
        try:
            written = {} if entries else read_failures(self.home / "results.csv")
        except RunError:
            if not kept:
                raise
            written = {}  # the log has everything except their opinion scores
        if kept:
            failures = {
                name: row.model_copy(update={"mos": written[name].mos}) if name in written else row
                for name, row in failures.items()
            }
        else:
            failures = {  # a run of a version without failures in the log
                name: row.model_copy(update={"status": printable(row.status)})
                for name, row in written.items()
            }
        numbers = ((log.number(name), row) for name, row in failures.items())
        found = [(number, row) for number, row in numbers if number is not None]
        return sorted(found, key=lambda pair: pair[0])

    def checked_state(self, *, pictures: bool = True) -> CheckedState:
        """The state, compared with the log: the log is complete, its rows are unchanged, and each
        result agrees with the rows of its image. RunError otherwise.

        pictures: measure visibility again unless this user's iqattack wrote it; it is None if that
        fails, which a note says.
        """
        self.refuse_lost()
        with self.open_log() as log:
            results, pending, own = self._state(log, own=pictures)
            try:
                for doubted in doubtful(log, results, self.record):
                    result = results[doubted.number]
                    found = self._contradictions(result, doubted.direction, doubted.rows)
                    if (what := next(found, None)) is not None:
                        raise RunError(
                            f"{result.image}: {what}; for details, run "
                            f"'iqattack verify {self.folder}'"
                        )
            except RunError as error:
                raise RunError(f"{self.folder}: {error}") from None
            if (wrong := unsound(log)) is not None:
                raise RunError(f"{self.folder}: {LOG} {wrong}; restore a copy of the log")
            notes: tuple[str, ...] = ()
            if pictures:
                results, notes = believed(self, log, results, own)
            if self.record.digests and (without := endless(log)) is not None:
                notes = (*notes, f"{LOG} {without}")
        return CheckedState(results, pending, notes)

    def _contradictions(
        self, result: Result, direction: Direction | None, rows: Rows
    ) -> Iterator[str]:
        """How a result contradicts the log, one phrase each."""
        if (what := misreported(result, rows, self.record)) is not None:
            yield what
        if result.direction != direction:
            yield f"direction {result.direction} reported, {direction} in the log"
        yield from miscounted(result, rows, self.record)

    def summary(self) -> Summary:
        """The measures of the finished images; RunError if there are none."""
        if self._summary is not None:
            return self._summary
        state = self.checked_state()
        results, seen = known(self, state.results)
        return self.summary_of(state._replace(results=results), seen)

    def summary_of(
        self,
        state: CheckedState,
        visibility: Visibility | None,
        session: Session | None = None,
    ) -> Summary:
        """The measures of a state, with its visibility measured. session: that of the summary; by
        default the last that wrote one.
        """
        results = state.results
        summary = summarise(
            self.record,
            results,
            state.pending,
            self.last_session() if session is None else session,
            check=self.check,
            nonfinite=self.nonfinite,
            visibility=visibility,
            ranking=self.ranking(results),
            rescored=self.rescoring(results),
        )
        return summary.model_copy(update={"findings": (*summary.findings, *state.notes)})

    @property
    def check(self) -> Check | None:
        """What the check of the model found, if there was one."""
        with self.open_log() as log:
            checked = Checked.read(log)
            return None if checked is None else checked.evaluated(log, self.model.score_range)

    @property
    def nonfinite(self) -> float:
        """The share of the attack's images without a finite score."""
        with self.open_log() as log:
            return nonfinite(log)

    def ranking(self, results: Results) -> Ranking | None:
        """The result for the ranking, if that is the objective; see `ranking_of`."""
        if self.settings.budget_total is None:
            return None  # opening the log of a million images takes a while
        with self.open_log() as log:
            return ranking_of(log, self.record, results)

    def rescoring(self, results: Results, *, intervals: bool = True) -> Rescoring | None:
        """The evaluation of fresh scores, if there are any; see `rescore`."""
        with self.open_log() as log:
            if not log.keeps_any(KEPT):
                return None
            rows = list(each_rescored(log, iter(results.done), self.model))
            return rescoring_of(rows, log.kept_number(FRESH), intervals=intervals)

    def last_session(self) -> Session | None:
        """The duration of the last session that wrote summary.json; None without one."""
        path = self.home / "summary.json"
        if not path.is_file():
            return None
        try:
            session = read_json(read_text(path))["session"]
            return None if session is None else Session.model_validate(session)
        except (OSError, ValueError, LookupError, TypeError):
            return None  # only informative

    def write_results(self, results: Iterable[Result]) -> None:
        """Rewrite results.csv."""
        write_text(self.home / "results.csv", csv_lines(results))

    def write_summary(self, summary: Summary) -> None:
        """Rewrite summary.json."""
        write_text(self.home / "summary.json", summary.model_dump_json(indent=2) + "\n")
        self._summary = summary


def _run_toml(folder: Path) -> Path:
    """The settings file of a run; RunError if there is none."""
    path = folder / "run.toml"
    if not folder.is_dir():
        raise RunError(f"{folder}: no such run; check the path")
    if not path.is_file():
        raise RunError(f"{folder}: is not a run (no run.toml); give the folder of a run")
    return path


def refuse_used(folder: Path, *besides: str) -> None:
    """Raise RunError for a folder that has a run, or anything else. besides: names that are
    allowed.
    """
    if (folder / "run.toml").exists():
        raise RunError(f"{folder}: already has a run; continue with --resume, or use another --out")
    # The remains of a process killed before it wrote run.toml do not count.
    passed = (FolderLock.NAME, *besides)
    left = [p for p in folder.iterdir() if p.name not in passed and not is_temporary(p)]
    if any(p.name != "adversarial" or not p.is_dir() or any(p.iterdir()) for p in left):
        raise RunError(f"{folder}: is not empty and not a run; use another --out")


def _is_ours(path: Path) -> bool:
    """Whether a run writes a file of that name; any other file is kept."""
    if path.name.startswith("log.sqlite"):  # and SQLite's files beside it
        return True
    ours = (
        "run.toml",
        "results.csv",
        "summary.json",
        VISIBILITY,
        RESCORED,
        "log.end",
        FolderLock.NAME,
    )
    return path.name in ours or is_temporary(path)


def _remove_empty(folders: tuple[Path, ...]) -> None:
    for folder in folders:
        with suppress(OSError):
            folder.rmdir()
