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
from iqattack.evaluation.gain import mean_gain, normalised_gain
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
    "bootstrap_interval",
    "correlations",
    "evaluate_scores",
    "fit_logistic5",
    "krocc",
    "logistic5",
    "mae",
    "mean_gain",
    "normalised_gain",
    "plcc",
    "plcc_logistic",
    "rmse",
    "srocc",
]
