"""Make a profile: directions that `filter-search` learns about a model from some images."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np

from iqattack.attacks import (
    AnySearch,
    Attack,
    ImageFailed,
    SearchEnded,
    SetAttack,
    SetSearch,
    SetTask,
    Task,
    single,
)
from iqattack.attacks.shared.painting.canvas import Brush, Canvas
from iqattack.attacks.shared.painting.filters import searched_filters
from iqattack.attacks.shared.painting.first import brushes_of, first_brushes
from iqattack.directions import BANK, STUDENT, Profile, Stroke, ranked
from iqattack.errors import InputError
from iqattack.images import ImageSet
from iqattack.models import Scorer
from iqattack.runs.execute import Callbacks
from iqattack.runs.files import write_text
from iqattack.runs.how import DEFAULT_HOW, How
from iqattack.runs.learning import Kind, learning
from iqattack.runs.settings import Record, Settings
from iqattack.runs.students import fewest, forget, studying
from iqattack.students import KINDS, Students, written
from iqattack.version import __version__

FILE = "profile.json"
STROKES = 16  # most in a profile
FEWEST = 1 + len(BANK) + 3 + 1  # queries per image: clean, the bank, channels, one filter


def make_profile(
    folder: Path,
    settings: Settings,
    images: ImageSet,
    scorer: Scorer,
    *,
    strokes: int = STROKES,
    students: int = 0,
    resume: bool = False,
    by_spec: bool = False,
    how: How = DEFAULT_HOW,
    callbacks: Callbacks | None = None,
) -> Profile:
    """Search a filter on each image, try all filters and the bank on all images, sort, and write.

    settings: `queries` is the budget of the search on one image; each image then costs one more
    query for each filter found on another image, and for each direction of the bank that its own
    search did not reach. strokes: most in the profile. students: total queries to train students of
    the model (`runs/students.py`); 0 for none. by_spec, how: as in `execute`; workers answer for
    all images.

    folder/profile.toml: the settings; queries.sqlite: every score, so that no query is repeated;
    profile.json: for the attack. Raises InputError for arguments that cannot be used and if nothing
    gains, RunError for a folder that does not fit, Interrupted when asked to stop.
    """
    if settings.queries < FEWEST:
        raise InputError(f"queries {settings.queries}: expected at least {FEWEST} for a profile")
    if ":" in settings.objective:
        raise InputError(
            f"objective '{settings.objective}': a profile learns from scores; leave out the "
            "boundary"
        )
    if 0 < students < fewest(len(images)):
        raise InputError(
            f"students {students}: expected at least {fewest(len(images)):,} queries for "
            f"{len(images)} images, or 0 for no students"
        )
    notify = callbacks or Callbacks()
    record = Record.now(settings, scorer, how.retry)
    if students:  # not an option of the attack, but needed to resume
        taught = settings.model_copy(update={"attack": f"{settings.attack}, students {students}"})
        record = record.model_copy(update={"settings": taught})
    each = settings.queries + len(BANK) + len(images) + len(KINDS) + students // len(images)
    with learning(
        Kind("profile", "profile.toml"),
        folder,
        settings,
        record,
        images,
        scorer,
        profiling(settings.queries, students, folder, notify.note),
        queries=each,
        total=len(images) * each,
        resume=resume,
        by_spec=by_spec,
        how=how,
        notify=notify,
    ) as (value, spent):
        known, gains, learnt = cast(Findings, value)
        best = ranked(known, np.array(gains), strokes)
        if not best:
            raise InputError(
                f"{folder}: no candidate moved the score of any image; use other images, a wider "
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
            format=2 if learnt else 1,
            students=b64encode(written(learnt)) if learnt else None,
        )
        text = profile.model_dump_json(indent=2, exclude=None if learnt else {"students"})
        write_text(folder / FILE, text + "\n")
        forget(folder)
    return profile


Findings = tuple[list[Stroke], list[list[float]], Students]


def profiling(
    queries: int,
    students: int = 0,
    folder: Path | None = None,
    note: Callable[[str, str], None] = lambda _subject, _phrase: None,
) -> SetAttack:
    """Search each image with a budget of queries, then try all results on all images.

    students: queries that they learn from; folder: stores their state, see `studying`. Returns
    strokes, their gains (a list for each image), and the students.
    """

    def learn(given: SetTask) -> SetSearch:
        found = yield from single(_searching(queries))(given)
        known = [Stroke(direction=name) for name in BANK]
        known += [stroke for stroke in cast(list[Stroke | None], found) if stroke is not None]
        taught: Students = {}
        if students and folder is not None:
            with suppress(ImageFailed):  # the engine names the image
                taught = cast(Students, (yield from studying(students, folder, note)(given)))
            known += [Stroke(direction=STUDENT + kind) for kind in taught]
        gains = yield from single(_trying(known, taught), thorough=True)(given)
        return known, gains, taught

    return learn


def _searching(queries: int) -> Attack:
    """Run the first stages of filter-search; returns the best filter, or None."""

    def search(task: Task) -> AnySearch:
        canvas = Canvas(_as_at_first(task))
        brushes: list[Brush] = []
        with suppress(SearchEnded):
            first = yield from first_brushes(canvas)
            spent = 1 + task.queries - canvas.left
            brushes = yield from searched_filters(canvas, first[0], queries - spent)
        return brushes[0].stroke if brushes else None

    return search


def _trying(strokes: Sequence[Stroke], students: Students) -> Attack:
    """Try all strokes; returns their gains, limited to what an attack can use."""

    def search(task: Task) -> AnySearch:
        canvas = Canvas(_as_at_first(task))
        gains = []
        for brush in brushes_of(canvas.task, strokes, students):
            gain = yield from canvas.ask(canvas.painted(brush))
            gains.append(min(gain, task.reach))
        return gains

    return search


def _as_at_first(task: Task) -> Task:
    """The task with its generator reset, so that the bank's noise is the same and already
    scored."""
    return replace(task, rng=task.rng.clone_state())
