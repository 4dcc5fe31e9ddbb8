"""The measures of a run in one record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from iqattack.errors import InputError
from iqattack.evaluation import correlation, curves, robustness
from iqattack.evaluation.bootstrap import (
    RESAMPLES,
    Interval,
    bootstrap_draws,
    bootstrap_intervals,
    draw_size,
    draws_interval,
)
from iqattack.evaluation.correlation import Array
from iqattack.evaluation.curves import Crossing
from iqattack.evaluation.gain import mean_gain
from iqattack.evaluation.robustness import Robustness


@dataclass(frozen=True)
class Correlations:
    """Agreement of two sets of scores.

    srocc, krocc, plcc: −1..1. plcc_logistic: PLCC after the five-parameter logistic fit, 0..1.
    mae, rmse: errors, in the unit of the second set.
    n: number of images compared. dropped: number of images left out because of a non-finite value.
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
    """How far the agreement with opinion scores fell: correlations of clean scores with MOS minus
    those of attacked scores with MOS.
    """

    srocc: float
    krocc: float
    plcc: float
    plcc_logistic: float


@dataclass(frozen=True)
class Evaluation:
    """What an attack did to the scores of a set of images.

    clean_attacked: raw clean against raw attacked scores; mae and rmse in the model's unit.
    clean_mos, attacked_mos, drops: agreement with MOS; None without MOS. If lower scores are
        better, scores are negated first, so that a good model correlates positively. mae and rmse
        are taken after the logistic fit, in the unit of the MOS, as recommended by the VQEG. Drops
        are taken over the images that have all three values.
    mean_gain: how far scores moved in the wanted direction on average, as a fraction of the range.
    by_range, minmax_on_clean: robustness on the scale of the score range, and as in the MSU
        benchmark. rgo: mean share of the largest possible change, 0..1 within the range.
    crossing: success against the score boundary.
    n: number of images; attacked: of those with both scores; with_mos: of those with a MOS.
    intervals: 95 % bootstrap intervals over images, paired, by the names of the fields:
        `mean_gain`, `by_range.r`, `crossing.success.0.2`; for correlations, of srocc, krocc and
        plcc, such as `clean_attacked.srocc` and `drops.plcc`.
    draw_size: images in each bootstrap resample: n for up to 12,000 images, 5,000 for larger sets
        (see `bootstrap`), for which the scale of minmax_on_clean is held fixed.
    """

    n: int
    attacked: int
    with_mos: int
    mean_gain: float
    clean_attacked: Correlations
    clean_mos: Correlations | None
    attacked_mos: Correlations | None
    drops: Drops | None
    by_range: Robustness
    minmax_on_clean: Robustness
    rgo: float
    crossing: Crossing
    intervals: dict[str, Interval]
    draw_size: int = 0


def correlations(a: ArrayLike, b: ArrayLike, *, same_scale: bool = True) -> Correlations:
    """All measures of agreement of two sets of scores (N,) of the same images.

    same_scale: False if a and b have different units, as scores and MOS do; mae and rmse are then
    taken after the logistic fit of a to b, and are NaN if there is no fit. Raises InputError for
    different lengths.

    >>> from iqattack.evaluation import correlations
    >>> found = correlations([1, 2, 3, float("nan")], [2, 4, 6, 8])
    >>> found.srocc, found.n, found.dropped
    (1.0, 3, 1)
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
    reach: ArrayLike,
    mos: ArrayLike | None = None,
    *,
    score_range: tuple[float, float],
    lower_better: bool,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Evaluation:
    """All measures of an attack on N images.

    clean, attacked: raw scores, (N,). gain, reach: fractions of the score range, (N,), see
    `curves.progress`. mos: mean opinion scores, (N,), higher is better; None if unknown. A missing
    value, such as for an image that failed or has no MOS, is NaN. score_range: (lowest, highest)
    raw score. resamples: of the bootstrap, 0 for no intervals. Raises InputError for arrays of
    different lengths.

    >>> from iqattack.evaluation import evaluate_scores
    >>> found = evaluate_scores(
    ...     clean=[20, 50, 80], attacked=[60, 50, 40], gain=[0.4, 0.0, 0.4], reach=[0.8, 0.5, 0.8],
    ...     score_range=(0, 100), lower_better=False, resamples=0,
    ... )
    >>> found.clean_attacked.srocc, round(found.mean_gain, 3)
    (-1.0, 0.267)
    """
    s, a, g, r = (np.asarray(v, dtype=np.float64) for v in (clean, attacked, gain, reach))
    m = np.full(s.shape, np.nan) if mos is None else np.asarray(mos, dtype=np.float64)
    if s.ndim != 1 or not s.shape == a.shape == g.shape == r.shape == m.shape:
        shapes = ", ".join(str(v.shape) for v in (s, a, g, r, m))
        raise InputError(
            f"clean scores, attacked scores, gains, reaches and MOS have shapes {shapes}:"
            " expected one value per image in each"
        )
    sign = -1.0 if lower_better else 1.0
    clean_mos = attacked_mos = drops = None
    if mos is not None:
        clean_mos = before = correlations(sign * s, m, same_scale=False)
        attacked_mos = after = correlations(sign * a, m, same_scale=False)
        complete = np.isfinite(s) & np.isfinite(a) & np.isfinite(m)
        if not clean_mos.n == attacked_mos.n == np.count_nonzero(complete):
            before = correlations(sign * s[complete], m[complete], same_scale=False)
            after = correlations(sign * a[complete], m[complete], same_scale=False)
        drops = Drops(
            srocc=before.srocc - after.srocc,
            krocc=before.krocc - after.krocc,
            plcc=before.plcc - after.plcc,
            plcc_logistic=before.plcc_logistic - after.plcc_logistic,
        )
    clean_attacked = correlations(s, a)
    intervals: dict[str, Interval] = {}
    if resamples:
        intervals |= _movement_intervals(s, a, g, r, score_range, lower_better, resamples, seed)
        measured = {"clean_attacked": clean_attacked, "clean_mos": clean_mos}
        intervals |= _correlation_intervals(
            s,
            a,
            None if mos is None else sign * m,
            {**measured, "attacked_mos": attacked_mos, "drops": drops},
            resamples,
            seed,
        )
    return Evaluation(
        n=len(s),
        attacked=int(np.count_nonzero(np.isfinite(s) & np.isfinite(a))),
        with_mos=int(np.count_nonzero(np.isfinite(m))),
        mean_gain=mean_gain(g),
        clean_attacked=clean_attacked,
        clean_mos=clean_mos,
        attacked_mos=attacked_mos,
        drops=drops,
        by_range=robustness.by_range(s, a, score_range, lower_better),
        minmax_on_clean=robustness.minmax_on_clean(s, a, lower_better),
        rgo=robustness.rgo(s, a, score_range),
        crossing=curves.crossing(g, r),
        intervals=intervals,
        draw_size=draw_size(len(s)),
    )


def _movement_intervals(
    s: Array,
    a: Array,
    g: Array,
    r: Array,
    score_range: tuple[float, float],
    lower_better: bool,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Intervals of all that is not a correlation, from the same draws."""
    # Few images of a large set do not have its extremes.
    fixed = None if draw_size(len(s)) == len(s) else robustness.clean_range(s)

    def measures(s: Array, a: Array, g: Array, r: Array) -> dict[str, float]:
        scales = {
            "by_range": robustness.by_range(s, a, score_range, lower_better),
            "minmax_on_clean": robustness.minmax_on_clean(s, a, lower_better, fixed),
        }
        crossed = curves.crossing(g, r)
        return {
            "mean_gain": mean_gain(g),
            **{
                f"{scale}.{name}": getattr(values, name)
                for scale, values in scales.items()
                for name in robustness.MEASURES
            },
            "rgo": robustness.rgo(s, a, score_range),
            "crossing.area": crossed.area,
            **{f"crossing.success.{b}": share for b, share in crossed.success.items()},
        }

    return bootstrap_intervals(measures, s, a, g, r, n=resamples, seed=seed)


def _correlation_intervals(
    s: Array,
    a: Array,
    m: Array | None,
    measured: Mapping[str, Correlations | Drops | None],
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Intervals of correlations; m: opinion scores with the direction of the raw scores. measured:
    their values.

    The logistic fit is left out: a thousand fits take longer than they tell.
    """

    def drawn(pair: tuple[Array, Array], keep: NDArray[np.bool_]) -> dict[str, Array]:
        draws = bootstrap_draws(int(np.count_nonzero(keep)), resamples, seed)
        return correlation.correlation_draws(pair[0][keep], pair[1][keep], draws)

    def both(x: Array, y: Array) -> NDArray[np.bool_]:
        return np.isfinite(x) & np.isfinite(y)

    kept = {"clean_attacked": both(s, a)}
    values = {"clean_attacked": drawn((s, a), kept["clean_attacked"])}
    if m is not None:
        complete = both(s, a) & np.isfinite(m)
        before, after = drawn((s, m), complete), drawn((a, m), complete)
        for name, x, known in (("clean_mos", s, before), ("attacked_mos", a, after)):
            kept[name] = keep = both(x, m)
            values[name] = known if (keep == complete).all() else drawn((x, m), keep)
        kept["drops"] = complete
        values["drops"] = {name: before[name] - after[name] for name in before}
    return {
        f"{pair}.{name}": draws_interval(
            draws, getattr(measured[pair], name), int(np.count_nonzero(kept[pair]))
        )
        for pair, measures in values.items()
        for name, draws in measures.items()
    }
