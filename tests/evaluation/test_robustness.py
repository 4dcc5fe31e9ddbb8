import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from iqattack.errors import InputError
from iqattack.evaluation import (
    absolute_gain,
    clean_range,
    energy_score,
    r_robustness,
    relative_gain,
    rescaled,
    rgo,
    wasserstein_score,
)
from iqattack.evaluation.robustness import minmax_on_clean

MEASURES = [r_robustness, absolute_gain, relative_gain, wasserstein_score, energy_score]
SCORES = st.lists(st.floats(-2.0, 3.0), min_size=1, max_size=20)


@pytest.mark.parametrize("convention", ["minmax_on_clean", "range_0_1"])
def test_values_of_the_msu_benchmark(published, convention):
    ends = clean_range(published.clean) if convention == "minmax_on_clean" else (0.0, 1.0)
    S, A = rescaled(published.clean, ends), rescaled(published.attacked, ends)
    wanted = published.values[convention]
    assert r_robustness(S, A, added=True) == pytest.approx(wanted["R"], abs=1e-9)
    assert absolute_gain(S, A) == pytest.approx(wanted["abs_gain"], abs=1e-9)
    assert relative_gain(S, A) == pytest.approx(wanted["rel_gain"], abs=1e-9)
    assert wasserstein_score(S, A) == pytest.approx(wanted["wasserstein"], abs=1e-9)
    assert energy_score(S, A) == pytest.approx(wanted["energy"], abs=1e-9)
    # The two ways to spare a change of 0 differ by no more than ε over the smallest change.
    assert r_robustness(S, A) == pytest.approx(wanted["R"], abs=1e-5)


def test_rescaling_turns_and_does_not_clip():
    np.testing.assert_allclose(rescaled([0, 25, 100, 120], (0, 100)), [0, 0.25, 1, 1.2])
    np.testing.assert_allclose(rescaled([0, 25, 100, 120], (0, 100), True), [1, 0.75, 0, -0.2])
    assert np.isnan(rescaled([3, 3], clean_range([3, 3]))).all()
    assert np.isnan(rescaled([np.nan], clean_range([np.nan]))).all()
    assert clean_range([2, np.nan, -1, np.inf]) == (-1, 2)
    with pytest.raises(InputError, match=r"1,0: expected the lower end first"):
        rescaled([1], (1, 0))


def test_r_by_hand():
    # log10(0.8 / 0.08) = 1 and log10(0.5 / 0.005) = 2.
    assert r_robustness([0.2, 0.5], [0.28, 0.495]) == pytest.approx(1.5)
    # Nothing changed: what ε alone leaves, log10(0.9 / 1e-6).
    assert r_robustness([0.9], [0.9]) == pytest.approx(np.log10(0.9e6))
    assert r_robustness([0.9], [0.9], added=True) == pytest.approx(np.log10(0.9e6))
    assert r_robustness([0.5], [0.5], epsilon=0.05) == pytest.approx(1.0)


@given(SCORES)
def test_r_is_finite_beyond_the_range_too(scores):
    S = np.array(scores)
    assert np.isfinite(r_robustness(S, S[::-1]))


def test_gains_by_hand():
    assert absolute_gain([0.2, 0.6], [0.5, 0.5]) == pytest.approx(0.1)
    assert relative_gain([0.0, 1.0], [0.5, 0.5]) == pytest.approx((0.5 - 0.25) / 2)
    assert relative_gain([0.0, -1.0, -1.5], [0.5, 5, 5]) == pytest.approx(0.5)


def test_rgo_by_hand():
    # 10 of 80 that were possible, 30 of 50.
    assert rgo([20, 50], [30, 20], (0, 100)) == pytest.approx((10 / 80 + 30 / 50) / 2)
    assert rgo([-20], [40], (0, 100)) == pytest.approx(60 / 120)
    with pytest.raises(InputError, match="two finite numbers"):
        rgo([1], [2], (1, 1))


@given(SCORES, st.floats(-1.0, 1.0))
def test_distances_are_scipys_with_the_sign_of_the_mean_change(scores, shift):
    S = np.array(scores)
    A = S * 0.5 + shift
    sign = -1 if np.mean(A - S) < 0 else 1
    assert wasserstein_score(S, A) == sign * stats.wasserstein_distance(S, A)
    assert energy_score(S, A) == sign * stats.energy_distance(S, A)


@given(SCORES, st.floats(-1.0, 1.0))
def test_a_shift_by_d_has_the_distance_d(scores, shift):
    S = np.array(scores)
    assert wasserstein_score(S, S + shift) == pytest.approx(shift, abs=1e-9)


def test_images_without_a_score_are_left_out():
    S, A = np.array([0.2, np.nan, 0.6, 0.4]), np.array([0.3, 0.5, np.inf, 0.1])
    for measure in MEASURES:
        assert measure(S, A) == measure([0.2, 0.4], [0.3, 0.1])
        assert np.isnan(measure([], []))
        assert np.isnan(measure([np.nan], [1.0]))
        assert np.isfinite(measure([0.5], [0.5]))  # one image, nothing changed
    assert np.isnan(rgo([], [], (0, 1)))


def test_the_scale_of_clean_scores_is_that_of_the_images_that_are_measured():
    whole = minmax_on_clean([0.2, 0.4, 0.9], [0.3, 0.5, 0.8], lower_better=False)
    beside = minmax_on_clean([0.2, 5.0, 0.4, 0.9], [0.3, np.nan, 0.5, 0.8], lower_better=False)
    assert beside == whole
    assert whole.scale == (0.2, 0.9)
