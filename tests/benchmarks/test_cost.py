"""The simulation that docs/cost.md stands on, against closed forms."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
cost = pytest.importorskip("cost", reason="matplotlib is not installed: the extra 'bench'")

FREE = cost.Driver(0.0, 0.0)
PLAN = cost.Plan(
    images=64, queries=20, workers=2, call=cost.Call(0.5, 0.1, 8), driver=FREE, candidate=0.0,
    start=3.0,
)  # fmt: skip


def test_workers_whose_calls_are_full_are_as_fast_as_their_devices():
    # 64 images × 20 queries in calls of 8, shared by two.
    assert cost.simulated(PLAN) == pytest.approx(3.0 + 64 * 20 / 8 / 2 * (0.5 + 0.8))


def test_candidates_that_take_longer_than_calls_are_the_limit():
    slow = replace(PLAN, candidate=1.0)
    # While those of one call are made, the other is scored; the very first need none.
    rounds = 64 / 16 / 2 * 20
    assert cost.simulated(slow) == pytest.approx(3.0 + rounds * 2 * 8 * 1.0, rel=0.05)


def test_a_driver_that_takes_longer_than_all_is_the_limit():
    slow = replace(PLAN, driver=cost.Driver(0.0, 1.0))
    assert cost.simulated(slow) == pytest.approx(64 * 20 * 1.0, rel=0.05)


def test_more_workers_than_images_do_nothing():
    plan = replace(PLAN, images=5)
    many = cost.simulated(replace(plan, workers=5))
    assert cost.simulated(replace(plan, workers=50)) == many == pytest.approx(3.0 + 20 * 0.6)


@given(
    st.integers(1, 200), st.integers(1, 12), st.integers(1, 16), st.floats(0, 0.2),
    st.floats(0, 0.02),
)  # fmt: skip
def test_the_formula_is_close_to_the_simulation(images, workers, batch, candidate, write):
    plan = cost.Plan(
        images, 40, workers, cost.Call(0.2, 0.05, batch), cost.Driver(0.0, write), candidate, 1.0
    )
    assert plan.expected == pytest.approx(cost.simulated(plan), rel=0.35)


def test_shared_gpus_have_the_rate_that_was_given():
    call = cost.gpu_call(1000.0, workers=8)
    assert 8 * call.rate == pytest.approx(1000.0)
    assert cost.gpu_call(1000.0, workers=1).rate == pytest.approx(1000.0)
