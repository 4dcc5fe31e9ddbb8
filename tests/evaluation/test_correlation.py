import csv
import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchmetrics.functional import kendall_rank_corrcoef, pearson_corrcoef, spearman_corrcoef

from iqattack.errors import InputError
from iqattack.evaluation import (
    fit_logistic5,
    krocc,
    logistic5,
    mae,
    plcc,
    plcc_logistic,
    rmse,
    srocc,
)

RNG = np.random.default_rng(7)
X = RNG.normal(size=60)
Y = 0.7 * X + RNG.normal(size=60)
TIED = np.round(X), np.round(2 * Y) / 2


@pytest.mark.parametrize("pair", [(X, Y), TIED])
def test_correlations_agree_with_scipy_and_torchmetrics(pair):
    x, y = pair
    assert plcc(x, y) == pytest.approx(stats.pearsonr(x, y).statistic, abs=1e-12)
    assert srocc(x, y) == pytest.approx(stats.spearmanr(x, y).statistic, abs=1e-12)
    tx, ty = torch.from_numpy(x), torch.from_numpy(y)
    assert plcc(x, y) == pytest.approx(float(pearson_corrcoef(tx, ty)), abs=1e-6)
    assert srocc(x, y) == pytest.approx(float(spearman_corrcoef(tx, ty)), abs=1e-6)
    assert krocc(x, y) == pytest.approx(
        float(torch.as_tensor(kendall_rank_corrcoef(tx, ty, variant="b"))), abs=1e-6
    )


def test_kendall_by_hand():
    # Pairs of (1,1) (2,3) (3,2) (3,4): 4 concordant, 1 discordant, 1 tied in x: 3 / sqrt(5·6).
    assert krocc([1, 2, 3, 3], [1, 3, 2, 4]) == pytest.approx(3 / np.sqrt(30))


def test_spearman_by_hand():
    # 1 − 6·Σd²/(n(n² − 1)), d = 0, 1, 1, 0.
    assert srocc([1, 2, 3, 4], [10, 30, 20, 40]) == pytest.approx(1 - 6 * 2 / (4 * 15))


def test_differences_by_hand():
    assert mae([0, 0], [3, -4]) == 3.5
    assert rmse([0, 0], [3, -4]) == pytest.approx(np.sqrt(12.5))


def test_published_scores_of_the_msu_benchmark(shared):
    """MANIQA under I-FGSM on 1,000 images, with the benchmark's own values."""
    with (shared / "reference" / "msu_ifgsm_maniqa_nips.csv").open() as file:
        rows = list(csv.DictReader(file))
    clean = [float(row["clear"]) for row in rows]
    attacked = [float(row["attacked"]) for row in rows]
    wanted = json.loads((shared / "reference" / "msu_ifgsm_maniqa_nips.json").read_text())
    assert srocc(clean, attacked) == pytest.approx(wanted["srocc"], abs=1e-9)
    assert krocc(clean, attacked) == pytest.approx(wanted["krocc"], abs=1e-9)
    assert plcc(clean, attacked) == pytest.approx(wanted["plcc_linear"], abs=1e-9)
    assert mae(clean, attacked) == pytest.approx(wanted["mae"], abs=1e-9)


@pytest.mark.parametrize("measure", [srocc, krocc, plcc, plcc_logistic])
def test_a_constant_has_no_correlation(measure):
    assert np.isnan(measure([5.0] * 10, np.arange(10)))
    assert np.isnan(measure(np.arange(10), [0.1] * 10))


@pytest.mark.parametrize("measure", [srocc, krocc, plcc, plcc_logistic, mae, rmse])
def test_nothing_has_no_value(measure):
    assert np.isnan(measure([], []))


@pytest.mark.parametrize("measure", [srocc, krocc, plcc, plcc_logistic, mae, rmse])
def test_pairs_that_are_not_finite_are_left_out(measure):
    x, y = np.append(X, [np.nan, 1.0, np.inf]), np.append(Y, [1.0, np.nan, 1.0])
    assert measure(x, y) == measure(X, Y)


@pytest.mark.parametrize("measure", [srocc, krocc, plcc, plcc_logistic, mae, rmse])
def test_lengths_must_agree(measure):
    with pytest.raises(InputError, match=r"\(3,\) and \(2,\).*one value per image"):
        measure([1, 2, 3], [1, 2])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(-1000, 1000), min_size=2, max_size=30), st.randoms())
def test_ranks_survive_a_monotone_map(values, random):
    x = np.array(values, dtype=float)
    y = np.array(random.sample(values, len(values)), dtype=float)
    for measure in (srocc, krocc):
        before = measure(x, y)
        np.testing.assert_allclose(measure(x**3 + x, np.exp(y / 500)), before, atol=1e-12)
        np.testing.assert_allclose(measure(-x, y), -before, atol=1e-12)
        np.testing.assert_allclose(measure(y, x), before, atol=1e-12)


@pytest.mark.parametrize(
    ("x", "beta"),
    [
        (np.linspace(0, 100, 80), (60.0, 0.12, 45.0, 0.1, 40.0)),
        (np.linspace(0, 1, 80), (4.0, 15.0, 0.4, 0.5, 3.0)),
        (np.linspace(-3, 3, 80), (-8.0, 2.0, 0.5, -0.3, 1.0)),
    ],
)
def test_logistic_recovers_a_known_curve(x, beta):
    y = logistic5(x, beta)
    np.testing.assert_allclose(logistic5(x, fit_logistic5(x, y)), y, atol=1e-4 * np.ptp(y))
    assert plcc_logistic(x, y) == pytest.approx(1.0, abs=1e-6)


def test_logistic_is_the_published_formula():
    b1, b2, b3, b4, b5 = beta = (2.0, 0.5, 1.0, 0.3, 4.0)
    x = np.array([-2.0, 0.0, 1.0, 5.0])
    published = b1 * (0.5 - 1 / (1 + np.exp(b2 * (x - b3)))) + b4 * x + b5
    np.testing.assert_allclose(logistic5(x, beta), published, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.integers(6, 40))
def test_logistic_never_fits_worse_than_a_line(seed, n):
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 100, n)
    y = rng.normal(size=n)
    assert plcc_logistic(x, y) >= abs(plcc(x, y)) - 1e-6


def test_logistic_needs_more_images_than_parameters():
    assert np.isnan(fit_logistic5(X[:5], Y[:5])).all()
    assert np.isnan(plcc_logistic(X[:5], Y[:5]))
    assert np.isfinite(plcc_logistic(X[:6], Y[:6]))
