"""Confidence intervals over images."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqattack.errors import InputError

Interval = tuple[float, float]
Draws = NDArray[np.int64]

RESAMPLES = 1000


def bootstrap_draws(size: int, n: int = RESAMPLES, seed: int = 0) -> Draws:
    """n samples of `size` images, drawn with replacement: their numbers, (n, size).

    The same seed gives the same draws.
    """
    rng = np.random.default_rng(seed)
    draws = np.empty((n, size), dtype=np.int64)
    for row in draws:
        row[:] = rng.integers(size, size=size) if size else 0
    return draws


def percentile_interval(values: ArrayLike, level: float = 0.95) -> Interval:
    """Percentile-bootstrap interval (Efron & Tibshirani 1993, sec. 13.3) of a measure's draws.

    Draws without a value (NaN) are left out; (NaN, NaN) without any left.
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
    """Percentile-bootstrap interval of statistic(*arrays).

    All arrays, one value per image, are drawn alike, so that pairs stay together. Raises InputError
    for arrays of different lengths.
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
    """The interval of each of several statistics of the same draws; otherwise as above."""
    columns = [np.asarray(array) for array in arrays]
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise InputError(
            f"arrays of lengths {sorted(lengths)} cannot be resampled together:"
            " expected one value per image in each"
        )
    values: dict[str, list[float]] = {name: [] for name in statistics(*columns)}
    size = lengths.pop()
    for drawn in bootstrap_draws(size, n if size else 0, seed):
        for name, value in statistics(*(column[drawn] for column in columns)).items():
            values[name].append(value)
    return {name: percentile_interval(drawn, level) for name, drawn in values.items()}
