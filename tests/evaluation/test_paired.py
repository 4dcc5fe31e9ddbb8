import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from iqattack.evaluation import holm, wilcoxon_p


def test_signed_ranks_by_hand():
    # Ranks of 1, 2, 3, 4, -5: W− = 5; 10 of the 32 signs of five ranks have a sum of 5 or less.
    x = np.array([1.0, 2, 3, 4, -5])
    assert wilcoxon_p(x, np.zeros(5)) == pytest.approx(2 * 10 / 32)
    # All five on one side: 2 of 32.
    assert wilcoxon_p(np.abs(x), np.zeros(5)) == pytest.approx(2 / 32)


def test_what_is_left_out():
    x, y = np.array([1.0, 2, 3, 4, -5, 7, np.nan]), np.array([0, 0, 0, 0, 0, 7, 1.0])
    assert wilcoxon_p(x, y) == pytest.approx(2 * 10 / 32)
    assert wilcoxon_p([1, 2], [1, 2]) == 1.0
    assert np.isnan(wilcoxon_p([], []))
    assert np.isnan(wilcoxon_p([np.nan], [1]))
    assert wilcoxon_p([1], [0]) == 1.0  # one image tells nothing


def test_agrees_with_scipy():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=80), rng.normal(0.3, size=80)
    assert wilcoxon_p(x, y) == stats.wilcoxon(x, y).pvalue


def test_holm_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04 times 4, 3, 2, 1, made to rise.
    np.testing.assert_allclose(holm([0.04, 0.01, 0.03, 0.02]), [0.06, 0.04, 0.06, 0.06])
    np.testing.assert_allclose(holm([0.5, 0.9]), [1.0, 1.0])
    np.testing.assert_allclose(holm([0.03, np.nan, 0.01]), [0.03, np.nan, 0.02])
    assert holm([]).size == 0


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.001, 0.5))
def test_holm_rejects_what_its_step_down_rule_does(p, alpha):
    """The rule of the paper: go through p in order, stop at the first above α/(K − k)."""
    rejected = set()
    for k, index in enumerate(np.argsort(p, kind="stable")):
        if p[index] * (len(p) - k) > alpha:
            break
        rejected.add(int(index))
    assert {i for i, value in enumerate(holm(p)) if value <= alpha} == rejected
