import numpy as np
import pytest
from scipy import stats

from iqattack.errors import InputError
from iqattack.evaluation import bootstrap_interval, plcc, srocc

RNG = np.random.default_rng(3)
X = RNG.normal(size=80)
Y = X + RNG.normal(size=80)


def test_interval_agrees_with_scipy():
    ours = bootstrap_interval(plcc, X, Y, n=2000)
    theirs = stats.bootstrap(
        (X, Y),
        lambda x, y: stats.pearsonr(x, y).statistic,
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=2000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    np.testing.assert_allclose(ours, theirs, atol=0.02)


def test_interval_of_a_mean_is_near_the_normal_one():
    low, high = bootstrap_interval(lambda x: float(x.mean()), X, n=2000)
    half = 1.96 * X.std() / np.sqrt(len(X))
    np.testing.assert_allclose([low, high], [X.mean() - half, X.mean() + half], atol=0.03)


def test_same_seed_same_interval():
    assert bootstrap_interval(srocc, X, Y, n=50) == bootstrap_interval(srocc, X, Y, n=50)
    assert bootstrap_interval(srocc, X, Y, n=50) != bootstrap_interval(srocc, X, Y, n=50, seed=1)


def test_pairs_stay_together():
    assert bootstrap_interval(srocc, X, 2 * X, n=50) == pytest.approx((1.0, 1.0))


def test_draws_without_a_value():
    # Two images: half of the draws are constant and have no correlation.
    assert bootstrap_interval(srocc, [1, 2], [1, 2], n=50) == pytest.approx((1.0, 1.0))
    assert np.isnan(bootstrap_interval(srocc, [1], [1], n=50)).all()
    assert np.isnan(bootstrap_interval(srocc, [], [], n=50)).all()


def test_lengths_must_agree():
    with pytest.raises(InputError, match=r"lengths \[1, 2\]"):
        bootstrap_interval(srocc, [1], [1, 2])
