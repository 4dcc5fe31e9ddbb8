"""The scores of every query, from the log of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import starmap

import numpy as np
from numpy.typing import NDArray

from iqattack.errors import InputError, RunError
from iqattack.objectives import Direction, WithBoundary, parse_objective, towards_end
from iqattack.runs.best import gains_of, keeps_best
from iqattack.runs.columns import Results
from iqattack.runs.results import OK, SEEN, UNCHANGED, Result
from iqattack.runs.run import CheckedState, Run
from iqattack.runs.summary import Summary, summarise
from iqattack.runs.visibility import known


@dataclass(frozen=True)
class Trace:
    """The scores of one image, query by query; the first query is the clean image.

    scores: raw, (N,). gains: movement in the wanted direction as fractions of the score range,
    (N,), negative if the score went the other way. direction: of the quality. reach: the largest
    possible gain from the clean score within the range.
    """

    image: str
    direction: Direction
    reach: float
    scores: NDArray[np.float64]
    gains: NDArray[np.float64]

    def best(self, queries: int) -> tuple[float, float, int]:
        """Score and gain of the best of the first `queries` queries, and their number.

        The best has the largest gain, and is the clean image if nothing was gained. A search with a
        score boundary keeps another one, see docs/measures.md.
        """
        gains = self.gains[:queries]
        k = int(np.argmax(np.where(np.isfinite(gains), gains, -np.inf)))  # the first of equals
        return float(self.scores[k]), float(gains[k]), len(gains)


def read_traces(run: Run) -> list[Trace]:
    """The traces of a run, in order, read only from its log.

    For a run under way, these are the scores so far; images without a direction yet, or with a
    non-finite clean score, have none.
    """
    return list(each_trace(run))


def each_trace(run: Run) -> Iterator[Trace]:
    """The same one by one."""
    low, high = run.model.score_range
    with run.open_log() as log:
        for image, direction, rows in log.each_rows(digests=True):
            if direction is None:
                continue
            if not len(rows):
                raise RunError(
                    f"{run.folder}: {image}: has no query in the log; restore a copy of the log"
                )
            scores = rows["score"].astype(np.float64)
            target = towards_end(direction, float(scores[0]), (low, high), run.model.lower_better)
            gains = gains_of(rows, target, run.model)
            yield Trace(image, target.direction, target.reach, scores, gains)


def results_at(run: Run, queries: int) -> CheckedState:
    """The state as if the budget had been `queries`.

    Everything is read from the log: an image's best score so far, and its queries. Measures that
    need the pixels of that image are None. An attack that plans its whole budget ahead, like
    `square`, might have spent a smaller one better.

    Raises InputError for a budget below 1 or above the run's; RunError for an objective with a
    score boundary, which keeps the least different image that crosses it: the log does not identify
    that image; and for images that were attacked together, whose queries depend on the budget.
    """
    _check_budget(run, queries)
    budget = run.settings.queries
    state = run.checked_state(pictures=queries == budget)
    if queries == budget:
        return state
    _check_smaller(run)
    results = state.results
    failed, traces = results.failed, _finished(run, results)

    def at(number: int, result: Result) -> Result:
        if failed[number]:
            return result
        score, gain, spent = next(traces).best(queries)
        gone = dict.fromkeys(("linf", "rms", "psnr", "ssim", "ms_ssim", "jnd_violation", *SEEN))
        status = OK if gain > 0.0 else UNCHANGED
        found = {"score_adv": score, "gain": gain, "queries": spent, "status": status}
        return result.model_copy(update={**gone, **found})

    return CheckedState(Results.of(starmap(at, enumerate(results))), state.pending, state.notes)


@dataclass(frozen=True)
class Reached:
    """What the finished images of a run had reached after given numbers of queries.

    results: of the N finished images, at the full budget. queries: (Q,), ascending. scores: raw, of
    the best image so far, (N, Q). gains: as fractions of the score range, (N, Q), at least 0.
    """

    results: Results
    queries: tuple[int, ...]
    scores: NDArray[np.float64]
    gains: NDArray[np.float64]


def reached(run: Run, queries: Sequence[int]) -> Reached:
    """The best of each image after each of these numbers of queries, as in `results_at`, from one
    pass over the log.

    Visibility is that of the full run. Errors as in `results_at`.
    """
    points = sorted(set(queries))
    for number in points:
        _check_budget(run, number)
    results = run.checked_state(pictures=False).results
    done, smaller = results.done, [n for n in points if n < run.settings.queries]
    scores = np.repeat(done.real("score_adv")[:, None], len(points), axis=1)
    gains = np.repeat(done.real("gain")[:, None], len(points), axis=1)
    if smaller:
        _check_smaller(run)
        for k, trace in enumerate(_finished(run, results)):
            for q, number in enumerate(smaller):
                scores[k, q], gains[k, q], _ = trace.best(number)
    return Reached(done, tuple(points), scores, gains)


def _check_budget(run: Run, queries: int) -> None:
    """Raise InputError for a number of queries outside the run's budget."""
    budget = run.settings.queries
    if not 1 <= queries <= budget:
        raise InputError(
            f"queries {queries}: expected 1 to {budget}, the budget of {run.folder}; "
            "a larger budget needs a new run"
        )


def _check_smaller(run: Run) -> None:
    """Raise RunError if the log cannot show the results of a smaller budget."""
    if run.settings.budget_total is not None:
        raise RunError(
            f"{run.folder}: its images share a budget of {run.settings.budget_total:,} queries; "
            "summary.json and the page have the ranking at smaller budgets"
        )
    if run.settings.together:
        raise RunError(
            f"{run.folder}: with attack {run.settings.attack}, each image learnt from all "
            f"{run.settings.queries:,} queries about those before it, so with a smaller budget its "
            "first queries would have been others; attack again with that budget"
        )
    if not keeps_best(run.settings):
        given = (
            f"objective {run.settings.objective} keeps the least different image"
            if isinstance(parse_objective(run.settings.objective), WithBoundary)
            else f"floor {run.settings.floor} keeps a version of the best image"
        )
        raise RunError(
            f"{run.folder}: {given}, which the log cannot show for a smaller budget; attack again "
            "with that budget"
        )


def _finished(run: Run, results: Results) -> Iterator[Trace]:
    """The traces of the finished images, in their order."""
    left = each_trace(run)
    for image in results.done.images:
        for trace in left:  # both are in the order of the log
            if trace.image == image:
                break
        else:
            raise RunError(
                f"{run.folder}: {image}: has a result, but no direction in the log; restore a copy "
                "of the log"
            )
        yield trace


def summary_at(run: Run, queries: int) -> Summary:
    """The measures as if the budget had been `queries`; errors as in `results_at`."""
    results, pending, notes = results_at(run, queries)
    seen = None
    if queries == run.settings.queries:
        results, seen = known(run, results)
    summary = summarise(
        run.record,
        results,
        pending,
        check=run.check,
        nonfinite=run.nonfinite,
        budget=queries,
        visibility=seen,
    )
    return summary.model_copy(update={"findings": (*summary.findings, *notes)})
