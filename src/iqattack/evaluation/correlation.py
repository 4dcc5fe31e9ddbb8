"""Agreement of two sets of scores of the same images: correlations and errors.

Measures take two arrays (N,), one value per image, and return a float; they raise InputError for
arrays of other or different shapes. A pair with a non-finite value is left out (`paired` counts
them). A correlation with a constant input, or of fewer than two images, is undefined: NaN.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from iqattack.errors import InputError
from iqattack.evaluation.bootstrap import LARGE, Draws

Array = NDArray[np.float64]

LOGISTIC_PARAMETERS = 5
# What is held in memory at once for all bootstrap draws: columns of a matrix of all pairs of
# images, and values of drawn images.
BLOCK, VALUES = 1024, 2**20


def paired(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array, int]:
    """Select the pairs with two finite values, and count the others: x (M,), y (M,), N − M.

    x, y: (N,). Raises InputError if they are not one-dimensional and of equal length.
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
    """Pearson's linear correlation coefficient, −1..1.

    >>> from iqattack.evaluation import plcc
    >>> round(plcc([1, 2, 3, 4], [10, 20, 40, 30]), 3)
    0.8
    """
    x, y, _ = paired(x, y)
    return float(_plcc_rows(x, y)) if x.size else float("nan")


def _plcc_rows(x: Array, y: Array) -> Array:
    """PLCC of the last axis of finite values (..., N), N > 0."""
    u, v = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
    # Divide by the largest deviation first, so that squares neither vanish nor overflow.
    varies = (x != x[..., :1]).any(axis=-1) & (y != y[..., :1]).any(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        u /= np.abs(u).max(axis=-1, keepdims=True)
        v /= np.abs(v).max(axis=-1, keepdims=True)
        r = (u * v).sum(axis=-1) / np.sqrt((u * u).sum(axis=-1) * (v * v).sum(axis=-1))
    return np.where(varies, np.clip(r, -1.0, 1.0), np.nan)


def srocc(x: ArrayLike, y: ArrayLike) -> float:
    """Spearman's rank-order correlation coefficient, −1..1; ties get their average rank.

    >>> from iqattack.evaluation import srocc
    >>> round(srocc([1, 2, 3, 4], [10, 20, 40, 30]), 3)
    0.8
    """
    x, y, _ = paired(x, y)
    return plcc(scipy.stats.rankdata(x), scipy.stats.rankdata(y))


def krocc(x: ArrayLike, y: ArrayLike) -> float:
    """Kendall's rank-order correlation coefficient τ_b, −1..1, corrected for ties.

    >>> from iqattack.evaluation import krocc
    >>> round(krocc([1, 2, 3, 4], [10, 20, 40, 30]), 3)
    0.667
    """
    x, y, _ = paired(x, y)
    if not (_varies(x) and _varies(y)):
        return float("nan")
    return float(scipy.stats.kendalltau(x, y, variant="b").statistic)


def mae(x: ArrayLike, y: ArrayLike) -> float:
    """Mean absolute error, in the unit of the scores; NaN without images.

    >>> from iqattack.evaluation import mae, rmse
    >>> mae([1, 2, 3], [1, 2, 6]), round(rmse([1, 2, 3], [1, 2, 6]), 3)
    (1.0, 1.732)
    """
    x, y, _ = paired(x, y)
    return float(np.abs(x - y).mean()) if x.size else float("nan")


def rmse(x: ArrayLike, y: ArrayLike) -> float:
    """Root-mean-square error, in the unit of the scores; NaN without images."""
    x, y, _ = paired(x, y)
    return float(np.sqrt(np.square(x - y).mean())) if x.size else float("nan")


def logistic5(x: ArrayLike, beta: ArrayLike) -> Array:
    """β1·(1/2 − 1/(1 + exp(β2·(x − β3)))) + β4·x + β5, element by element.

    The VQEG's mapping from scores to MOS (Sheikh, Sabir & Bovik, IEEE TIP 2006, eqs. 9-10). beta:
    β1..β5, (5,).
    """
    b1, b2, b3, b4, b5 = np.asarray(beta, dtype=np.float64)
    x = np.asarray(x, dtype=np.float64)
    # expit(t) = 1 − 1/(1 + exp t), and does not overflow.
    return np.asarray(b1 * (scipy.special.expit(b2 * (x - b3)) - 0.5) + b4 * x + b5)


def fit_logistic5(x: ArrayLike, y: ArrayLike) -> Array:
    """The parameters β1..β5 of `logistic5`, fitted to map x to y by least squares: (5,).

    The fit is never worse than a straight line. All NaN for five or fewer images, where the curve
    can pass through every point, and for constant x or y. For more than 12,000 images, the curve is
    fitted to the means of 12,000 groups of neighbours in x.
    """
    x, y, _ = paired(x, y)
    if x.size <= LOGISTIC_PARAMETERS or not (_varies(x) and _varies(y)):
        return np.full(LOGISTIC_PARAMETERS, np.nan)
    # Fitted on standardised values, so that the same starts and tolerances serve every scale.
    mx, sx, my, sy = x.mean(), x.std(), y.mean(), y.std()
    u, v = (x - mx) / sx, (y - my) / sy
    if u.size > LARGE:
        u, v = _neighbours(u, v)
    b1, b2, b3, b4, b5 = _fitted(u.tobytes(), v.tobytes())
    return np.array(
        [sy * b1, b2 / sx, mx + sx * b3, sy * b4 / sx, my + sy * (b5 - b4 * mx / sx)],
        dtype=np.float64,
    )


# The same scores are fitted when a run ends, is verified, evaluated and put on a card, and a curve
# through few images takes hundreds of steps.
@lru_cache(maxsize=32)
def _fitted(x: bytes, y: bytes) -> tuple[float, ...]:
    """β1..β5 for standardised x and y, given as the bytes of their float64 values."""
    u, v = np.frombuffer(x), np.frombuffer(y)
    slope = float(u @ v / u.size)
    starts = [  # the straight line, and a sigmoid through the middle
        [0.0, 1.0, 0.0, slope, 0.0],
        [np.copysign(float(np.ptp(v)), slope), 2.0, 0.0, 0.0, 0.0],
    ]

    def residual(beta: Array) -> Array:
        error: Array = logistic5(u, beta) - v
        return error

    fits = [scipy.optimize.least_squares(residual, np.array(start)) for start in starts]
    return tuple(min(fits, key=lambda fit: float(fit.cost)).x.tolist())


def _neighbours(x: Array, y: Array) -> tuple[Array, Array]:
    """Means of groups of pairs whose x are next to each other: (LARGE,) both."""
    order = np.argsort(x)
    starts = np.linspace(0, x.size, LARGE, endpoint=False).astype(np.int64)
    sizes = np.diff(starts, append=x.size)
    return np.add.reduceat(x[order], starts) / sizes, np.add.reduceat(y[order], starts) / sizes


def plcc_logistic(x: ArrayLike, y: ArrayLike) -> float:
    """PLCC after the five-parameter logistic fit of x to y, 0..1.

    The fit maps a decreasing relation to an increasing one, so the result has no sign: read it
    together with SROCC. NaN where `fit_logistic5` is NaN.

    >>> import numpy as np
    >>> from iqattack.evaluation import plcc, plcc_logistic
    >>> scores = np.linspace(-3, 3, 50)
    >>> mos = 100 / (1 + np.exp(-2 * scores))
    >>> round(plcc(scores, mos), 3), round(plcc_logistic(scores, mos), 3)
    (0.964, 1.0)
    """
    x, y, _ = paired(x, y)
    beta = fit_logistic5(x, y)
    return plcc(logistic5(x, beta), y) if np.isfinite(beta).all() else float("nan")


def correlation_draws(x: ArrayLike, y: ArrayLike, draws: Draws) -> dict[str, Array]:
    """`srocc`, `krocc` and `plcc` of finite x and y (N,) on each bootstrap resample: (n,) each.

    draws: indices of the resamples, (n, M), as from `bootstrap_draws`.
    """
    x, y = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not x.size:
        return {name: np.full(len(draws), np.nan) for name in ("srocc", "krocc", "plcc")}
    srocc, plcc = [], []
    for some in np.array_split(draws, 1 + draws.size // VALUES):
        u, v = x[some], y[some]
        plcc.append(_plcc_rows(u, v))
        ranks = (scipy.stats.rankdata(values, axis=-1) for values in (u, v))
        srocc.append(_plcc_rows(*ranks))
    return {
        "srocc": np.concatenate(srocc),
        # All at once in O(n·N²), which BLAS does fast; of larger sets one by one in O(M log M).
        "krocc": _krocc_draws(x, y, draws)
        if draws.shape[1] == x.size
        else np.array([krocc(x[drawn], y[drawn]) for drawn in draws]),
        "plcc": np.concatenate(plcc),
    }


def _krocc_draws(x: Array, y: Array, draws: Draws) -> Array:
    """τ_b of every draw, from how often each image was drawn: w.

    With s = sign(xi − xj)·sign(yi − yj), concordant minus discordant pairs are Σ wi·wj·s / 2, and
    pairs not tied in x are (N² − Σ over its values of (Σ w of that value)²) / 2.
    """
    counts = np.array([np.bincount(row, minlength=x.size) for row in draws], dtype=np.float32)
    agreeing = np.zeros(len(draws))
    for start in range(0, x.size, BLOCK):
        columns = slice(start, start + BLOCK)
        signs = np.sign(x[:, None] - x[columns]) * np.sign(y[:, None] - y[columns])
        sums = counts @ signs.astype(np.float32)
        agreeing += np.einsum("ij,ij->i", sums, counts[:, columns], dtype=np.float64)

    def untied(values: Array) -> Array:
        order = np.argsort(values)
        _, first = np.unique(values[order], return_index=True)
        of_a_value = np.add.reduceat(counts[:, order], first, axis=1, dtype=np.float64)
        return np.asarray(float(x.size) ** 2 - np.square(of_a_value).sum(axis=1))

    with np.errstate(invalid="ignore"):
        return np.asarray(agreeing / np.sqrt(untied(x) * untied(y)))
