"""How many images cross a score boundary, and how fast: curves over boundaries and over queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqattack.errors import InputError
from iqattack.evaluation.correlation import Array

BOUNDARIES = 101
SUCCESS = (0.1, 0.2, 0.5, 1.0)  # boundaries for which the success rate is reported
ROUNDING = 1e-12  # gain and reach are two quotients; a score that lies on a boundary crosses it


def progress(gain: ArrayLike, reach: ArrayLike) -> Array:
    """Fraction of the way to the far end of the score range that each score went: (N,).

    gain: fractions of the range, towards that end; reach: those that the range leaves the clean
    score. Beyond 1 where a score left the range. NaN where a gain is, and where there is no reach:
    a clean score at the end or beyond has no way to go.

    >>> from iqattack.evaluation import progress
    >>> progress([0.2, 0.3, 0.1], [0.4, 0.6, 0.0]).tolist()
    [0.5, 0.5, nan]
    """
    moved, left = np.broadcast_arrays(
        np.asarray(gain, dtype=np.float64), np.asarray(reach, dtype=np.float64)
    )
    return np.asarray(moved / np.where(left > 0.0, left, np.nan), dtype=np.float64)


def boundary_crossing(
    progress: ArrayLike, boundaries: ArrayLike | None = None
) -> tuple[Array, Array]:
    """The boundaries b, and the share of images whose progress is b or more: (B,) both.

    boundaries: by default 101 from 0 to 1. Images without progress (NaN) are left out; all shares
    are NaN without any image.

    >>> from iqattack.evaluation import boundary_crossing
    >>> boundaries, shares = boundary_crossing([0.05, 0.25, 0.6, 1.0], [0.1, 0.5, 1.0])
    >>> shares.tolist()
    [0.75, 0.5, 0.25]
    """
    b = np.linspace(0.0, 1.0, BOUNDARIES) if boundaries is None else _floats(boundaries)
    values = np.sort(_finite(progress))
    if not values.size:
        return b, np.full(b.shape, np.nan)
    below = np.searchsorted(values, b - ROUNDING, side="left")
    return b, 1.0 - below / values.size


def success_rate(progress: ArrayLike, boundary: float) -> float:
    """Share of images whose progress is `boundary` or more; NaN without any image.

    >>> from iqattack.evaluation import success_rate
    >>> success_rate([0.05, 0.25, 0.6, 1.0], 0.5)
    0.5
    """
    return float(boundary_crossing(progress, [boundary])[1][0])


def crossing_area(progress: ArrayLike) -> float:
    """Area under the boundary-crossing curve from 0 to 1, exactly: mean progress within 0..1."""
    values = _finite(progress)
    return float(np.clip(values, 0.0, 1.0).mean()) if values.size else float("nan")


@dataclass(frozen=True)
class Crossing:
    """Which share of images crossed which score boundary.

    area: under the curve from 0 to 1. success: share of images, by boundary, such as "0.2".
    n: images with a reach; without_reach: images left out, whose clean score lies at the end of the
    range that it was to go to, or beyond.
    """

    area: float
    success: dict[str, float]
    n: int
    without_reach: int


def crossing(gain: ArrayLike, reach: ArrayLike) -> Crossing:
    """The area and the successes of gains (N,) with these reaches (N,), as in `progress`.

    >>> from iqattack.evaluation import crossing
    >>> found = crossing(gain=[0.1, 0.3, 0.0], reach=[0.5, 0.3, 0.0])
    >>> found.area, found.success["0.2"], found.without_reach
    (0.6, 1.0, 1)
    """
    values = progress(gain, reach)
    boundaries, shares = boundary_crossing(values, SUCCESS)
    finite = int(np.count_nonzero(np.isfinite(values)))
    return Crossing(
        area=crossing_area(values),
        success={f"{b:g}": float(share) for b, share in zip(boundaries, shares, strict=True)},
        n=finite,
        without_reach=int(np.count_nonzero(np.isfinite(_floats(gain)))) - finite,
    )


def best_so_far(gains: Sequence[ArrayLike], budget: int) -> Array:
    """Largest gain of each image after every query up to the budget: (N, budget).

    gains: per image, the gain of every query in order, the clean one first. An image keeps its
    last value once its search has ended. Nothing gained is 0, and so is a query without a number.
    Raises InputError for a budget below 1.

    >>> from iqattack.evaluation import best_so_far
    >>> best_so_far([[0.0, 0.1, -0.2, 0.3]], budget=5).tolist()
    [[0.0, 0.1, 0.1, 0.3, 0.3]]
    """
    return best_at(gains, np.arange(1, budget + 1) if budget >= 1 else [budget])


@dataclass(frozen=True)
class GainByQuery:
    """Gains after `queries` queries (Q,), over images: quartiles and mean, each (Q,)."""

    queries: NDArray[np.int64]
    q25: Array
    median: Array
    q75: Array
    mean: Array


def gain_by_query(gains: Sequence[ArrayLike], queries: ArrayLike) -> GainByQuery:
    """Quartiles and mean over images of `best_so_far`, after each number of queries (Q,).

    All NaN without any image. Raises InputError for a number below 1.

    >>> from iqattack.evaluation import gain_by_query
    >>> gain_by_query([[0, 0.25, 0.5], [0, 0.25, 0.25]], [1, 2, 3]).mean.tolist()
    [0.0, 0.25, 0.375]
    """
    points = np.asarray(queries, dtype=np.int64)
    best = best_at(gains, points)
    if not len(best):
        nothing = np.full(points.shape, np.nan)
        return GainByQuery(points, nothing, nothing, nothing, nothing)
    q25, median, q75 = np.quantile(best, [0.25, 0.5, 0.75], axis=0)
    return GainByQuery(points, q25, median, q75, best.mean(axis=0))


def best_at(gains: Sequence[ArrayLike], queries: ArrayLike) -> Array:
    """`best_so_far` after each of these numbers of queries (Q,) alone: (N, Q).

    Raises InputError for a number below 1.
    """
    points = np.asarray(queries, dtype=np.int64)
    if points.size and points.min() < 1:
        raise InputError(f"gain after {points.min()} queries: expected at least 1")
    best = np.zeros((len(gains), points.size))
    for row, image in zip(best, gains, strict=True):
        values = _floats(image)
        if values.size:
            running = np.maximum.accumulate(
                np.where(np.isfinite(values), values, 0.0).clip(min=0.0)
            )
            row[:] = running[np.minimum(points, values.size) - 1]
    return best


def _floats(values: ArrayLike) -> Array:
    return np.asarray(values, dtype=np.float64)


def _finite(values: ArrayLike) -> Array:
    array = _floats(values)
    return array[np.isfinite(array)]
