"""Whether a result agrees with the scores of its image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from iqattack.constraints import parse_floor
from iqattack.engine.log import QueryLog, Rows
from iqattack.errors import RunError
from iqattack.evaluation import normalised_gain
from iqattack.objectives import Direction, SetObjective, Target, parse_objective, towards_end
from iqattack.runs.columns import Results
from iqattack.runs.results import OK, UNCHANGED, Result
from iqattack.runs.settings import ModelRecord, Record, Settings

AT_ONCE = 2**16  # rows compared with their results at a time


class Doubted(NamedTuple):
    """A result to examine. number: among the results. direction, rows: of its image in the log."""

    number: int
    direction: Direction | None
    rows: Rows


def doubtful(log: QueryLog, results: Results, record: Record) -> Iterator[Doubted]:
    """Yield the results that may differ from the rows of their images, including all that do.

    `misreported` and the others say how, one by one, which takes too long for a million results.
    results: in the order of the log. RunError for rows that were changed after logging.
    """
    failed, number = results.failed, 0
    waiting: list[Doubted] = []
    size = 0
    try:
        for image, direction, rows in log.each_rows(digests=True):
            if number == len(results) or results.images[number] != image:
                continue
            number += 1
            if failed[number - 1]:
                continue
            waiting.append(Doubted(number - 1, direction, rows))
            size += len(rows)
            if size >= AT_ONCE:
                yield from _differing(waiting, results, record)
                waiting, size = [], 0
    except RunError:
        yield from _differing(waiting, results, record)  # they come first
        raise
    yield from _differing(waiting, results, record)


def _differing(waiting: list[Doubted], results: Results, record: Record) -> Iterator[Doubted]:
    """Those that differ in anything, as in `misreported` and `miscounted`."""
    some = [item for item in waiting if len(item.rows)]
    yield from (item for item in waiting if not len(item.rows))
    if not some:
        return
    at = np.array([item.number for item in some])
    sizes = np.array([len(item.rows) for item in some])
    starts = np.cumsum(sizes) - sizes
    rows = np.concatenate([item.rows for item in some])
    scores, hashes = rows["score"].astype(np.float64), rows["hash"]
    clean = scores[starts]

    def spread(values: NDArray[Any]) -> NDArray[Any]:
        return np.repeat(values, sizes)

    up = results.where("direction", "up")[at]
    signs = np.where(up != record.model.lower_better, 1.0, -1.0)
    gains = normalised_gain(spread(clean), scores, spread(signs), record.model.score_range)
    gains[hashes == spread(hashes[starts])] = 0.0
    finite = np.where(np.isfinite(gains), gains, -np.inf)
    gain, attacked = results.real("gain")[at], results.real("score_adv")[at]
    if keeps_best(record.settings):
        right = np.maximum.reduceat(finite, starts) == gain
    else:
        right = np.logical_or.reduceat(finite == spread(gain), starts)
    right &= results.known["gain"][at]
    right &= results.known["score_clean"][at] & (results.real("score_clean")[at] == clean)
    right &= results.known["score_adv"][at]
    right &= np.logical_or.reduceat(scores == spread(attacked), starts)
    right &= results.where("status", OK)[at] == (gain > 0.0)
    right &= up == np.array([item.direction == "up" for item in some])
    right &= np.array([item.direction is not None for item in some])
    right &= ~results.where("direction", None)[at]
    right &= (results.counts["queries"][at] == sizes) & (sizes <= record.settings.queries)
    yield from (item for item, fits in zip(some, right.tolist(), strict=True) if not fits)


def keeps_best(settings: Settings) -> bool:
    """Whether the result is the best scored image, which a log can show.

    With a score boundary it is the least different image that crosses it, with a set objective the
    one that suits the ranking, and under a floor of the result a version of the best.
    """
    if isinstance(parse_objective(settings.objective), SetObjective):
        return False
    floor = None if settings.floor is None else parse_floor(settings.floor)
    return ":" not in settings.objective and (floor is None or not floor.of_result)


def gains_of(rows: Rows, target: Target, model: ModelRecord) -> NDArray[np.float64]:
    """How far each score of an image moved, as fractions of the score range, (N,)."""
    scores = rows["score"].astype(np.float64)
    gains = normalised_gain(scores[0], scores, 1.0 if target.rising else -1.0, model.score_range)
    # A check of the model repeats the clean image; the first score counts.
    gains[rows["hash"] == rows["hash"][0]] = 0.0
    return gains


def miscounted(result: Result, rows: Rows, record: Record) -> Iterator[str]:
    """Yield how a result differs from the number of rows of its image, one phrase each."""
    if len(rows) != result.queries:
        yield f"{len(rows)} queries in the log, reported {result.queries}"
    if len(rows) > record.settings.queries:
        yield f"{len(rows)} queries in the log, more than the budget of {record.settings.queries}"


def misreported(result: Result, rows: Rows, record: Record) -> str | None:
    """How a result differs from the scores of its image, in a phrase.

    With a score boundary, the least different image that crosses it is kept. Scores alone do not
    identify it, so the result must be one of them.
    """
    if not len(rows):
        return "has no query in the log"
    if result.direction is None or result.gain is None:
        return "has a result without a direction or a gain"
    scores = rows["score"].astype(np.float64)
    for name, reported in (("clean", result.score_clean), ("attacked", result.score_adv)):
        among = scores[:1] if name == "clean" else scores
        if reported is None or not (among == reported).any():
            return f"its {name} score {reported!r} is not in the log"
    status = OK if result.gain > 0.0 else UNCHANGED
    if result.status != status:
        return f"status is {status}, reported {result.status}"
    return _gains_otherwise(result.direction, result.gain, rows, record)


def _gains_otherwise(
    direction: Direction, reported: float, rows: Rows, record: Record
) -> str | None:
    scores, model = rows["score"].astype(np.float64), record.model
    target = towards_end(direction, float(scores[0]), model.score_range, model.lower_better)
    gains = gains_of(rows, target, model)
    finite = np.where(np.isfinite(gains), gains, -np.inf)
    if not keeps_best(record.settings):
        if not (finite == reported).any():
            return f"its gain {reported!r} belongs to no score in the log"
        return None
    k = int(np.argmax(finite))
    if finite[k] != reported:
        better = finite[k] > reported
        what = f"query {k + 1} of the log has the better score {float(scores[k])!r}: "
        return (
            f"{what if better else ''}the best score of the log gains {float(finite[k])!r}, "
            f"reported {reported!r}"
        )
    return None
