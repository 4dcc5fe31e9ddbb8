"""Confidence intervals over images.

For up to 12,000 images, each resample is as large as the set: the percentile bootstrap (Efron &
Tibshirani, An Introduction to the Bootstrap, 1993, sec. 13.3). For more, it has 5,000 images, and
the quantiles of its deviation from the measure of all n images are scaled by √(5,000/n): the
m-out-of-n bootstrap (Bickel, Götze & van Zwet, Statistica Sinica 1997; Politis & Romano, Annals of
Statistics 1994), whose cost does not grow with the set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqattack.errors import InputError

Interval = tuple[float, float]
Draws = NDArray[np.int64]

RESAMPLES = 1000
LARGE = 12_000  # images: more than in KonIQ-10k, KADID-10k and SPAQ
PART = 5_000  # of a larger set, in each draw


def draw_size(size: int) -> int:
    """The number of images in each bootstrap resample of a set of `size` images."""
    return size if size <= LARGE else PART


def bootstrap_draws(size: int, n: int = RESAMPLES, seed: int = 0) -> Draws:
    """Indices of n bootstrap resamples, drawn with replacement: (n, draw_size(size)) int64.

    size: number of images. The same seed gives the same resamples.
    """
    rng = np.random.default_rng(seed)
    drawn = draw_size(size)
    draws = np.empty((n, drawn), dtype=np.int64)
    for row in draws:
        row[:] = rng.integers(size, size=drawn) if size else 0
    return draws


def draws_interval(values: ArrayLike, measured: float, size: int, level: float = 0.95) -> Interval:
    """The confidence interval of a measure from its values on the resamples of `bootstrap_draws`.

    values: of the measure, one per resample, (n,); NaN values are ignored. measured: its value on
    all `size` images, around which smaller resamples are scaled. level: of confidence, 0..1.
    """
    low, high = percentile_interval(values, level)
    drawn = draw_size(size)
    if drawn == size:
        return low, high
    scale = math.sqrt(drawn / size)
    return measured + scale * (low - measured), measured + scale * (high - measured)


def percentile_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """The percentile-bootstrap interval (Efron & Tibshirani 1993, sec. 13.3) of values (n,).

    NaN values are ignored; (NaN, NaN) if there are no others.
    """
    array = np.asarray(values, dtype=np.float64)
    array = array[~np.isnan(array)]
    if not array.size:
        return float("nan"), float("nan")
    low, high = np.quantile(array, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """The bootstrap confidence interval of `statistic(*arrays)` over images.

    statistic: a function of arrays that returns a float. arrays: one value per image, (N,) each;
    all are resampled with the same indices, so that pairs stay together. n: number of resamples.
    level: of confidence, 0..1. (NaN, NaN) without images. Raises InputError for arrays of different
    lengths.

    >>> import numpy as np
    >>> from iqattack.evaluation import bootstrap_interval
    >>> low, high = bootstrap_interval(np.mean, np.arange(100.0))
    >>> low < 49.5 < high, round(high - low)
    (True, 11)
    """

    def statistics(*columns: ArrayLike) -> Mapping[str, float]:
        return {"": statistic(*columns)}

    return bootstrap_intervals(statistics, *arrays, n=n, seed=seed, level=level)[""]


def bootstrap_intervals(
    statistics: Callable[..., Mapping[str, float]],
    *arrays: ArrayLike,
    n: int = RESAMPLES,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, Interval]:
    """The intervals of several statistics, by name, from the same resamples.

    statistics: a function of arrays that returns values by name. Other arguments and errors as in
    `bootstrap_interval`.
    """
    columns = [np.asarray(array) for array in arrays]
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise InputError(
            f"arrays of lengths {sorted(lengths)} cannot be resampled together:"
            " expected one value per image in each"
        )
    measured = statistics(*columns)
    values: dict[str, list[float]] = {name: [] for name in measured}
    size = lengths.pop()
    for drawn in bootstrap_draws(size, n if size else 0, seed):
        for name, value in statistics(*(column[drawn] for column in columns)).items():
            values[name].append(value)
    return {
        name: draws_interval(drawn, measured[name], size, level) for name, drawn in values.items()
    }


def mean_intervals(
    values: ArrayLike, *, n: int = RESAMPLES, seed: int = 0, level: float = 0.95
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap intervals of the row means of values (Q, N): lower and upper ends, each (Q,).

    All rows share the resamples of `bootstrap_interval`, which gives the same interval for a row.
    """
    rows = np.asarray(values, dtype=np.float64)
    draws = bootstrap_draws(rows.shape[1], n if rows.shape[1] else 0, seed)
    # Taken row by row in memory: a sum in another order would differ in the last bits.
    means = np.array([rows.take(drawn, axis=1).mean(axis=1) for drawn in draws])
    means = means.reshape(-1, len(rows))
    ends = [
        draws_interval(drawn, float(row.mean()), rows.shape[1], level)
        for drawn, row in zip(means.T, rows, strict=True)
    ]
    low, high = np.array(ends).reshape(-1, 2).T
    return low, high
