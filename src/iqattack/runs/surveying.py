"""Makes a survey: the clean scores of a set, asked for once and counted."""

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

BEGUN = "survey"  # the name in its log of what it was begun with
# Bytes of the file: of each image beside its name, and of what is not of images, both at most.
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

    resume: go on with one that was begun; one that is done is returned. by_spec, how: as in
    `execute`. While it is under way, every score is in a log beside the file, which is removed in
    the end: see `log_of`.

    An image that cannot be scored does not stop the others, and the file says why. Raises
    InputError where none could be scored, or for a set that is too large for a file, RunError for a
    path that does not fit, Interrupted when asked to stop.
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
        try:
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
        except (Interrupted, CeilingReached):
            if ceiling is not None:
                ceiling.release()
            raise
        if ceiling is not None:
            ceiling.release()
        survey = _of(record, images, log)
        if not survey.known:
            reasons = (*survey.failed.values(), "no image has a finite score")
            raise InputError(f"{path}: {reasons[0]}")
        text = survey.model_dump_json() + "\n"
        if (size := len(text.encode())) > MOST_BYTES:
            raise InputError(
                f"{path}: would have {size:,} bytes, expected at most {MOST_BYTES:,}, with what is "
                f"said of {len(survey.failed):,} images that failed; mend those, then --resume"
            )
        write_text(path, text)
    return survey


def _refuse_large(path: Path, images: ImageSet) -> None:
    """InputError for a set whose scores no file can hold, before they are paid for."""
    names = sum(len(json.dumps(entry.name, ensure_ascii=False).encode()) for entry in images)
    size = HEAD + names + EACH * len(images)
    if size > MOST_BYTES:
        raise InputError(
            f"{path}: may come to {size:,} bytes with {len(images):,} images, expected at most "
            f"{MOST_BYTES:,}; attack parts of the set, each with a survey of its own"
        )


def _of(record: Record, images: ImageSet, log: QueryLog) -> Survey:
    """What a finished log comes to."""
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
    """The survey that is there already, where it is the one that is wanted; RunError for another
    one. What was left beside it by a process that was killed is removed.
    """
    remedy = "use another --out, or remove it"
    try:
        found, _ = Survey.read(path)
    except InputError:
        raise RunError(f"{path}: exists, and is no survey; {remedy}") from None
    what = found.difference(record, images) or found.changed(images, record.settings)
    if what is None and record.settings.check and found.check is None:
        what = "check is off there, on here"
    if what is not None:
        raise RunError(f"{path}: exists, and is of something else: {what}; {remedy}")
    log_path = log_of(path)
    if log_path.exists():
        with suppress(IqattackError):
            with QueryLog(log_path, digests=True) as log:  # which takes in what lies beside it
                text = log.kept(BEGUN)
            if text is not None and Record.parse(text, log_path).difference(record) is None:
                _remove_log(log_path)
    return found


def log_of(path: Path) -> Path:
    """The log of a survey that is under way: survey.json.sqlite for survey.json."""
    return Path(f"{path}.sqlite")


def _remove_log(log_path: Path) -> None:
    End.path_of(log_path).unlink(missing_ok=True)
    log_path.unlink(missing_ok=True)  # last, as it says whose the others are


@contextmanager
def _alone(path: Path, *, resume: bool) -> Iterator[None]:
    """While nobody else makes the survey; RunError where the path does not fit."""
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
            f"{path}: another process is writing it; wait for it, or use another --out"
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
                folder.rmdir()  # empty where nothing could be scored


def _refuse_used(path: Path, *, resume: bool) -> None:
    """RunError for a path with something else, or where something else has the name of what is to
    lie beside it.
    """
    if path.exists() and not (resume and path.is_file()):
        raise RunError(f"{path}: exists; use another --out, or remove it")
    log_path = log_of(path)
    end = End.path_of(log_path)
    if end.exists() and not log_path.exists() and End.read(log_path) is None:
        raise RunError(f"{end}: is in the way of a file of that name; use another --out")


@contextmanager
def _begun(
    path: Path, record: Record, images: ImageSet, resume: bool, price: float | None
) -> Iterator[QueryLog]:
    """The log of a survey under way; removed once its file is there."""
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
    """RunError where a survey under way cannot, or is not to, be gone on with."""
    if not resume:
        raise RunError(f"{path}: was begun already; go on with --resume, or use another --out")
    check_losses(log_path, accept=False, price=price, remedy="or use another --out", digests=True)
    with QueryLog(log_path, read_only=True, digests=True) as log:
        text, there = log.kept(BEGUN), log.images()
    if text is None:
        raise RunError(f"{log_path}: is the log of no survey; use another --out")
    difference = Record.parse(text, log_path).difference(record)
    if difference is not None:
        raise RunError(f"{path}: belongs to other settings: {difference}; use another --out")
    if there and there != [entry.name for entry in images]:
        raise RunError(
            f"{path}: was begun with {len(there)} images, {len(images)} are given now, or others; "
            "give the same images or use another --out"
        )
