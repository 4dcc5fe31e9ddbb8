"""How far scores moved."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqattack.errors import InputError


def normalised_gain(
    clean: ArrayLike, attacked: ArrayLike, directions: ArrayLike, score_range: tuple[float, float]
) -> NDArray[np.float64]:
    """The gain: how far each raw score moved in the wanted direction, over the score range.

    clean, attacked: raw scores, (N,). directions: (N,) or one number, +1 to raise the raw score, −1
    to lower it. score_range: (lowest, highest) raw score. Returns (N,), NaN where a score is NaN.
    Raises InputError for an empty range or different lengths.

    >>> from iqattack.evaluation import normalised_gain
    >>> normalised_gain([60, 30], [40, 45], [-1, 1], (0, 100)).tolist()
    [0.2, 0.15]
    """
    lo, hi = score_range
    if not (np.isfinite([lo, hi]).all() and lo < hi):
        raise InputError(f"score range {lo},{hi}: expected two finite numbers, the lower first")
    arrays = [np.asarray(v, dtype=np.float64) for v in (clean, attacked, directions)]
    try:
        before, after, sign = np.broadcast_arrays(*arrays)
    except ValueError as error:
        shapes = ", ".join(str(v.shape) for v in arrays)
        raise InputError(
            f"clean scores, attacked scores and directions have shapes {shapes}:"
            " expected one value per image in each"
        ) from error
    moved = sign * (after - before) / (hi - lo)
    return np.asarray(moved + 0.0, dtype=np.float64)  # −0 of a score that did not move becomes 0


def mean_gain(gain: ArrayLike) -> float:
    """The mean of the finite gains (N,), as a fraction of the score range; NaN if there are none.

    >>> from iqattack.evaluation import mean_gain
    >>> mean_gain([0.25, 0.5, float("nan")])
    0.375
    """
    values = np.asarray(gain, dtype=np.float64)
    values = values[np.isfinite(values)]
    return float(values.mean()) if values.size else float("nan")
