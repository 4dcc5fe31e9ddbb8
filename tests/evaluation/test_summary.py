from functools import partial

import numpy as np
import pytest

from iqattack.errors import InputError
from iqattack.evaluation import correlations, evaluate_scores, plcc_logistic, srocc

RNG = np.random.default_rng(11)
MOS = RNG.uniform(1, 5, 40)
CLEAN = 100 - 20 * MOS + RNG.normal(size=40)  # lower is better
ATTACKED = CLEAN + RNG.normal(scale=30, size=40)
GAIN = np.abs(ATTACKED - CLEAN) / 100
REACH = np.linspace(0.5, 1, 40)
RANGE = (0.0, 100.0)
evaluate = partial(evaluate_scores, score_range=RANGE, resamples=0)


def test_a_good_model_is_positive_whatever_its_direction():
    low = evaluate(CLEAN, ATTACKED, GAIN, REACH, MOS, lower_better=True)
    high = evaluate(-CLEAN, -ATTACKED, GAIN, REACH, MOS, lower_better=False)
    assert low.clean_mos.srocc > 0.95
    assert low.clean_mos == high.clean_mos
    assert low.attacked_mos == high.attacked_mos
    assert low.drops == high.drops
    assert low.drops.srocc == low.clean_mos.srocc - low.attacked_mos.srocc > 0.1


def test_reversed_ranking_is_minus_one():
    result = evaluate(MOS, -MOS, GAIN, REACH, MOS, lower_better=False)
    assert result.attacked_mos.srocc == pytest.approx(-1)
    assert result.drops.srocc == pytest.approx(2)
    assert result.clean_attacked.krocc == pytest.approx(-1)


def test_clean_attacked_is_in_the_models_unit():
    result = evaluate(CLEAN, CLEAN + 7, GAIN, REACH, lower_better=True)
    assert result.clean_attacked.mae == pytest.approx(7)
    assert result.clean_attacked.rmse == pytest.approx(7)
    assert result.clean_attacked.plcc == pytest.approx(1)
    assert result.clean_mos is None
    assert result.attacked_mos is None
    assert result.drops is None


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
    result = evaluate(CLEAN, attacked, gain, REACH, mos, lower_better=True, resamples=20)
    assert (result.n, result.attacked, result.with_mos) == (40, 37, 37)
    assert (result.clean_attacked.n, result.clean_attacked.dropped) == (37, 3)
    assert (result.clean_mos.n, result.attacked_mos.n) == (37, 35)
    assert result.mean_gain == pytest.approx(GAIN[3:].mean())
    # Drops compare the same images before and after.
    both = slice(5, None)
    drop = srocc(-CLEAN[both], MOS[both]) - srocc(-ATTACKED[both], MOS[both])
    assert result.drops.srocc == pytest.approx(drop)


def test_intervals_hold_their_values():
    result = evaluate(CLEAN, ATTACKED, GAIN, REACH, MOS, lower_better=True, resamples=200)
    values = {
        "mean_gain": result.mean_gain,
        "clean_attacked.srocc": result.clean_attacked.srocc,
        "clean_mos.krocc": result.clean_mos.krocc,
        "attacked_mos.plcc": result.attacked_mos.plcc,
        "drops.srocc": result.drops.srocc,
    }
    values |= {
        f"{scale}.{name}": getattr(getattr(result, scale), name)
        for scale in ("by_range", "minmax_on_clean")
        for name in ("r", "absolute_gain", "relative_gain", "wasserstein", "energy")
    }
    values |= {f"crossing.success.{b}": share for b, share in result.crossing.success.items()}
    values |= {"rgo": result.rgo, "crossing.area": result.crossing.area}
    assert len(result.intervals) == 12 + 10 + 4 + 3
    for name, value in values.items():
        low, high = result.intervals[name]
        assert low <= value <= high


def test_one_image_has_a_gain_and_no_correlation():
    result = evaluate([10], [30], [0.2], [0.9], [3.0], lower_better=True, resamples=10)
    assert result.mean_gain == pytest.approx(0.2)
    assert np.isnan(result.clean_attacked.srocc)
    assert np.isnan(result.drops.plcc_logistic)


def test_robustness_in_both_conventions(published):
    """With the published scores: the MSU benchmark's own convention, and the model's range."""
    s, a = published.clean, published.attacked
    result = evaluate(s, a, a - s, 1 - s, score_range=(0, 1), lower_better=False)
    wanted = published.values["minmax_on_clean"]
    ours = result.minmax_on_clean
    assert ours.r == pytest.approx(wanted["R"], abs=1e-9)
    assert ours.wasserstein == pytest.approx(wanted["wasserstein"], abs=1e-9)
    assert ours.energy == pytest.approx(wanted["energy"], abs=1e-9)
    assert ours.absolute_gain == pytest.approx(wanted["abs_gain"], abs=1e-9)
    assert ours.relative_gain == pytest.approx(wanted["rel_gain"], abs=1e-9)
    assert (ours.scale, ours.epsilon, ours.epsilon_added) == ((s.min(), s.max()), 1e-6, True)
    range_ = result.by_range
    assert range_.absolute_gain == pytest.approx(wanted["abs_gain"] * (s.max() - s.min()))
    assert (range_.scale, range_.epsilon_added) == ((0, 1), False)


def test_robustness_is_the_same_whatever_the_direction():
    low = evaluate(CLEAN, ATTACKED, GAIN, REACH, lower_better=True)
    high = evaluate(100 - CLEAN, 100 - ATTACKED, GAIN, REACH, lower_better=False)
    for scale in ("by_range", "minmax_on_clean"):
        for name in ("r", "absolute_gain", "relative_gain", "wasserstein", "energy"):
            one, other = (getattr(getattr(x, scale), name) for x in (low, high))
            assert one == pytest.approx(other)
    assert low.rgo == pytest.approx(high.rgo)


def test_images_without_reach_are_counted():
    reach = np.array([0.5, 0.0, 0.8, 0.4])
    result = evaluate([50, 100, 20, 60], [75, 100, 60, np.nan], [0.25, 0, 0.4, np.nan], reach,
                      lower_better=False)  # fmt: skip
    assert (result.crossing.n, result.crossing.without_reach) == (2, 1)
    assert result.crossing.area == pytest.approx(0.5)
    assert result.crossing.success == {"0.1": 1.0, "0.2": 1.0, "0.5": 1.0, "1": 0.0}


@pytest.mark.parametrize("n", [0, 1, 2, 3])
@pytest.mark.parametrize("constant", [False, True])
def test_few_images_and_constant_scores(n, constant):
    """Nothing crashes or warns; what has no value is NaN."""
    s = np.full(n, 50.0) if constant else CLEAN[:n]
    result = evaluate(s, s + 1, GAIN[:n], REACH[:n], MOS[:n], lower_better=True, resamples=30)
    assert np.isfinite(result.by_range.r) == (n > 0)
    assert np.isfinite(result.minmax_on_clean.r) == (n > 1 and not constant)
    assert np.isfinite(result.clean_attacked.srocc) == (n > 1 and not constant)
    assert np.isfinite(result.crossing.area) == (n > 0)
    assert np.isfinite(result.intervals["rgo"]).all() == (n > 0)


def test_without_any_mos_there_is_no_drop():
    result = evaluate(CLEAN, ATTACKED, GAIN, REACH, np.full(40, np.nan), lower_better=True,
                      resamples=10)  # fmt: skip
    assert result.with_mos == result.clean_mos.n == 0
    assert np.isnan(result.drops.srocc)
    assert np.isnan(result.intervals["drops.srocc"]).all()


def test_lengths_must_agree():
    with pytest.raises(InputError, match=r"\(2,\), \(1,\), \(2,\), \(2,\), \(2,\)"):
        evaluate([1, 2], [1], [1, 2], [1, 2], lower_better=False)
