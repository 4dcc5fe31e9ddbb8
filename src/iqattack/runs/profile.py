"""Makes a profile: what some images teach `filter-search` about a model, at counted queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from iqattack.attacks import Attack, Search, Task
from iqattack.attacks.filter_search import (
    Canvas,
    brushes_of,
    first_brushes,
    searched_filters,
)
from iqattack.constraints import parse_constraint
from iqattack.directions import BANK, Profile, Stroke, ranked
from iqattack.engine import Engine, Failure, QueryLog
from iqattack.errors import InputError, RunError
from iqattack.images import ImageSet
from iqattack.models import Scorer
from iqattack.objectives import parse_objective
from iqattack.runs.execute import Callbacks
from iqattack.runs.files import FolderLock, cannot_write, write_text
from iqattack.runs.settings import Record, Settings
from iqattack.version import __version__

FILE = "profile.json"
STROKES = 16  # of a profile, at most
FEWEST = 1 + len(BANK) + 3 + 1  # queries for an image: clean, the bank, channels, one filter


@dataclass(frozen=True)
class Learning:
    """What both passes over the images share."""

    settings: Settings
    images: ImageSet
    scorer: Scorer
    batch: int | None
    told: Callbacks

    def run(self, log: QueryLog, attack: Attack, queries: int) -> int:
        """Ask for all images; how many queries it took. InputError where one fails."""
        settings = self.settings
        engine = Engine(
            self.scorer,
            attack,
            parse_constraint(settings.constraint),
            # A boundary at the end of the range: the search goes on past an image that is there,
            # and whatever is tried later has its gain, too.
            parse_objective(f"{settings.objective}:1"),
            queries=queries,
            seed=settings.seed,
            batch=self.batch,
            convert=settings.convert,
            log=log,
            stop=self.told.stop,
            note=self.told.note,
            progress=self.told.progress,
        )
        for item in engine.run(self.images):
            if isinstance(item, Failure):
                raise InputError(f"{item.reason}; leave it out of the profile's images")
        return sum(len(log.rows(entry.name)) for entry in self.images)


def make_profile(
    folder: Path,
    settings: Settings,
    images: ImageSet,
    scorer: Scorer,
    *,
    strokes: int = STROKES,
    resume: bool = False,
    batch: int | None = None,
    callbacks: Callbacks | None = None,
) -> Profile:
    """Search a filter on each image, try each one and the bank on all, order them, write the file.

    settings: `queries` are those of the search on one image; each image then costs one for each
        direction of the bank, for each filter found, and for itself.
    strokes: of the profile, at most.

    folder/profile.toml: the settings; search.sqlite, crossing.sqlite: every score, so that nothing
    is paid twice; profile.json: what the attack takes. Raises InputError for what cannot be used
    or gains nothing, RunError for a folder that does not fit, Interrupted when asked to stop.
    """
    if settings.queries < FEWEST:
        raise InputError(f"queries {settings.queries}: expected at least {FEWEST} for a profile")
    if ":" in settings.objective:
        raise InputError(
            f"objective '{settings.objective}': a profile learns from scores; "
            "leave the boundary out"
        )
    told = callbacks or Callbacks()
    learning = Learning(settings, images, scorer, batch, told)
    with _opened(folder, Record.now(settings, scorer), resume):
        with closing(QueryLog(folder / "search.sqlite")) as log:
            found: list[list[Stroke]] = []
            spent = learning.run(log, _searching(found), settings.queries)
        known = [Stroke(direction=name) for name in BANK]
        known += [stroke for strokes_found in found for stroke in strokes_found]
        with closing(QueryLog(folder / "crossing.sqlite")) as log:
            gains: list[list[float]] = []
            spent += learning.run(log, _trying(known, gains), 1 + len(known))
        # The engine ends a search early that asks for the same pictures over and over.
        table = np.array([row + [0.0] * (len(known) - len(row)) for row in gains])
        best = ranked(known, table, strokes) if len(table) else ()
        if not best:
            raise InputError(
                f"{folder}: nothing tried moved the score of any image; give other images, a wider "
                "constraint or the model's true score range"
            )
        profile = Profile(
            version=__version__,
            model=scorer.name,
            images=tuple(entry.name for entry in images),
            constraint=settings.constraint,
            objective=settings.objective,
            queries_per_image=settings.queries,
            seed=settings.seed,
            queries=spent,
            strokes=best,
        )
        write_text(folder / FILE, profile.model_dump_json(indent=2) + "\n")
    return profile


def _searching(found: list[list[Stroke]]) -> Attack:
    """The first stages of filter-search; puts the best filter of each image into `found`."""

    def search(task: Task) -> Search:
        mine: list[Stroke] = []
        found.append(mine)
        canvas = Canvas(task)
        first = yield from first_brushes(canvas)
        # No more than there are: of a search that asks for more, the engine never comes back.
        tried = yield from searched_filters(canvas, first[0], task.queries - canvas.asked)
        mine += [brush.stroke for brush in tried[:1]]

    return search


def _trying(strokes: list[Stroke], gains: list[list[float]]) -> Attack:
    """Tries all strokes on each image; puts what they gain into `gains`."""

    def search(task: Task) -> Search:
        mine: list[float] = []
        gains.append(mine)
        canvas = Canvas(task)
        for brush in brushes_of(task, strokes):
            gain = yield from canvas.ask(canvas.painted(brush))
            mine.append(min(gain, task.reach))  # no attack makes use of more

    return search


@contextmanager
def _opened(folder: Path, record: Record, resume: bool) -> Iterator[None]:
    """The folder, with its settings in it and nobody else writing."""
    path = folder / "profile.toml"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None
    lock = FolderLock(folder)
    try:
        if path.is_file():
            if not resume:
                raise RunError(
                    f"{folder}: holds a profile already; go on with --resume, or use another --out"
                )
            difference = Record.read(path).difference(record)
            if difference:
                raise RunError(
                    f"{folder}: belongs to other settings: {difference}; use another --out"
                )
        elif any(entry.name != FolderLock.NAME for entry in folder.iterdir()):
            raise RunError(f"{folder}: is not empty and no profile; use another --out")
        else:
            write_text(path, record.text())
        yield
    finally:
        lock.release()
