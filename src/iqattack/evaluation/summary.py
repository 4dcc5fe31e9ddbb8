"""The measures of a run in one record."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqattack.errors import InputError
from iqattack.evaluation import correlation
from iqattack.evaluation.bootstrap import bootstrap_interval
from iqattack.evaluation.gain import mean_gain

Array = NDArray[np.float64]
Interval = tuple[float, float]

# The logistic fit is left out of the intervals: a thousand fits take longer than they tell.
_INTERVALS: dict[str, Callable[[ArrayLike, ArrayLike], float]] = {
    "srocc": correlation.srocc,
    "krocc": correlation.krocc,
    "plcc": correlation.plcc,
}


@dataclass(frozen=True)
class Correlations:
    """Agreement of two sets of scores.

    srocc, krocc, plcc: −1..1. plcc_logistic: PLCC after the 5-parameter logistic fit, 0..1.
    mae, rmse: differences, in the unit of the second set.
    n: images compared; dropped: images left out because a value was not finite.
    """

    srocc: float
    krocc: float
    plcc: float
    plcc_logistic: float
    mae: float
    rmse: float
    n: int
    dropped: int


@dataclass(frozen=True)
class Drops:
    """Clean–MOS minus attacked–MOS: what the attack took from the agreement with people."""

    srocc: float
    krocc: float
    plcc: float
    plcc_logistic: float


@dataclass(frozen=True)
class Evaluation:
    """What an attack did to the scores of a set of images.

    clean_attacked: raw clean against raw attacked scores; mae and rmse in the model's unit.
    clean_mos, attacked_mos, drops: against MOS, of quality, which is the score with its sign turned
        for a model where lower is better, so that a good model is positive; mae and rmse after the
        logistic fit, in the unit of the MOS, as the VQEG has it. None without MOS. Drops compare
        the images that have all three values.
    mean_gain: mean fraction of the score range that scores moved in the wanted direction.
    n: images; attacked: those with both scores; with_mos: those with a MOS.
    intervals: percentile-bootstrap 95 % intervals over images of srocc, krocc, plcc, under names
        such as `clean_attacked.srocc` and `drops.plcc`, and of `mean_gain`.
    """

    n: int
    attacked: int
    with_mos: int
    mean_gain: float
    clean_attacked: Correlations
    clean_mos: Correlations | None
    attacked_mos: Correlations | None
    drops: Drops | None
    intervals: dict[str, Interval]


def correlations(a: ArrayLike, b: ArrayLike, *, same_scale: bool = True) -> Correlations:
    """All measures of agreement of two sets of scores of the same images.

    same_scale: False where a and b have different units, as scores and MOS do: mae and rmse are
    then taken after the logistic fit of a to b, and are NaN where there is none.
    """
    x, y, dropped = correlation.paired(a, b)
    beta = correlation.fit_logistic5(x, y)
    fitted = correlation.logistic5(x, beta) if np.isfinite(beta).all() else np.full_like(x, np.nan)
    predicted = x if same_scale else fitted
    return Correlations(
        srocc=correlation.srocc(x, y),
        krocc=correlation.krocc(x, y),
        plcc=correlation.plcc(x, y),
        plcc_logistic=correlation.plcc(fitted, y),
        mae=correlation.mae(predicted, y),
        rmse=correlation.rmse(predicted, y),
        n=len(x),
        dropped=dropped,
    )


def evaluate_scores(
    clean: ArrayLike,
    attacked: ArrayLike,
    gain: ArrayLike,
    mos: ArrayLike | None = None,
    *,
    lower_better: bool,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Measures of raw clean and attacked scores (N,), gains (N,) and, where known, MOS (N,).

    NaN stands for what is missing: an image that failed, a MOS that is not in the table. Higher MOS
    is better. resamples: bootstrap draws, 0 for no intervals. Raises InputError for arrays of
    different lengths.
    """
    s, a, g = (np.asarray(v, dtype=np.float64) for v in (clean, attacked, gain))
    m = np.full(s.shape, np.nan) if mos is None else np.asarray(mos, dtype=np.float64)
    if s.ndim != 1 or not s.shape == a.shape == g.shape == m.shape:
        raise InputError(
            f"clean scores, attacked scores, gains and MOS have shapes {s.shape}, {a.shape},"
            f" {g.shape}, {m.shape}: expected one value per image in each"
        )
    sign = -1.0 if lower_better else 1.0
    intervals: dict[str, Interval] = {}

    def interval(name: str, statistic: Callable[..., float], *arrays: Array) -> None:
        if resamples:
            intervals[name] = bootstrap_interval(statistic, *arrays, n=resamples, seed=seed)

    interval("mean_gain", mean_gain, g)
    for name, measure in _INTERVALS.items():
        interval(f"clean_attacked.{name}", measure, s, a)

    clean_mos = attacked_mos = drops = None
    if mos is not None:
        clean_mos = correlations(sign * s, m, same_scale=False)
        attacked_mos = correlations(sign * a, m, same_scale=False)
        complete = np.isfinite(s) & np.isfinite(a) & np.isfinite(m)
        before = correlations(sign * s[complete], m[complete], same_scale=False)
        after = correlations(sign * a[complete], m[complete], same_scale=False)
        drops = Drops(
            srocc=before.srocc - after.srocc,
            krocc=before.krocc - after.krocc,
            plcc=before.plcc - after.plcc,
            plcc_logistic=before.plcc_logistic - after.plcc_logistic,
        )
        for name, measure in _INTERVALS.items():
            interval(f"clean_mos.{name}", measure, sign * s, m)
            interval(f"attacked_mos.{name}", measure, sign * a, m)
            interval(
                f"drops.{name}",
                _difference(measure),
                sign * s[complete],
                sign * a[complete],
                m[complete],
            )
    return Evaluation(
        n=len(s),
        attacked=int(np.count_nonzero(np.isfinite(s) & np.isfinite(a))),
        with_mos=int(np.count_nonzero(np.isfinite(m))),
        mean_gain=mean_gain(g),
        clean_attacked=correlations(s, a),
        clean_mos=clean_mos,
        attacked_mos=attacked_mos,
        drops=drops,
        intervals=intervals,
    )


def _difference(measure: Callable[[ArrayLike, ArrayLike], float]) -> Callable[..., float]:
    def drop(s: Array, a: Array, m: Array) -> float:
        return measure(s, m) - measure(a, m)

    return drop
