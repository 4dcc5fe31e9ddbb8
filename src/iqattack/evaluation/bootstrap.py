"""Confidence intervals over images."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from iqattack.errors import InputError


def bootstrap_interval(
    statistic: Callable[..., float],
    *arrays: ArrayLike,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float]:
    """Percentile-bootstrap interval of statistic(*arrays) (Efron & Tibshirani 1993, sec. 13.3).

    Images are drawn with replacement n times; all arrays, one value per image, are drawn alike, so
    that pairs stay together. Draws without a value (NaN) are left out; (NaN, NaN) without any left.
    The same seed gives the same draws. Raises InputError for arrays of different lengths.
    """
    columns = [np.asarray(array) for array in arrays]
    lengths = {len(column) for column in columns}
    if len(lengths) != 1:
        raise InputError(
            f"arrays of lengths {sorted(lengths)} cannot be resampled together:"
            " expected one value per image in each"
        )
    size = lengths.pop()
    if size == 0:
        return float("nan"), float("nan")
    rng = np.random.default_rng(seed)
    values = np.empty(n)
    for k in range(n):
        drawn = rng.integers(size, size=size)
        values[k] = statistic(*(column[drawn] for column in columns))
    values = values[~np.isnan(values)]
    if not values.size:
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return float(low), float(high)
