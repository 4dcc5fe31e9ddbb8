"""Fresh scores of the clean and the attacked pictures of a run, outside its budget."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress

from torch import Tensor

from iqattack.engine import Interrupted, QueryLog, image_hash
from iqattack.errors import InputError, RunError
from iqattack.models import Scorer, fresh
from iqattack.runs.cells import csv_of
from iqattack.runs.files import write_text
from iqattack.runs.how import DEFAULT_HOW, How
from iqattack.runs.pairs import Scored, read_pair
from iqattack.runs.rescored import (
    FRESH,
    MOST_TIMES,
    RESCORED,
    Rescored,
    Rescoring,
    Scores,
    each_rescored,
    unchanged,
)
from iqattack.runs.results import Result
from iqattack.runs.run import Run
from iqattack.runs.visibility import known
from iqattack.scoring import Reply, Request, ScorePool

FEWEST = 2  # scores of a picture, for a standard error
CLEAN, ATTACKED = "clean", "attacked"


def rescore(
    run: Run,
    scorer: Scorer,
    *,
    times: int,
    how: How = DEFAULT_HOW,
    progress: Callable[[int, int], None] = lambda *_: None,
    stop: Callable[[], bool] = lambda: False,
) -> Rescoring:
    """Score the clean and the attacked picture of each finished image until each has `times` fresh
    scores, one picture per call, and write rescored.csv and summary.json.

    run: open for writing. scorer: the run's model; random defences draw anew each time. Every score
    is logged before the next query, so that an interrupted call can continue. The queries do not
    count towards the budget, but are included in the log's count of sent images. progress: called
    with (images done, images).

    Raises InputError if the model fails; RunError for another model than the run's, or pictures
    that are not those that were scored; Interrupted when asked to stop.
    """
    check_times(times)
    check_model(run, scorer)
    state = run.checked_state(pictures=False)
    done = state.results.done
    if not len(done):
        raise RunError(f"{run.folder}: no image is finished yet; wait, or resume the run")
    todo = [result for result in done if not unchanged(result)]
    with run.open_log() as log:
        ceiling = how.ceiling(scorer, log)
        if ceiling is not None:
            ceiling.remedy = "and so are its fresh scores; repeat the command with a higher limit"
        again = fresh(scorer, first=1 + log.kept_number(FRESH))
        with how.pool_of(again, ceiling=ceiling) as pool:
            for number, result in enumerate(todo):
                progress(number, len(todo))
                _rescore(run, log, pool, result, times, stop)
        progress(len(todo), len(todo))
        rows = list(each_rescored(log, iter(done), run.model))
    found = run.rescoring(state.results)
    if found is None:
        raise InputError(
            f"{run.folder}: no image was changed, or none has {FEWEST} finite fresh scores of both "
            "pictures: there is nothing to report"
        )
    write_text(run.home / RESCORED, csv_of(Rescored, rows, "bias"))
    with suppress(RunError):
        joined, seen = known(run, run.state()[0])
        run.write_summary(run.summary_of(state._replace(results=joined), seen))
    return found


def is_worth_rescoring(run: Run) -> bool:
    """Whether a run is done and changed any image, so that there is something to score again."""
    results, pending, _ = run.checked_state(pictures=False)
    return not pending and any(not unchanged(result) for result in results.done)


def rescored_rows(run: Run) -> list[Rescored]:
    """The fresh scores of each image that has some."""
    results = run.checked_state(pictures=False).results
    with run.open_log() as log:
        return list(each_rescored(log, iter(results.done), run.model))


def check_times(times: int) -> None:
    """Raise InputError for a number of fresh scores that is not possible."""
    if not FEWEST <= times <= MOST_TIMES:
        raise InputError(f"times {times}: expected {FEWEST} to {MOST_TIMES:,} scores per picture")


def check_model(run: Run, scorer: Scorer) -> None:
    """Raise RunError for another model than the run's, or one whose files have changed."""
    changed = run.changed_file(scorer)
    if changed is not None:
        raise RunError(
            f"{run.folder}: {changed} has changed since the run began, so its scores would be "
            "those of another model; restore that file"
        )


def _rescore(
    run: Run,
    log: QueryLog,
    pool: ScorePool,
    result: Result,
    times: int,
    stop: Callable[[], bool],
) -> None:
    """Score what is missing of one image, clean and attacked pictures alternating."""
    name = result.image
    scored = Scored.read(result, log)
    clean, attacked = read_pair(run, result, scored)
    scores = Scores.read(log, name)
    if scores is None or scored is None or not scores.are_of(scored):
        digests = (f"{image_hash(picture):016x}" for picture in (clean, attacked))
        scores = Scores(clean_hash=next(digests), attacked_hash=next(digests))
    pictures: dict[str, Tensor] = {CLEAN: clean, ATTACKED: attacked}
    missing = {which: times - len(getattr(scores, which)) for which in pictures}
    todo = deque(
        Request(which, k, picture)
        for k in range(times)
        for which, picture in pictures.items()
        if k < missing[which]
    )
    while todo or pool.pending:
        stopping = stop()
        while todo and not stopping and (not pool.sent or pool.sent < pool.capacity):
            pool.submit([todo.popleft()])  # alone: two in a call may share their randomness
        if stopping and not pool.running:
            pool.forget()
            raise Interrupted("stopped; fresh scores are kept; repeat the command to continue")
        scores = _take(log, name, scores, pool.wait(resend=not stopping), pool)


def _take(
    log: QueryLog, name: str, scores: Scores, replies: list[Reply], pool: ScorePool
) -> Scores:
    """Record the replies; InputError for queries that the pool has given up."""
    error: Exception | None = None
    for reply in replies:
        which = reply.request.name
        if reply.score is not None:
            more = (*getattr(scores, which), reply.score)
            scores = scores.model_copy(update={which: more})
        elif reply.final:
            error = error or reply.error
    if replies:
        scores.keep(log, name)
        log.count_beside(len(replies))
        log.keep(FRESH, str(log.kept_number(FRESH) + len(replies)))
    if error is not None:
        pool.forget()
        raise InputError(
            f"{name}: {error}; fresh scores so far are kept; repeat the command to continue"
        ) from error
    return scores
