"""Make a survey: the clean scores of a set, queried once and counted."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from iqattack.engine import Engine, Interrupted, QueryLog
from iqattack.engine.log import End, refuse_links
from iqattack.errors import InputError, IqattackError, RunError
from iqattack.images import ImageSet
from iqattack.models import Scorer, Traits
from iqattack.objectives import parse_objective
from iqattack.runs.checked import Asked, Checked
from iqattack.runs.checking import Checking
from iqattack.runs.execute import Callbacks
from iqattack.runs.files import MOST_BYTES, cannot_write, release_lock, write_text
from iqattack.runs.how import DEFAULT_HOW, How, Setup, paid_again, searching
from iqattack.runs.losses import check_losses
from iqattack.runs.settings import Record, Settings
from iqattack.runs.survey import Conventions, Survey
from iqattack.scoring import CeilingReached

BEGUN = "survey"  # name in its log of its initial settings
# Most bytes in the file: per image beside its name, and for everything else.
EACH, HEAD = 48, 2**16


def make_survey(
    path: Path,
    settings: Settings,
    images: ImageSet,
    scorer: Scorer,
    *,
    resume: bool = False,
    by_spec: bool = False,
    how: How = DEFAULT_HOW,
    callbacks: Callbacks | None = None,
) -> Survey:
    """Score every clean image once, check the model if the settings say so, and write the file.

    resume: continue an earlier survey; a finished one is returned. by_spec, how: as in `execute`.
    While it is under way, every score is in a log beside the file, which is removed in the end: see
    `log_of`.

    An image that cannot be scored does not stop the others, and the file has the reason. Raises
    InputError if no image could be scored, or the set is too large for a file, RunError for a path
    that does not fit, Interrupted when asked to stop.
    """
    notify = callbacks or Callbacks()
    images = images.anchored()
    record = Record.now(settings, scorer, how.retry)
    with _alone(path, resume=resume):
        if path.exists():
            return _done(path, record, images)
        _refuse_large(path, images)
        return _made(path, record, images, scorer, resume, by_spec, how, notify)


def _made(
    path: Path,
    record: Record,
    images: ImageSet,
    scorer: Scorer,
    resume: bool,
    by_spec: bool,
    how: How,
    notify: Callbacks,
) -> Survey:
    """A new survey, or the rest of one."""
    settings = record.settings
    with _begun(path, record, images, resume, Traits.of(scorer).price) as log:
        ceiling = how.ceiling(scorer, log)
        cost = how.may_cost(scorer, len(images), log.sent(), ceiling)
        for phrase in (*Traits.of(scorer).notes, cost, paid_again(scorer, log) if resume else None):
            if phrase is not None:
                notify.note("model", phrase)
        setup = Setup(settings, record.model_spec if by_spec else scorer, how)
        check = None
        if settings.check:
            check = Checking(settings, log, images, scorer, how, ceiling=ceiling, stop=notify.stop)
        with searching(setup, scorer, len(images), notify.stop, ceiling) as searched:
            engine = Engine(
                scorer,
                parse_objective(settings.objective),
                searched,
                queries=1,
                log=log,
                note=notify.note,
                progress=notify.progress,
                check=check,
            )
            for failure in engine.survey(images):
                notify.failed(failure.entry.name, failure.reason)
        survey = _of(record, images, log)
        if not survey.known:
            reasons = (*survey.failed.values(), "no image has a finite score")
            raise InputError(f"{path}: {reasons[0]}")
        text = survey.model_dump_json() + "\n"
        if (size := len(text.encode())) > MOST_BYTES:
            raise InputError(
                f"{path}: would have {size:,} bytes, expected at most {MOST_BYTES:,}, because of "
                f"the messages on {len(survey.failed):,} failed images; repair these, then use "
                "--resume"
            )
        write_text(path, text)
    return survey


def _refuse_large(path: Path, images: ImageSet) -> None:
    """Raise InputError for a set whose scores exceed the largest file, before they are paid for."""
    names = sum(len(json.dumps(entry.name, ensure_ascii=False).encode()) for entry in images)
    size = HEAD + names + EACH * len(images)
    if size > MOST_BYTES:
        raise InputError(
            f"{path}: may reach {size:,} bytes with {len(images):,} images, expected at most "
            f"{MOST_BYTES:,}; attack parts of the set, each with its own survey"
        )


def _of(record: Record, images: ImageSet, log: QueryLog) -> Survey:
    """Make the survey from a finished log."""
    hashes: dict[str, str | None] = {}
    scores: dict[str, float | None] = {}
    for entry in images:
        rows = log.rows(entry.name)
        finite = len(rows) > 0 and math.isfinite(rows["score"][0])
        hashes[entry.name] = f"{int(rows['hash'][0]):016x}" if finite else None
        scores[entry.name] = float(rows["score"][0]) if finite else None
    check = Checked.read(log) if record.settings.check else None
    if check is not None:
        others = {}
        for name in check.images:
            digest = hashes[name]
            found = () if digest is None else tuple(map(float, log.rows(name)["score"]))
            others[name] = Asked(hash=digest or "", scores=found)
        check = check.model_copy(update={"others": others})
    return Survey(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=record.versions,
        model=record.model,
        settings=Conventions.of(record.settings),
        images=tuple(scores),
        hashes=tuple(hashes.values()),
        scores=tuple(scores.values()),
        failed=log.failures(),
        attempts=log.attempts(),
        check=check,
    )


def _done(path: Path, record: Record, images: ImageSet) -> Survey:
    """The existing survey, if it is the requested one; RunError otherwise. Files that a killed
    process left beside it are removed.
    """
    remedy = "use another --out, or remove it"
    try:
        found, _ = Survey.read(path)
    except InputError:
        raise RunError(f"{path}: exists, but is not a survey; {remedy}") from None
    what = found.difference(record, images) or found.changed(images, record.settings)
    if what is None and record.settings.check and found.check is None:
        what = "check is off there, on here"
    if what is not None:
        raise RunError(f"{path}: is another survey: {what}; {remedy}")
    log_path = log_of(path)
    if log_path.exists():
        with suppress(IqattackError):
            with QueryLog(log_path, digests=True) as log:  # which merges the files beside it
                text = log.kept(BEGUN)
            if text is not None and Record.parse(text, log_path).difference(record) is None:
                _remove_log(log_path)
    return found


def log_of(path: Path) -> Path:
    """The log of a survey under way: survey.json.sqlite for survey.json."""
    return Path(f"{path}.sqlite")


def _remove_log(log_path: Path) -> None:
    End.path_of(log_path).unlink(missing_ok=True)
    log_path.unlink(missing_ok=True)  # last, since it identifies the others


@contextmanager
def _alone(path: Path, *, resume: bool) -> Iterator[None]:
    """Lock the survey against other processes; RunError if the path does not fit."""
    lock_path, log_path = Path(f"{path}.lock"), log_of(path)
    refuse_links(path, log_path, End.path_of(log_path), lock_path)
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    lock = FileLock(lock_path, timeout=0, thread_local=False)
    try:
        _refuse_used(path, resume=resume)
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(
            f"{path}: another process is writing it; wait, or use another --out"
        ) from None
    except OSError as error:
        raise cannot_write(path, error) from None
    try:
        _refuse_used(path, resume=resume)  # another process may have been faster
        yield
    finally:
        release_lock(lock, remove=not log_path.exists())
        for folder in made:
            with suppress(OSError):
                folder.rmdir()  # empty if nothing could be scored


def _refuse_used(path: Path, *, resume: bool) -> None:
    """Raise RunError if the path, or a file needed beside it, is something else."""
    if path.exists() and not (resume and path.is_file()):
        raise RunError(f"{path}: exists; use another --out, or remove it")
    log_path = log_of(path)
    end = End.path_of(log_path)
    if end.exists() and not log_path.exists() and End.read(log_path) is None:
        raise RunError(f"{end}: has the name of a file that the survey needs; use another --out")


@contextmanager
def _begun(
    path: Path, record: Record, images: ImageSet, resume: bool, price: float | None
) -> Iterator[QueryLog]:
    """The log of a survey under way; removed once its file exists."""
    log_path = log_of(path)
    if log_path.exists():
        _refuse_other(path, log_path, record, images, resume=resume, price=price)
    kept = True
    try:
        with QueryLog(log_path, digests=True) as log:
            try:
                log.keep(BEGUN, record.text())
                yield log
                kept = False
            except IqattackError as error:
                ended = isinstance(error, Interrupted | CeilingReached)
                kept = (ended and log.sent() > 0) or any(map(log.queries, log.images()))
                raise
    finally:
        if not kept:
            _remove_log(log_path)


def _refuse_other(
    path: Path,
    log_path: Path,
    record: Record,
    images: ImageSet,
    *,
    resume: bool,
    price: float | None,
) -> None:
    """Raise RunError if a survey under way cannot be, or was not requested to be, resumed."""
    if not resume:
        raise RunError(f"{path}: was already begun; continue with --resume, or use another --out")
    check_losses(log_path, accept=False, price=price, remedy="or use another --out", digests=True)
    with QueryLog(log_path, read_only=True, digests=True) as log:
        text, there = log.kept(BEGUN), log.images()
    if text is None:
        raise RunError(f"{log_path}: is not the log of a survey; use another --out")
    difference = Record.parse(text, log_path).difference(record)
    if difference is not None:
        raise RunError(f"{path}: belongs to other settings: {difference}; use another --out")
    if there and there != [entry.name for entry in images]:
        raise RunError(
            f"{path}: was begun with other images ({len(there)} then, {len(images)} now); give the "
            "same images or use another --out"
        )
