"""Measures of an attack: pure functions of scores, arrays in and floats out."""

from iqattack.evaluation.bootstrap import bootstrap_interval
from iqattack.evaluation.correlation import (
    fit_logistic5,
    krocc,
    logistic5,
    mae,
    plcc,
    plcc_logistic,
    rmse,
    srocc,
)
from iqattack.evaluation.curves import (
    GainByQuery,
    best_so_far,
    boundary_crossing,
    crossing_area,
    gain_by_query,
    progress,
    success_rate,
)
from iqattack.evaluation.gain import mean_gain, normalised_gain
from iqattack.evaluation.robustness import (
    absolute_gain,
    clean_range,
    energy_score,
    r_robustness,
    relative_gain,
    rescaled,
    rgo,
    wasserstein_score,
)
from iqattack.evaluation.summary import (
    Correlations,
    Drops,
    Evaluation,
    correlations,
    evaluate_scores,
)

__all__ = [
    "Correlations",
    "Drops",
    "Evaluation",
    "GainByQuery",
    "absolute_gain",
    "best_so_far",
    "bootstrap_interval",
    "boundary_crossing",
    "clean_range",
    "correlations",
    "crossing_area",
    "energy_score",
    "evaluate_scores",
    "fit_logistic5",
    "gain_by_query",
    "krocc",
    "logistic5",
    "mae",
    "mean_gain",
    "normalised_gain",
    "plcc",
    "plcc_logistic",
    "progress",
    "r_robustness",
    "relative_gain",
    "rescaled",
    "rgo",
    "rmse",
    "srocc",
    "success_rate",
    "wasserstein_score",
]
