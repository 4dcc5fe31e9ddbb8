import numpy as np
import pytest
from scipy import stats

from iqattack.errors import InputError
from iqattack.evaluation import (
    bootstrap_interval,
    bootstrap_intervals,
    krocc,
    mean_gain,
    mean_intervals,
    plcc,
    srocc,
)
from iqattack.evaluation.bootstrap import bootstrap_draws
from iqattack.evaluation.correlation import correlation_draws

RNG = np.random.default_rng(3)
X = RNG.normal(size=80)
Y = X + RNG.normal(size=80)
MEASURES = [("p", plcc), ("s", srocc)]


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


def test_several_statistics_of_the_same_draws():
    both = bootstrap_intervals(lambda x, y: {"p": plcc(x, y), "s": srocc(x, y)}, X, Y, n=50)
    assert both == {name: bootstrap_interval(f, X, Y, n=50) for name, f in MEASURES}


@pytest.mark.parametrize("pair", [(X, Y), (np.round(X), np.round(2 * Y) / 2), (X[:2], Y[:2])])
def test_correlations_of_all_draws_at_once(pair, monkeypatch):
    """As of one draw after the other, ties and constant draws included."""
    monkeypatch.setattr("iqattack.evaluation.correlation.BLOCK", 7)
    monkeypatch.setattr("iqattack.evaluation.correlation.VALUES", 300)
    x, y = pair
    draws = bootstrap_draws(len(x), 60, seed=4)
    at_once = correlation_draws(x, y, draws)
    for name, measure in (("plcc", plcc), ("srocc", srocc), ("krocc", krocc)):
        expected = [measure(x[row], y[row]) for row in draws]
        np.testing.assert_allclose(at_once[name], expected, atol=1e-6)


def test_correlations_of_draws_of_nothing():
    assert all(np.isnan(v).all() for v in correlation_draws([], [], bootstrap_draws(0, 9)).values())


@pytest.mark.parametrize("size", [1, 3, 24, 300, 13_000])
def test_intervals_of_means_at_once_are_those_of_each(size):
    """To the last bit, and of a set that is drawn from in part, too."""
    rows = np.random.default_rng(2).normal(size=(3, size))
    low, high = mean_intervals(rows, n=30)
    expected = [bootstrap_interval(mean_gain, row, n=30) for row in rows]
    assert list(zip(low.tolist(), high.tolist(), strict=True)) == expected
