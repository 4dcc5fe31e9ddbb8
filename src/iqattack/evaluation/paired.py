"""Whether two attacks on the same images differ: paired tests."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from iqattack.evaluation.correlation import Array, paired


def wilcoxon_p(x: ArrayLike, y: ArrayLike) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test of x against y, one value per image.

    x, y: (N,). Pairs that are equal or have a non-finite value are left out; 1 if all are equal,
    NaN without pairs. Exact for up to 50 differences without ties, as in SciPy. Raises InputError
    for different lengths.

    >>> from iqattack.evaluation import wilcoxon_p
    >>> wilcoxon_p([0.1, 0.2, 0.3, 0.4, 0.5], [0.0, 0.0, 0.0, 0.0, 0.0])
    0.0625
    """
    x, y, _ = paired(x, y)
    if not x.size:
        return float("nan")
    difference = (x - y)[x != y]
    return float(scipy.stats.wilcoxon(difference).pvalue) if difference.size else 1.0


def holm(p: ArrayLike) -> Array:
    """p-values of several tests, (K,), adjusted for multiple testing (Holm, Scandinavian Journal of
    Statistics 1979).

    Rejecting every test with an adjusted p ≤ α keeps the family-wise error rate at α or below. NaN
    stays NaN and does not count as a test.

    >>> from iqattack.evaluation import holm
    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN sorts last
    corrected = np.full(values.shape, np.nan)
    steps = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps * values[order]), 1.0)
    return corrected
