import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate

from iqattack.errors import InputError
from iqattack.evaluation import (
    best_so_far,
    boundary_crossing,
    crossing_area,
    gain_by_query,
    progress,
    success_rate,
)

PROGRESS = st.lists(st.floats(0.0, 1.5), min_size=1, max_size=30)


def test_progress_is_a_fraction_of_the_reach():
    np.testing.assert_allclose(progress([0.2, 0.6, 0.0], [0.8, 0.5, 0.1]), [0.25, 1.2, 0])
    assert np.isnan(progress([0.1, np.nan], [0.0, 0.5])).all()


def test_shares_by_hand():
    b, share = boundary_crossing([0.1, 0.3, 0.3, 1.2, np.nan], [0, 0.1, 0.2, 0.3, 0.31, 1])
    np.testing.assert_allclose(b, [0, 0.1, 0.2, 0.3, 0.31, 1])
    np.testing.assert_allclose(share, [1, 1, 0.75, 0.75, 0.25, 0.25])
    assert success_rate([0.1, 0.3], 0.2) == 0.5
    assert np.isnan(success_rate([np.nan], 0.2))
    assert np.isnan(boundary_crossing([])[1]).all()
    assert np.isnan(crossing_area([]))
    assert len(boundary_crossing([0.5])[0]) == 101


@given(st.floats(0.01, 1.0), st.floats(0.01, 1.0))
def test_a_score_on_the_boundary_has_crossed_it(boundary, reach):
    assert success_rate(progress([boundary * reach], [reach]), boundary) == 1.0


@given(PROGRESS)
def test_the_curve_falls_and_starts_at_1(values):
    _, share = boundary_crossing(values)
    assert share[0] == 1.0
    assert (np.diff(share) <= 0).all()


@given(PROGRESS)
def test_area_is_the_integral_of_the_curve(values):
    area, _ = integrate.quad(
        lambda b: success_rate(values, b), 0, 1, points=sorted({min(v, 1.0) for v in values}),
        limit=200,
    )  # fmt: skip
    assert crossing_area(values) == pytest.approx(area, abs=1e-6)


def test_best_so_far_by_hand():
    gains = [[0, -0.2, 0.3, 0.1], [0.0], [], [0, np.nan, 0.1]]
    expected = [[0, 0, 0.3, 0.3, 0.3], [0] * 5, [0] * 5, [0, 0, 0.1, 0.1, 0.1]]
    np.testing.assert_array_equal(best_so_far(gains, 5), expected)
    np.testing.assert_array_equal(best_so_far(gains, 2), [[0, 0]] * 4)
    assert best_so_far([], 3).shape == (0, 3)
    with pytest.raises(InputError, match="after 0 queries: expected at least 1"):
        best_so_far(gains, 0)


def test_quartiles_by_query():
    rng = np.random.default_rng(5)
    gains = [np.r_[0, rng.normal(size=rng.integers(1, 40))] for _ in range(25)]
    points = [1, 3, 17, 60]
    curve = gain_by_query(gains, points)
    best = np.array([[max(0, *g[:n]) if n > 1 else 0 for n in points] for g in gains])
    np.testing.assert_array_equal(curve.queries, points)
    np.testing.assert_allclose(curve.median, np.median(best, axis=0))
    np.testing.assert_allclose(curve.q25, np.percentile(best, 25, axis=0))
    np.testing.assert_allclose(curve.q75, np.percentile(best, 75, axis=0))
    np.testing.assert_allclose(curve.mean, best.mean(axis=0))
    assert np.isnan(gain_by_query([], points).mean).all()
