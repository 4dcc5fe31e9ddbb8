"""The results of an attack on the ranking of a set, query by query; see
`objectives.SetObjective`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from iqattack.attacks.set_based.ranking import kept_gains
from iqattack.engine import QueryLog
from iqattack.errors import RunError
from iqattack.evaluation import krocc, ndcg, srocc, top_overlap
from iqattack.objectives import SetObjective, Standing, Top, parse_objective, towards_end
from iqattack.objectives.standing import DIGITS
from iqattack.runs.best import gains_of
from iqattack.runs.columns import Results
from iqattack.runs.settings import Record

ORDER = "order of the queries"  # its name in the log
POINTS = 40  # of the curve
PLACES = 10  # of NDCG and overlap, at most a quarter of the images; or the objective's

Floats = NDArray[np.float64]


class RankingPoint(BaseModel):
    """The ranking after a number of queries on all images, clean ones included.

    value: of the objective: SROCC, or the share of chosen images that are not yet in their place.
    srocc, krocc: of clean and attacked scores. ndcg, overlap: of the first places. touched: number
    of changed images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    queries: int
    value: float
    srocc: float
    krocc: float
    ndcg: float
    overlap: float
    touched: int


class Ranking(BaseModel):
    """The results of an attack on the ranking.

    budget: queries for all images. places: number of places for NDCG and overlap. touched: number
    of changed images; jod, jod_least: of these only, if measured. curve: for smaller budgets, with
    the best choice among the scores so far; its last point is what was saved.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    budget: int
    places: int
    touched: int
    jod: float | None
    jod_least: float | None
    curve: tuple[RankingPoint, ...]

    @property
    def last(self) -> RankingPoint:
        """The point that was saved."""
        return self.curve[-1]


def keep_order(log: QueryLog, order: Sequence[tuple[str, int]]) -> None:
    """Record the order of a set attack's queries: image and number of queries, round by round."""
    numbers = {image: number for number, image in enumerate(log.images())}
    log.keep(ORDER, json.dumps([[numbers[image], queries] for image, queries in order]))


def read_order(log: QueryLog) -> list[tuple[int, int]]:
    """The same, by the images' numbers; RunError if it does not match the log's rows.

    Empty before a run is done.
    """
    text = log.kept(ORDER)
    if text is None:
        return []
    images = log.images()
    asked = np.zeros(len(images), dtype=np.int64)
    order: list[tuple[int, int]] = []
    try:
        for number, queries in json.loads(text):
            if type(number) is not int or type(queries) is not int or number < 0 or queries < 1:
                raise ValueError
            asked[number] += queries
            order.append((number, queries))
    except (ValueError, TypeError, IndexError, RecursionError):
        raise RunError(f"{log.path}: its order of queries is invalid; restore a copy") from None
    failed = log.failures()
    for image, queries in zip(images, asked.tolist(), strict=True):
        there, ordered = log.queries(image), 1 + len(log.again(image)) + queries
        # The last queries of a failed image had no answer.
        if there and (there > ordered if image in failed else there != ordered):
            raise RunError(
                f"{log.path}: {image}: has {there} queries, but its order of queries {ordered}; "
                "restore a copy"
            )
    return order


@dataclass(frozen=True)
class _Set:
    """The images of a ranking. names: of those with a direction; gains: of all queries of each;
    first: number of these before the search; reached: the gain that was saved.
    """

    standing: Standing
    names: list[str]
    gains: list[Floats]
    first: list[int]
    reached: Floats

    @classmethod
    def of(cls, log: QueryLog, record: Record, results: Results, objective: SetObjective) -> Self:
        directions, model, done = log.directions(), record.model, results.done
        names = [image for image in log.images() if image in directions]
        targets = [
            towards_end(
                directions[image],
                float(log.clean_score(image) or 0.0),
                model.score_range,
                model.lower_better,
            )
            for image in names
        ]
        saved = dict(zip(done.images, done.real("gain").tolist(), strict=True))
        return cls(
            objective.standing(names, targets),
            names,
            [gains_of(log.rows(image), t, model) for image, t in zip(names, targets, strict=True)],
            [1 + len(log.again(image)) for image in names],
            np.array([max(saved.get(image, 0.0), 0.0) for image in names]),
        )


def _objective(log: QueryLog, record: Record, results: Results) -> SetObjective | None:
    """The objective of a finished run, if it is a set objective."""
    objective = parse_objective(record.settings.objective)
    if not isinstance(objective, SetObjective) or len(results) < log.count():
        return None
    return None if log.kept(ORDER) is None else objective


def ranking_of(log: QueryLog, record: Record, results: Results) -> Ranking | None:
    """The results of a run; None unless it has a set objective and is done."""
    objective, budget = _objective(log, record, results), record.settings.budget_total
    if objective is None or budget is None:
        return None
    images = log.images()
    order = [(images[number], queries) for number, queries in read_order(log)]
    ranked = _Set.of(log, record, results, objective)
    places = _places(objective, len(ranked.names))
    queries = sum(map(log.queries, images))
    last = _point(ranked.standing, queries, ranked.reached, places)
    jods = [r.jod for r in results.done if (r.gain or 0.0) > 0.0 and r.jod is not None]
    curve = (point for point in _curve(ranked, order, places) if point.queries < queries)
    return Ranking(
        budget=budget,
        places=places,
        touched=last.touched,
        jod=float(np.mean(jods)) if jods else None,
        jod_least=min(jods, default=None),
        curve=(*curve, last),
    )


def better_choice(log: QueryLog, record: Record, results: Results) -> str | None:
    """A phrase if another choice among the scores has a lower value than the saved one. None
    otherwise, as after any attack.
    """
    objective = _objective(log, record, results)
    if objective is None:
        return None
    ranked = _Set.of(log, record, results, objective)
    failed = log.failures()
    gains = [
        np.array([0.0] if name in failed else kept_gains(one))
        for name, one in zip(ranked.names, ranked.gains, strict=True)
    ]
    saved = [
        min(int(np.searchsorted(one, gain)), len(one) - 1)
        for one, gain in zip(gains, ranked.reached, strict=True)
    ]
    standing = ranked.standing
    best = standing.positions(gains, standing.chosen(gains, saved))
    now = standing.moved(ranked.reached)
    if standing.potential(best) >= standing.potential(now) - 10.0**-DIGITS:
        return None
    return f"{standing.value(best):g} was possible, {standing.value(now):g} was saved"


def _places(objective: SetObjective, images: int) -> int:
    if isinstance(objective, Top):
        return objective.k
    return max(min(PLACES, images // 4), 1)


def _curve(ranked: _Set, order: Sequence[tuple[str, int]], places: int) -> list[RankingPoint]:
    """Points at geometrically growing totals, with the best choice among the scores so far. order:
    image and queries, round by round.
    """
    numbers = {image: number for number, image in enumerate(ranked.names)}
    begun, standing = sum(ranked.first), ranked.standing
    totals = list(accumulate((queries for _, queries in order), initial=begun))
    wanted = set(np.searchsorted(totals, np.geomspace(begun, totals[-1], POINTS)).tolist())
    seen, chosen = list(ranked.first), [0] * len(ranked.names)
    points = []
    for done, total in enumerate(totals):
        if done:
            image, queries = order[done - 1]
            seen[numbers[image]] += queries
        if done not in wanted:
            continue
        there = [_gained(one[:n]) for one, n in zip(ranked.gains, seen, strict=True)]
        start = [min(k, len(one) - 1) for k, one in zip(chosen, there, strict=True)]
        chosen = standing.chosen(there, start)
        moved = np.array([one[k] for one, k in zip(there, chosen, strict=True)])
        points.append(_point(standing, total, moved, places))
    return points


def _gained(gains: Floats) -> Floats:
    """The gains from which an image may choose, from 0 upwards."""
    return np.unique(np.append(gains[np.isfinite(gains) & (gains > 0.0)], 0.0))


def _point(standing: Standing, queries: int, gains: Floats, places: int) -> RankingPoint:
    now = standing.moved(gains)
    return RankingPoint(
        queries=queries,
        value=standing.value(now),
        srocc=srocc(standing.clean, now),
        krocc=krocc(standing.clean, now),
        ndcg=ndcg(standing.clean, now, places),
        overlap=top_overlap(standing.clean, now, places),
        touched=int(np.count_nonzero(gains > 0.0)),
    )
