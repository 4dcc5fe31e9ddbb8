"""Makes a survey: the clean scores of a set, asked for once and counted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
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
from iqattack.runs.files import cannot_write, write_text
from iqattack.runs.how import DEFAULT_HOW, How, Setup, paid_again, searching
from iqattack.runs.losses import check_losses
from iqattack.runs.settings import Record, Settings
from iqattack.runs.survey import Conventions, Survey
from iqattack.scoring import CeilingReached

BEGUN = "survey"  # the name in its log of what it was begun with


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

    by_spec, how: as in `execute`. While it is under way, every score is in a log beside the file,
    which is removed in the end: `path` with the suffix .sqlite.

    An image that cannot be scored does not stop the others, and the file says why. Raises
    InputError where none could be scored, RunError for a path that does not fit, Interrupted when
    asked to stop.
    """
    notify = callbacks or Callbacks()
    images = images.anchored()
    record = Record.now(settings, scorer, how.retry)
    with _begun(path, record, resume, Traits.of(scorer).price) as log:
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
        write_text(path, survey.model_dump_json() + "\n")
    return survey


def _of(record: Record, images: ImageSet, log: QueryLog) -> Survey:
    """What a finished log comes to."""
    failed = log.failures()
    hashes: list[str | None] = []
    scores: list[float | None] = []
    for entry in images:
        rows = log.rows(entry.name)
        hashes.append(f"{int(rows['hash'][0]):016x}" if len(rows) else None)
        scores.append(float(rows["score"][0]) if len(rows) else None)
    check = Checked.read(log) if record.settings.check else None
    if check is not None:
        pair = {name: log.rows(name) for name in check.images}
        asked = {
            name: Asked(
                hash=f"{int(rows['hash'][0]):016x}" if len(rows) else "",
                scores=tuple(map(float, rows["score"])),
            )
            for name, rows in pair.items()
        }
        check = check.model_copy(update={"others": asked})
    names = tuple(entry.name for entry in images)
    return Survey(
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions=record.versions,
        model=record.model,
        settings=Conventions.of(record.settings),
        images=names,
        hashes=tuple(hashes),
        scores=tuple(scores),
        failed=failed,
        attempts=log.attempts(),
        check=check,
    )


@contextmanager
def _begun(path: Path, record: Record, resume: bool, price: float | None) -> Iterator[QueryLog]:
    """The log of a survey under way, with nobody else writing; removed once its file is there."""
    log_path = path.with_suffix(".sqlite")
    lock_path = path.with_suffix(".lock")
    beside = (log_path, End.path_of(log_path))
    refuse_links(path, *beside, lock_path)
    if path.exists():
        raise RunError(f"{path}: exists; use another --out, or remove it")
    made = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
    lock = FileLock(lock_path, timeout=0, thread_local=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(
            f"{path}: another process is writing it; wait for it, or use another --out"
        ) from None
    except OSError as error:
        raise cannot_write(path, error) from None
    kept = True
    try:
        if log_path.exists():
            _refuse_other(path, log_path, record, resume=resume, price=price)
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
            for left in beside:
                left.unlink(missing_ok=True)
        lock.release()
        if not kept:
            _remove(lock_path, made)


def _remove(lock_path: Path, made: Iterable[Path]) -> None:
    with suppress(OSError):
        lock_path.unlink(missing_ok=True)
    for folder in made:
        with suppress(OSError):
            folder.rmdir()  # empty where nothing could be scored


def _refuse_other(
    path: Path, log_path: Path, record: Record, *, resume: bool, price: float | None
) -> None:
    """RunError where a survey under way cannot, or is not to, be gone on with."""
    if not resume:
        raise RunError(f"{path}: was begun already; go on with --resume, or use another --out")
    check_losses(log_path, accept=False, price=price, remedy="or use another --out", digests=True)
    with QueryLog(log_path, read_only=True, digests=True) as log:
        text = log.kept(BEGUN)
    if text is None:
        raise RunError(f"{log_path}: is the log of no survey; use another --out")
    difference = Record.parse(text, log_path).difference(record)
    if difference is not None:
        raise RunError(f"{path}: belongs to other settings: {difference}; use another --out")
