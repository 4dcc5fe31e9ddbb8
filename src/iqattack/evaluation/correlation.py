"""How well two sets of scores of the same images agree.

Every function takes two equally long one-dimensional arrays, one value per image, and returns a
float. A pair with a value that is not finite is left out (`paired` counts them). A correlation with
a constant input, or of fewer than two images, is NaN: it has no value.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, special, stats

from iqattack.errors import InputError

Array = NDArray[np.float64]

LOGISTIC_PARAMETERS = 5


def paired(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array, int]:
    """The pairs of which both values are finite, and how many pairs were left out.

    Raises InputError when x and y are not one-dimensional and equally long.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise InputError(
            f"scores of shape {x.shape} and {y.shape} cannot be compared:"
            " expected one value per image on both sides"
        )
    finite = np.isfinite(x) & np.isfinite(y)
    return x[finite], y[finite], int(np.count_nonzero(~finite))


def _varies(x: Array) -> bool:
    return bool(x.size) and bool(np.any(x != x[0]))


def plcc(x: ArrayLike, y: ArrayLike) -> float:
    """Pearson's linear correlation coefficient, −1..1."""
    x, y, _ = paired(x, y)
    if not (_varies(x) and _varies(y)):
        return float("nan")
    # Divide by the largest deviation first, so that squares neither vanish nor overflow.
    u, v = x - x.mean(), y - y.mean()
    u, v = u / np.abs(u).max(), v / np.abs(v).max()
    return float(np.clip(u @ v / np.sqrt((u @ u) * (v @ v)), -1.0, 1.0))


def srocc(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank-order correlation coefficient, −1..1; ties share their average rank."""
    x, y, _ = paired(x, y)
    return plcc(stats.rankdata(x), stats.rankdata(y))


def krocc(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's rank-order correlation coefficient τ_b, −1..1, which corrects for ties."""
    x, y, _ = paired(x, y)
    if not (_varies(x) and _varies(y)):
        return float("nan")
    return float(stats.kendalltau(x, y, variant="b").statistic)


def mae(x: ArrayLike, y: ArrayLike) -> float:
    """Mean absolute difference, in the scores' unit; NaN without images."""
    x, y, _ = paired(x, y)
    return float(np.abs(x - y).mean()) if x.size else float("nan")


def rmse(x: ArrayLike, y: ArrayLike) -> float:
    """Root of the mean squared difference, in the scores' unit; NaN without images."""
    x, y, _ = paired(x, y)
    return float(np.sqrt(np.square(x - y).mean())) if x.size else float("nan")


def logistic5(x: ArrayLike, beta: ArrayLike) -> Array:
    """β1·(1/2 − 1/(1 + exp(β2·(x − β3)))) + β4·x + β5.

    The mapping from scores to MOS of the VQEG (Sheikh, Sabir, Bovik, IEEE TIP 2006, eq. 9-10).
    """
    b1, b2, b3, b4, b5 = np.asarray(beta, dtype=np.float64)
    x = np.asarray(x, dtype=np.float64)
    # expit(t) = 1 − 1/(1 + exp t), and does not overflow.
    return np.asarray(b1 * (special.expit(b2 * (x - b3)) - 0.5) + b4 * x + b5)


def fit_logistic5(x: ArrayLike, y: ArrayLike) -> Array:
    """β1..β5 of `logistic5` that map x to y with least squares: (5,).

    Never fits worse than a straight line. All NaN for as many images as parameters or fewer, where
    every curve passes through all points, and for constant x or y.
    """
    x, y, _ = paired(x, y)
    if x.size <= LOGISTIC_PARAMETERS or not (_varies(x) and _varies(y)):
        return np.full(LOGISTIC_PARAMETERS, np.nan)
    # Fitted on standardised values, so that the same starts and tolerances serve every scale.
    mx, sx, my, sy = x.mean(), x.std(), y.mean(), y.std()
    u, v = (x - mx) / sx, (y - my) / sy
    slope = float(u @ v / u.size)
    starts = [  # the straight line, and a sigmoid through the middle
        [0.0, 1.0, 0.0, slope, 0.0],
        [np.copysign(float(np.ptp(v)), slope), 2.0, 0.0, 0.0, 0.0],
    ]

    def residual(beta: Array) -> Array:
        error: Array = logistic5(u, beta) - v
        return error

    fits = [optimize.least_squares(residual, np.array(start)) for start in starts]
    b1, b2, b3, b4, b5 = min(fits, key=lambda fit: float(fit.cost)).x
    return np.array(
        [sy * b1, b2 / sx, mx + sx * b3, sy * b4 / sx, my + sy * (b5 - b4 * mx / sx)],
        dtype=np.float64,
    )


def plcc_logistic(x: ArrayLike, y: ArrayLike) -> float:
    """PLCC of y with `logistic5` of x, fitted to y: 0..1.

    The fit turns a falling relation into a rising one, so this has no sign: read it beside srocc.
    NaN where `fit_logistic5` is.
    """
    x, y, _ = paired(x, y)
    beta = fit_logistic5(x, y)
    return plcc(logistic5(x, beta), y) if np.isfinite(beta).all() else float("nan")
