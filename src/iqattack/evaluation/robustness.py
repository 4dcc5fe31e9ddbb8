"""Robustness of a model to an attack: the field's measures of clean and attacked scores.

S and A are clean and attacked scores (N,) on a scale on which higher is better: `rescaled` by the
model's score range or, as in the MSU benchmark, by the `clean_range`. An image with a non-finite
score is left out; without images, a measure is NaN. Functions of both raise InputError for
different lengths.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from iqattack.errors import InputError
from iqattack.evaluation.correlation import Array, paired

EPSILON = 1e-6


@dataclass(frozen=True)
class Robustness:
    """The robustness measures on one scale, which maps two raw scores to 0 (worse) and 1 (better).

    scale: these raw scores, the lower first. epsilon: of R; added to |A − S| if `epsilon_added`,
    otherwise its minimum. r, absolute_gain, relative_gain, wasserstein, energy: as the functions of
    this module return them.
    """

    scale: tuple[float, float]
    epsilon: float
    epsilon_added: bool
    r: float
    absolute_gain: float
    relative_gain: float
    wasserstein: float
    energy: float


MEASURES = ("r", "absolute_gain", "relative_gain", "wasserstein", "energy")


def by_range(
    clean: ArrayLike, attacked: ArrayLike, score_range: tuple[float, float], lower_better: bool
) -> Robustness:
    """The robustness measures of raw scores (N,) on the scale of the model's score range."""
    return _robustness(clean, attacked, score_range, lower_better, added=False)


def minmax_on_clean(
    clean: ArrayLike,
    attacked: ArrayLike,
    lower_better: bool,
    scale: tuple[float, float] | None = None,
) -> Robustness:
    """The robustness measures of raw scores (N,) as in the MSU benchmark (Antsiferova et al., AAAI
    2024): on the min-max scale of the clean scores.

    scale: to use instead, such as that of the set from which these images were resampled. All NaN
    if the clean scores are constant.
    """
    ends = clean_range(paired(clean, attacked)[0]) if scale is None else scale
    return _robustness(clean, attacked, ends, lower_better, added=True)


def _robustness(
    clean: ArrayLike,
    attacked: ArrayLike,
    scale: tuple[float, float],
    lower_better: bool,
    *,
    added: bool,
) -> Robustness:
    S, A = (rescaled(scores, scale, lower_better) for scores in (clean, attacked))
    return Robustness(
        scale=scale,
        epsilon=EPSILON,
        epsilon_added=added,
        r=r_robustness(S, A, added=added),
        absolute_gain=absolute_gain(S, A),
        relative_gain=relative_gain(S, A),
        wasserstein=wasserstein_score(S, A),
        energy=energy_score(S, A),
    )


def clean_range(clean: ArrayLike) -> tuple[float, float]:
    """The lowest and highest finite clean score; (NaN, NaN) if there is none."""
    values = np.asarray(clean, dtype=np.float64)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (np.nan, np.nan)


def rescaled(
    scores: ArrayLike, score_range: tuple[float, float], lower_better: bool = False
) -> Array:
    """Raw scores (N,), mapped linearly so that the range becomes 0..1 and higher is better.

    Scores outside the range map outside 0..1. All NaN for a range of zero width, which
    `clean_range` returns for constant scores. Raises InputError for a range with the higher end
    first.

    >>> from iqattack.evaluation import rescaled
    >>> rescaled([20, 80], (0, 100), lower_better=True).tolist()
    [0.8, 0.2]
    """
    lo, hi = score_range
    if lo > hi:
        raise InputError(f"score range {lo},{hi}: expected the lower end first")
    values = np.asarray(scores, dtype=np.float64)
    if not (hi > lo and np.isfinite(hi - lo)):
        return np.full(values.shape, np.nan)
    return (hi - values if lower_better else values - lo) / (hi - lo)


def r_robustness(
    S: ArrayLike, A: ArrayLike, epsilon: float = EPSILON, *, added: bool = False
) -> float:
    """R robustness: the mean of log10(max(1 − S, S) / |A − S|); higher is more robust.

    Zhang et al., "Perceptual attacks of no-reference image quality models with human-in-the-loop",
    NeurIPS 2022: the largest change that the scale allows a clean score, over the actual change.
    The ratio is undefined for an unchanged score, so |A − S| is at least `epsilon`; with `added`,
    as in the MSU benchmark, `epsilon` is added to it instead. The numerator uses the clean score in
    both.

    >>> from iqattack.evaluation import r_robustness
    >>> round(r_robustness([0.6, 0.2], [0.54, 0.28]), 3)  # changes of 1/10 of the most possible
    1.0
    """
    s, a, _ = paired(S, A)
    change = np.abs(a - s)
    change = change + epsilon if added else np.maximum(change, epsilon)
    return _mean(np.log10(np.maximum(1.0 - s, s) / change))


def absolute_gain(S: ArrayLike, A: ArrayLike) -> float:
    """Absolute gain: the mean of A − S, positive if images look better to the model.

    >>> from iqattack.evaluation import absolute_gain, relative_gain
    >>> S, A = [0.5, 0.0], [0.8, 0.3]
    >>> round(absolute_gain(S, A), 3), round(relative_gain(S, A), 3)
    (0.3, 0.25)
    """
    s, a, _ = paired(S, A)
    return _mean(a - s)


def relative_gain(S: ArrayLike, A: ArrayLike) -> float:
    """Relative gain: the mean of (A − S) / (S + 1) over images with S > −1, where it is defined."""
    s, a, _ = paired(S, A)
    s, a = s[s > -1.0], a[s > -1.0]
    return _mean((a - s) / (s + 1.0))


def rgo(clean: ArrayLike, attacked: ArrayLike, score_range: tuple[float, float]) -> float:
    """RGO: the mean of |a − s| / max(hi − s, s − lo) of raw scores, 0..1 within the score range.

    Ran et al., Expert Systems with Applications 2025: the change over the largest possible one. The
    denominator is the distance to the farther end of the range, at least half its width. clean,
    attacked: raw scores s and a, (N,). score_range: (lo, hi). Raises InputError for an empty range.

    >>> from iqattack.evaluation import rgo
    >>> rgo([80, 30], [40, 65], (0, 100))
    0.5
    """
    lo, hi = score_range
    if not (lo < hi and np.isfinite(hi - lo)):
        raise InputError(f"score range {lo},{hi}: expected two finite numbers, the lower first")
    s, a, _ = paired(clean, attacked)
    return _mean(np.abs(a - s) / np.maximum(hi - s, s - lo))


def wasserstein_score(S: ArrayLike, A: ArrayLike) -> float:
    """The Wasserstein distance W₁ of the distributions of S and A, with the sign of the mean of
    A − S.

    A mean of exactly 0 counts as positive.

    >>> from iqattack.evaluation import wasserstein_score
    >>> wasserstein_score([0.5, 0.75], [0.25, 0.5])
    -0.25
    """
    s, a, _ = paired(S, A)
    return _signed(s, a, float(scipy.stats.wasserstein_distance(s, a))) if s.size else np.nan


def energy_score(S: ArrayLike, A: ArrayLike) -> float:
    """The energy distance (Székely & Rizzo, Journal of Statistical Planning and Inference 2013) of
    the distributions of S and A, signed as in `wasserstein_score`.

    >>> from iqattack.evaluation import energy_score
    >>> round(energy_score([0.5, 0.5], [1.0, 1.0]), 3)
    1.0
    """
    s, a, _ = paired(S, A)
    return _signed(s, a, float(scipy.stats.energy_distance(s, a))) if s.size else np.nan


def _signed(s: Array, a: Array, distance: float) -> float:
    return -distance if float(np.mean(a - s)) < 0.0 else distance


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")
