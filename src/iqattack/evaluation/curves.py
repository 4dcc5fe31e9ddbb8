"""Success against the score boundary, and gain against queries: curves over a set of images."""

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
    """Gain over reach: the fraction of its way to the end of the score range that each score moved.

    gain: (N,), fractions of the score range, in the wanted direction. reach: (N,), the largest gain
    that the range leaves the clean score. Returns (N,): above 1 for a score that left the range;
    NaN for a NaN gain, and without a reach, where the clean score lies at that end or beyond.

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
    """The boundary-crossing curve: boundaries b, and the share of images with progress ≥ b.

    progress: (N,), as `progress` returns it; NaN values are left out. boundaries: (B,), by default
    101 from 0 to 1. Returns both (B,); all shares are NaN without images.

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
    """The share of images whose score crosses the boundary, 0..1; NaN without images.

    progress: (N,), as `progress` returns it. boundary: a fraction of the way to the end of the
    score range, 0..1.

    >>> from iqattack.evaluation import success_rate
    >>> success_rate([0.05, 0.25, 0.6, 1.0], 0.5)
    0.5
    """
    return float(boundary_crossing(progress, [boundary])[1][0])


def crossing_area(progress: ArrayLike) -> float:
    """The exact area under the boundary-crossing curve from 0 to 1: the mean of progress (N,),
    clipped to 0..1. NaN without images.
    """
    values = _finite(progress)
    return float(np.clip(values, 0.0, 1.0).mean()) if values.size else float("nan")


@dataclass(frozen=True)
class Crossing:
    """Success against the score boundary.

    area: under the boundary-crossing curve, 0..1. success: share of images that cross, by boundary,
    such as "0.2". n: number of images with a reach. without_reach: number of images left out
    because their clean score lies at the end of the range aimed at, or beyond.
    """

    area: float
    success: dict[str, float]
    n: int
    without_reach: int


def crossing(gain: ArrayLike, reach: ArrayLike) -> Crossing:
    """Summarise the boundary-crossing curve of gains (N,) and reaches (N,), as in `progress`.

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
    """The largest gain of each image so far, after every query up to the budget: (N, budget).

    gains: for each image, the gain of every query in order, the clean image first. An image keeps
    its last value once its search has ended. Values are at least 0; a non-finite gain counts as 0.
    Raises InputError for a budget below 1.

    >>> from iqattack.evaluation import best_so_far
    >>> best_so_far([[0.0, 0.1, -0.2, 0.3]], budget=5).tolist()
    [[0.0, 0.1, 0.1, 0.3, 0.3]]
    """
    return best_at(gains, np.arange(1, budget + 1) if budget >= 1 else [budget])


@dataclass(frozen=True)
class GainByQuery:
    """The largest gain so far after `queries` queries (Q,): quartiles and mean over images, each
    (Q,), as fractions of the score range.
    """

    queries: NDArray[np.int64]
    q25: Array
    median: Array
    q75: Array
    mean: Array


def gain_by_query(gains: Sequence[ArrayLike], queries: ArrayLike) -> GainByQuery:
    """Quartiles and mean of `best_so_far` over images, after each number of queries (Q,).

    All NaN without images. Raises InputError for a number below 1.

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
    """`best_so_far` at the given numbers of queries (Q,) only: (N, Q).

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
