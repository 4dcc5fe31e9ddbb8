"""Learning from a set of images, resumable through a folder with settings and a log."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from iqattack.attacks import ImageFailed, SetAttack, SetSearch, SetTask
from iqattack.engine import Engine, Failure, QueryLog
from iqattack.engine.log import refuse_links
from iqattack.errors import InputError, RunError
from iqattack.images import ImageSet
from iqattack.models import Scorer, Traits
from iqattack.objectives import parse_objective
from iqattack.runs.execute import Callbacks
from iqattack.runs.files import FolderLock, cannot_write, write_text
from iqattack.runs.how import How, Setup, paid_again
from iqattack.runs.losses import check_losses
from iqattack.runs.settings import Record, Settings
from iqattack.scoring import Recompressed

LOG = "queries.sqlite"


@dataclass(frozen=True)
class Kind:
    """What is learnt. settings: the file in its folder with the settings."""

    noun: str
    settings: str


@contextmanager
def learning(
    kind: Kind,
    folder: Path,
    settings: Settings,
    record: Record,
    images: ImageSet,
    scorer: Scorer,
    attack: SetAttack,
    *,
    queries: int,
    total: int,
    resume: bool,
    by_spec: bool,
    how: How,
    notify: Callbacks,
    jpeg: int | None = None,
) -> Iterator[tuple[object, int]]:
    """Run a set attack, and return its result and its number of queries; the folder is locked until
    the end.

    settings: of the engine; record: settings that a resumed session must share. queries: budget per
    image; total: budget for all images, which is never exceeded. Every score is kept in
    queries.sqlite, so that no query is repeated. jpeg: quality at which every image is compressed
    before it is scored; None for no JPEG. Raises InputError as soon as an image fails, RunError for
    a folder that does not fit, Interrupted when asked to stop.
    """
    with (
        _opened(folder, kind, record, resume, Traits.of(scorer).price),
        closing(QueryLog(folder / LOG)) as log,
        how.pool_of(
            scorer,
            record.model_spec if by_spec else None,
            ceiling := how.ceiling(scorer, log),
        ) as pool,
    ):
        cost = how.may_cost(scorer, total, log.sent(), ceiling)
        for phrase in (cost, paid_again(scorer, log) if resume else None):
            if phrase is not None:
                notify.note("model", phrase)
        engine = Engine(
            scorer,
            parse_objective(settings.objective),
            replace(
                Setup(settings, scorer, how)(
                    notify.stop, pool if jpeg is None else Recompressed(pool, jpeg)
                ),
                finish=lambda outcome: outcome,
            ),
            queries=queries,
            log=log,
            note=notify.note,
            progress=notify.progress,
        )
        items, returned = engine.run_set(images, _of_all(attack, len(images)), total=total)
        for item in items:
            if isinstance(item, Failure):
                remedy = "continue with --resume"
                if not item.transient:
                    remedy = f"leave it out, with another --out, or repair the model and {remedy}"
                raise InputError(f"{item.reason}; {remedy}")
        yield returned.value, sum(log.queries(entry.name) for entry in images)


def _of_all(attack: SetAttack, images: int) -> SetAttack:
    """One that ends as soon as an image fails: its result would not be used, and what it asked
    without the image would not replay with it. images: in the set, those without a score included.
    """

    def lifted(given: SetTask) -> SetSearch:
        if len(given.tasks) < images:
            return None
        search = attack(given)
        with closing(search):
            try:
                proposals = next(search)
                while True:
                    answers = yield proposals
                    if any(isinstance(answer.end, ImageFailed) for answer in answers):
                        return None
                    proposals = search.send(answers)
            except StopIteration as stop:
                return stop.value

    return lifted


@contextmanager
def _opened(
    folder: Path, kind: Kind, record: Record, resume: bool, price: float | None
) -> Iterator[None]:
    """Open the folder with its settings, locked for writing. price: of a query."""
    path = folder / kind.settings
    refuse_links(path, folder / FolderLock.NAME)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    lock = FolderLock(folder)
    try:
        if path.is_file():
            if not resume:
                raise RunError(
                    f"{folder}: already has a {kind.noun}; continue with --resume, or use another "
                    "--out"
                )
            difference = Record.read(path).difference(record)
            if difference:
                raise RunError(
                    f"{folder}: belongs to other settings: {difference}; use another --out"
                )
            if (folder / "search.sqlite").exists():
                raise RunError(
                    f"{folder}: was begun by iqattack {Record.read(path).versions['iqattack']}, "
                    "whose queries differ; use another --out"
                )
            check_losses(
                folder / LOG,
                accept=False,
                price=price,
                remedy="or use another --out",
                digests=Record.read(path).digests,
            )
        elif any(entry.name != FolderLock.NAME for entry in folder.iterdir()):
            raise RunError(f"{folder}: is not empty and not a {kind.noun}; use another --out")
        else:
            write_text(path, record.text())
        yield
    finally:
        lock.release()
