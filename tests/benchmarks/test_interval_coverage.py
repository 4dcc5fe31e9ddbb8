"""The intervals whose coverage is measured are those of the package."""

import numpy as np
import pytest

from iqattack.evaluation import evaluate_scores


@pytest.fixture
def coverage(on_stand_in):
    import interval_coverage  # noqa: PLC0415 - from benchmarks/

    return interval_coverage


def test_intervals_are_those_of_a_run(coverage):
    rng = np.random.default_rng(0)
    clean, attacked, gain = rng.random((3, 12))
    found = evaluate_scores(
        clean, attacked, gain, np.ones(12), score_range=(0.0, 1.0), lower_better=False
    ).intervals
    fixed = coverage.Population("fixed", 0.5, lambda _, shape: np.tile(gain, (shape[0], 1)))
    ends = coverage.mean_ends(fixed, 12, 1)
    assert (ends.low[0], ends.high[0]) == pytest.approx(found["mean_gain"])
    expected = found["clean_attacked.srocc"]
    assert coverage.srocc_interval(clean, attacked) == pytest.approx(expected)


def test_shares_of_intervals(coverage):
    ends = coverage.Ends(np.array([0.0, 2.0, -3.0, 0.5]), np.array([1.5, 3.0, -1.0, 2.0]), 1.0)
    assert (ends.covered, ends.below, ends.above) == (0.5, 0.25, 0.25)
    assert ends.apart == 0.5  # of (0, 1.5) and (-3, -1), (2, 3) and (0.5, 2)


@pytest.mark.parametrize("truth", [0.0, 0.8])
def test_the_true_srocc_is_that_of_many_images(coverage, truth, monkeypatch):
    seen = []

    def kept(clean, attacked):
        seen.append(coverage.srocc(clean, attacked))
        return -1.0, 1.0

    monkeypatch.setattr(coverage, "srocc_interval", kept)
    assert coverage.srocc_ends(truth, 20_000, 1).covered == 1.0
    assert seen == pytest.approx([truth], abs=0.02)


def test_measured_gains_are_populations(coverage):
    for population in coverage.populations():
        drawn = population.draw(np.random.default_rng(1), (4, 50_000))
        assert drawn.shape == (4, 50_000)
        assert float(drawn.mean()) == pytest.approx(population.mean, abs=0.02)


def test_few_images_are_covered_less_often(coverage):
    exponential = coverage.populations()[1]
    few, many = (coverage.mean_ends(exponential, n, 500) for n in (3, 100))
    assert (few.covered, many.covered) == pytest.approx((0.7, 0.93), abs=0.05)
    assert (few.below, many.below) == pytest.approx((0.25, 0.05), abs=0.05)
