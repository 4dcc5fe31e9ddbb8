"""The numbers of a figure, from the logs and results of runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqattack.errors import RunError
from iqattack.evaluation import (
    Interval,
    best_at,
    bootstrap_interval,
    mean_intervals,
    progress,
    srocc,
)
from iqattack.evaluation.bootstrap import LARGE
from iqattack.evaluation.curves import ROUNDING
from iqattack.objectives import WithBoundary, parse_objective
from iqattack.runs import Run, measured
from iqattack.runs.cells import csv_line, to_cell
from iqattack.runs.columns import Results
from iqattack.runs.summary import Measured, mean_measured
from iqattack.runs.traces import Trace, each_trace
from iqattack.specs import text

Array = NDArray[np.float64]

POINTS = 100  # of a curve, evenly spaced in the logarithm of queries
FEWEST = 3  # images: fewer have no interval
ALONE, TOGETHER = (0.1, 0.2, 0.5), (0.2,)  # boundaries of one run, and of several


@dataclass(frozen=True)
class Named:
    """A run of a figure, with its label."""

    run: Run
    label: str


@dataclass(frozen=True)
class State:
    """The finished images of a run, and how many failed or are pending."""

    done: Results
    failed: int
    pending: int


@dataclass(frozen=True)
class Curve:
    """A mean over images against queries, with its 95 % interval; (Q,) each.

    boundary: the one that images are counted for; None for gains. images: number of images in the
    mean. low, high: NaN with fewer than three images.
    """

    of: Named
    images: int
    queries: NDArray[np.int64]
    mean: Array
    low: Array
    high: Array
    boundary: float | None = None


@dataclass(frozen=True)
class Scores:
    """Clean and attacked scores (N,) of a run's finished images.

    raised: which images the attack tried to make look better to the model, (N,). srocc: of clean
    and attacked scores, NaN if one side is constant; interval: NaN with fewer than three images.
    """

    of: Named
    images: Sequence[str]
    raised: NDArray[np.bool_]
    clean: Array
    attacked: Array
    srocc: float
    interval: Interval


@dataclass(frozen=True)
class Seen:
    """The visibility (SSIM or JOD) and the gain of each change, both (N,), with their means.

    left_out: finished images without that measure.
    """

    of: Named
    images: Sequence[str]
    similarity: Array
    gain: Array
    mean_similarity: Measured
    mean_gain: Measured
    left_out: int


def state_of(run: Run, *, pictures: bool = False) -> State:
    """The finished images of a run, compared with its log; RunError if there are none.

    pictures: whether the visibility of changes is compared with the saved images, too.
    """
    results, pending, _ = run.checked_state(pictures=pictures)
    done = results.done
    if not len(done):
        raise RunError(f"{run.folder}: no image is finished yet; wait, or resume the run")
    return State(done, len(results) - len(done), pending)


def gain_curve(of: Named, state: State) -> Curve:
    """Mean of the largest gain so far, up to the last query of any image."""
    points = _points(state)
    best = np.array(
        [best_at([trace.gains], points)[0] for trace in _traces(of.run, state)],
        dtype=np.float64 if len(state.done) <= LARGE else np.float32,
    )
    return _curve(of, points, best)


def crossing_curves(of: Named, state: State, boundaries: Sequence[float]) -> list[Curve]:
    """The share of images that have crossed each boundary, after each number of queries.

    Images without a reach, whose clean score lies at the end of the range, are left out, as in
    `crossing`; RunError if no image is left.
    """
    points, crossed = _points(state), list[NDArray[np.int64]]()
    for trace in _traces(of.run, state):
        if trace.reach > 0.0:
            crossed.append(_first_queries(trace, boundaries))
    if not crossed:
        raise RunError(
            f"{of.run.folder}: all clean scores lie at the ends of the score range: there is no "
            "boundary to cross; attack again with the model's range"
        )
    first = np.array(crossed)
    return [
        _curve(of, points, first[:, k, None] <= points, boundary)
        for k, boundary in enumerate(boundaries)
    ]


def boundaries_of(runs: Sequence[Run]) -> tuple[float, ...]:
    """The boundaries of the runs' objectives; if none has one, 0.1, 0.2 and 0.5 for one run and 0.2
    for several.
    """
    objectives = [parse_objective(run.settings.objective) for run in runs]
    found = {each.fraction for each in objectives if isinstance(each, WithBoundary)}
    return tuple(sorted(found)) or (ALONE if len(runs) == 1 else TOGETHER)


def scores_of(of: Named, state: State) -> Scores:
    """Both scores of each image."""
    done = state.done
    clean, attacked = done.real("score_clean"), done.real("score_adv")
    enough = len(done) >= FEWEST
    return Scores(
        of,
        done.images,
        done.where("direction", "up"),
        clean,
        attacked,
        srocc(clean, attacked),
        bootstrap_interval(srocc, clean, attacked) if enough else (math.nan, math.nan),
    )


def seen_of(of: Named, state: State, measure: str, progress: Callable[[int, int], None]) -> Seen:
    """The visibility of each image's change; RunError if it was not measured for any image.

    measure: `ssim` or `jod`. progress: called with (images done, images) while JOD is measured.
    """
    done = state.done
    if measure == "jod":
        done, _ = measured(of.run, done, progress=progress)
    known = np.flatnonzero(done.known[measure])
    if not len(known):
        why = (
            "JOD was not measured for any image; pip install 'iqattack[visibility]' and restore "
            "the images, or use ssim"
            if measure == "jod"
            else "SSIM is not known for any image: they are smaller than 11 pixels, or missing"
        )
        raise RunError(f"{of.run.folder}: {why}")
    chosen = done.take(known)
    similarity, gain = chosen.real(measure), chosen.real("gain")
    return Seen(
        of,
        chosen.images,
        similarity,
        gain,
        _mean(similarity),
        _mean(gain),
        len(done) - len(known),
    )


def _mean(values: Array) -> Measured:
    found = mean_measured(values)
    if len(values) >= FEWEST:
        return found
    return Measured(value=found.value, interval=(math.nan, math.nan))


def _points(state: State) -> NDArray[np.int64]:
    longest = int(state.done.counts["queries"].max())
    return np.unique(np.geomspace(1, longest, POINTS).round().astype(np.int64))


def _traces(run: Run, state: State) -> Iterator[Trace]:
    """The traces of the finished images, in their order."""
    left = iter(state.done.images)
    wanted = next(left, None)
    for trace in each_trace(run):
        if trace.image == wanted:
            yield trace
            wanted = next(left, None)


def _first_queries(trace: Trace, boundaries: Sequence[float]) -> NDArray[np.int64]:
    """After how many queries each boundary was crossed, (B,); a number beyond all queries if it
    never was.
    """
    went = progress(trace.gains, trace.reach)
    crossed = went[None, :] >= np.asarray(boundaries)[:, None] - ROUNDING  # NaN does not
    never = np.iinfo(np.int64).max
    return np.where(crossed.any(axis=1), crossed.argmax(axis=1) + 1, never)


def _curve(
    of: Named, points: NDArray[np.int64], values: NDArray[np.generic], boundary: float | None = None
) -> Curve:
    rows = np.asarray(values, dtype=np.float64)
    low = high = np.full(len(points), np.nan)
    if len(rows) >= FEWEST:
        low, high = mean_intervals(np.ascontiguousarray(rows.T))
    return Curve(of, len(rows), points, rows.mean(axis=0), low, high, boundary)


# -- as a table -----------------------------------------------------------------------------------


def curve_table(curves: Iterable[Curve]) -> Iterator[str]:
    """The lines of a CSV file of curves."""
    counted = list(curves)
    crossing = any(curve.boundary is not None for curve in counted)
    name = "share" if crossing else "mean_gain"
    yield csv_line(
        [
            *("run", "label", *(("boundary",) if crossing else ())),
            *("images", "queries", name, "low", "high"),
        ]
    )
    for curve in counted:
        bound = () if curve.boundary is None else (text(curve.boundary),)
        columns = (curve.queries.tolist(), *map(_listed, (curve.mean, curve.low, curve.high)))
        for queries, *values in zip(*columns, strict=True):
            yield csv_line(
                (*_names(curve.of), *bound, str(curve.images), str(queries), *map(_cell, values))
            )


def scores_table(scores: Iterable[Scores]) -> Iterator[str]:
    """The lines of a CSV file of scores: a row for each image."""
    yield csv_line(
        [
            *("run", "label", "image", "direction", "score_clean", "score_adv"),
            *("srocc", "srocc_low", "srocc_high"),
        ]
    )
    for each in scores:
        of_run = [_cell(value) for value in (each.srocc, *each.interval)]
        columns = (each.images, each.raised.tolist(), _listed(each.clean), _listed(each.attacked))
        for image, up, clean, attacked in zip(*columns, strict=True):
            way = "up" if up else "down"
            row = (to_cell(image), way, _cell(clean), _cell(attacked))
            yield csv_line((*_names(each.of), *row, *of_run))


def seen_table(seen: Iterable[Seen], measure: str) -> Iterator[str]:
    """The lines of a CSV file of gain against visibility: a row for each image, and one without an
    image for the means.
    """
    yield csv_line(
        [
            *("run", "label", "image", measure, f"{measure}_low", f"{measure}_high"),
            *("gain", "gain_low", "gain_high"),
        ]
    )
    for each in seen:
        for image, x, y in zip(
            each.images, _listed(each.similarity), _listed(each.gain), strict=True
        ):
            yield csv_line((*_names(each.of), to_cell(image), _cell(x), "", "", _cell(y), "", ""))
        means = [
            _cell(value)
            for found in (each.mean_similarity, each.mean_gain)
            for value in (found.value, *found.interval)
        ]
        yield csv_line((*_names(each.of), "", *means))


def _names(of: Named) -> tuple[str, str]:
    return to_cell(str(of.run.folder)), to_cell(of.label)


def _listed(values: Array) -> list[float]:
    found: list[float] = values.tolist()
    return found


def _cell(value: float) -> str:
    return "" if math.isnan(value) else repr(value)
