"""Whether two attacks on the same images differ: paired tests."""

from __future__ import annotations

import numpy as np
import scipy
from numpy.typing import ArrayLike

from iqattack.evaluation.correlation import Array, paired


def wilcoxon_p(x: ArrayLike, y: ArrayLike) -> float:
    """Two-sided p of Wilcoxon's signed-rank test that x and y, one value per image, are alike.

    Images without a finite pair are left out, and so are those without a difference; 1 where none
    differs, NaN without images. Exact for up to 50 differences without ties, as SciPy has it.
    """
    x, y, _ = paired(x, y)
    if not x.size:
        return float("nan")
    difference = (x - y)[x != y]
    return float(scipy.stats.wilcoxon(difference).pvalue) if difference.size else 1.0


def holm(p: ArrayLike) -> Array:
    """p of several tests, (K,), corrected after Holm (1979): below α, the family errs at most at α.

    NaN stays NaN and is no test.
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values)[: np.count_nonzero(~np.isnan(values))]  # NaN sorts last
    corrected = np.full(values.shape, np.nan)
    steps = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps * values[order]), 1.0)
    return corrected
