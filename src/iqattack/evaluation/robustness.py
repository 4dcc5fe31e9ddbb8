"""How much a model's scores withstand an attack: the field's measures of clean and attacked scores.

S and A are clean and attacked scores on a scale on which higher is better, one value per image:
`rescaled` by the model's score range, or, as the MSU benchmark has it, by the `clean_range`. An
image of which a score is not finite is left out; without any image a measure is NaN.
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
    """The measures on one scale: S and A are 0 at the worse of two raw scores, 1 at the better.

    scale: those raw scores, the lower first. epsilon: of R, added to |A − S| or, if not
    epsilon_added, its least value. r and the others: as the functions of this module.
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
    """The measures of raw scores on the scale of the model's score range."""
    return _robustness(clean, attacked, score_range, lower_better, added=False)


def minmax_on_clean(
    clean: ArrayLike,
    attacked: ArrayLike,
    lower_better: bool,
    scale: tuple[float, float] | None = None,
) -> Robustness:
    """The measures of raw scores as the MSU benchmark has them, on the scale of the clean scores.

    scale: in its place, that of the set from which these images were drawn. All NaN where the clean
    scores are constant.
    """
    ends = clean_range(clean) if scale is None else scale
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
    """Smallest and largest finite clean score; (NaN, NaN) without any."""
    values = np.asarray(clean, dtype=np.float64)
    values = values[np.isfinite(values)]
    return (float(values.min()), float(values.max())) if values.size else (np.nan, np.nan)


def rescaled(
    scores: ArrayLike, score_range: tuple[float, float], lower_better: bool = False
) -> Array:
    """Raw scores (N,) with the range at 0..1 and higher = better; beyond the range, beyond 0..1.

    All NaN for a range without width, which `clean_range` gives for constant scores: they have no
    scale. Raises InputError for a range that is upside down.
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
    """R: mean of log10(max(1 − S, S) / |A − S|), higher is more robust.

    Zhang et al., "Perceptual attacks of no-reference image quality models with human-in-the-loop",
    NeurIPS 2022: the largest change that the scale leaves a clean score over the one it made. An
    image that did not change has no such value, so |A − S| is at least epsilon; the MSU benchmark
    adds epsilon to it instead (`added`). The numerator is that of the clean score in both.
    """
    s, a, _ = paired(S, A)
    change = np.abs(a - s)
    change = change + epsilon if added else np.maximum(change, epsilon)
    return _mean(np.log10(np.maximum(1.0 - s, s) / change))


def absolute_gain(S: ArrayLike, A: ArrayLike) -> float:
    """Mean of A − S: how much better the attack makes images look."""
    s, a, _ = paired(S, A)
    return _mean(a - s)


def relative_gain(S: ArrayLike, A: ArrayLike) -> float:
    """Mean of (A − S) / (S + 1), over the images with S > −1, where it has a meaning."""
    s, a, _ = paired(S, A)
    s, a = s[s > -1.0], a[s > -1.0]
    return _mean((a - s) / (s + 1.0))


def rgo(clean: ArrayLike, attacked: ArrayLike, score_range: tuple[float, float]) -> float:
    """Mean of |a − s| / max(hi − s, s − lo), raw scores: the share of what was possible.

    Ran et al., ESWA 2025. The denominator is the way to the farther end of the range, so it is at
    least half of the range. Raises InputError for an empty range.
    """
    lo, hi = score_range
    if not (lo < hi and np.isfinite(hi - lo)):
        raise InputError(f"score range {lo},{hi}: expected two finite numbers, the lower first")
    s, a, _ = paired(clean, attacked)
    return _mean(np.abs(a - s) / np.maximum(hi - s, s - lo))


def wasserstein_score(S: ArrayLike, A: ArrayLike) -> float:
    """Wasserstein distance W1 of the two sets of scores, with the sign of the mean change.

    A mean change of exactly 0 counts as positive.
    """
    s, a, _ = paired(S, A)
    return _signed(s, a, float(scipy.stats.wasserstein_distance(s, a))) if s.size else np.nan


def energy_score(S: ArrayLike, A: ArrayLike) -> float:
    """Energy distance (Székely & Rizzo 2013) of both sets, signed as `wasserstein_score`."""
    s, a, _ = paired(S, A)
    return _signed(s, a, float(scipy.stats.energy_distance(s, a))) if s.size else np.nan


def _signed(s: Array, a: Array, distance: float) -> float:
    return -distance if float(np.mean(a - s)) < 0.0 else distance


def _mean(values: Array) -> float:
    return float(values.mean()) if values.size else float("nan")
