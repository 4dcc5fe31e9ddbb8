import numpy as np
import pytest

from iqattack.errors import InputError
from iqattack.evaluation import correlations, evaluate_scores, plcc_logistic, srocc

RNG = np.random.default_rng(11)
MOS = RNG.uniform(1, 5, 40)
CLEAN = 100 - 20 * MOS + RNG.normal(size=40)  # lower is better
ATTACKED = CLEAN + RNG.normal(scale=30, size=40)
GAIN = np.abs(ATTACKED - CLEAN) / 100


def test_a_good_model_is_positive_whatever_its_direction():
    low = evaluate_scores(CLEAN, ATTACKED, GAIN, MOS, lower_better=True, resamples=0)
    high = evaluate_scores(-CLEAN, -ATTACKED, GAIN, MOS, lower_better=False, resamples=0)
    assert low.clean_mos.srocc > 0.95
    assert low.clean_mos == high.clean_mos
    assert low.attacked_mos == high.attacked_mos
    assert low.drops == high.drops
    assert low.drops.srocc == low.clean_mos.srocc - low.attacked_mos.srocc > 0.1


def test_reversed_ranking_is_minus_one():
    result = evaluate_scores(MOS, -MOS, GAIN, MOS, lower_better=False, resamples=0)
    assert result.attacked_mos.srocc == pytest.approx(-1)
    assert result.drops.srocc == pytest.approx(2)
    assert result.clean_attacked.krocc == pytest.approx(-1)


def test_clean_attacked_is_in_the_models_unit():
    result = evaluate_scores(CLEAN, CLEAN + 7, GAIN, lower_better=True, resamples=0)
    assert result.clean_attacked.mae == pytest.approx(7)
    assert result.clean_attacked.rmse == pytest.approx(7)
    assert result.clean_attacked.plcc == pytest.approx(1)
    assert result.clean_mos is result.attacked_mos is result.drops is None


def test_errors_against_mos_are_after_the_fit():
    exact = correlations(200 * MOS - 50, MOS, same_scale=False)
    assert exact.rmse == pytest.approx(0, abs=1e-6)
    assert exact.mae == pytest.approx(0, abs=1e-6)
    noisy = correlations(-CLEAN, MOS, same_scale=False)
    assert noisy.plcc_logistic == pytest.approx(plcc_logistic(-CLEAN, MOS))
    # A least-squares fit with a constant leaves RMSE² = Var(MOS)·(1 − PLCC²).
    expected = MOS.std() * np.sqrt(1 - noisy.plcc_logistic**2)
    assert noisy.rmse == pytest.approx(expected, rel=1e-4)


def test_missing_values_are_left_out_and_counted():
    attacked, mos = ATTACKED.copy(), MOS.copy()
    attacked[:3] = np.nan
    mos[2:5] = np.nan
    gain = np.where(np.isnan(attacked), np.nan, GAIN)
    result = evaluate_scores(CLEAN, attacked, gain, mos, lower_better=True, resamples=20)
    assert (result.n, result.attacked, result.with_mos) == (40, 37, 37)
    assert (result.clean_attacked.n, result.clean_attacked.dropped) == (37, 3)
    assert (result.clean_mos.n, result.attacked_mos.n) == (37, 35)
    assert result.mean_gain == pytest.approx(GAIN[3:].mean())
    # Drops compare the same images before and after.
    both = slice(5, None)
    drop = srocc(-CLEAN[both], MOS[both]) - srocc(-ATTACKED[both], MOS[both])
    assert result.drops.srocc == pytest.approx(drop)


def test_intervals_hold_their_values():
    result = evaluate_scores(CLEAN, ATTACKED, GAIN, MOS, lower_better=True, resamples=200)
    values = {
        "mean_gain": result.mean_gain,
        "clean_attacked.srocc": result.clean_attacked.srocc,
        "clean_mos.krocc": result.clean_mos.krocc,
        "attacked_mos.plcc": result.attacked_mos.plcc,
        "drops.srocc": result.drops.srocc,
    }
    assert len(result.intervals) == 13
    for name, value in values.items():
        low, high = result.intervals[name]
        assert low <= value <= high


def test_one_image_has_a_gain_and_no_correlation():
    result = evaluate_scores([10], [30], [0.2], [3.0], lower_better=True, resamples=10)
    assert result.mean_gain == pytest.approx(0.2)
    assert np.isnan(result.clean_attacked.srocc)
    assert np.isnan(result.drops.plcc_logistic)


def test_lengths_must_agree():
    with pytest.raises(InputError, match=r"\(2,\), \(1,\), \(2,\), \(2,\)"):
        evaluate_scores([1, 2], [1], [1, 2], lower_better=False)
