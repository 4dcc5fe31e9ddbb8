import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.attacks.score_boundary import Boundaries


def test_success_sets_the_next_boundary_as_far_ahead() -> None:
    bounds = Boundaries(reach=0.5)
    assert (bounds.b, bounds.previous) == (0.01, 0.0)
    reached = []
    for gain in (0.005, 0.0101, 0.0151):  # just past b·reach
        assert bounds.crossed(gain)
        bounds.advance()
        reached.append((bounds.previous, bounds.b))
    assert reached == [pytest.approx(pair) for pair in ((0.01, 0.02), (0.02, 0.03), (0.03, 0.04))]


def test_before_the_boundary_is_no_success() -> None:
    bounds = Boundaries(reach=0.5)
    assert not bounds.crossed(0.0049)
    assert not bounds.crossed(float("nan"))
    assert bounds.b == 0.01


def test_increase_goes_half_way_to_what_was_passed() -> None:
    bounds = Boundaries(reach=1.0)
    assert bounds.crossed(0.031)  # sup = 0.01 + 2·0.01
    assert bounds.b == pytest.approx(0.02)
    bounds.advance()
    assert (bounds.previous, bounds.b) == (0.02, pytest.approx(0.04))
    assert bounds.crossed(0.0799)  # sup = 0.04 + 2·0.02
    assert bounds.b == pytest.approx(0.04)
    assert bounds.crossed(0.0801)
    assert bounds.b == pytest.approx(0.06)


def test_one_far_candidate_increases_it_more_than_once() -> None:
    bounds = Boundaries(reach=1.0)
    assert bounds.crossed(0.2)  # past sup of 0.01, 0.02 and 0.04, which doubles each; not of 0.08
    assert bounds.b == pytest.approx(0.08)
    assert bounds.crossed(1.0)
    assert bounds.b == pytest.approx(1.0)


def test_what_has_to_be_passed_is_not_below_its_least() -> None:
    bounds = Boundaries(reach=1.0, b=0.001)
    assert bounds.crossed(0.0049)  # three times b would be passed
    assert bounds.b == 0.001
    assert bounds.crossed(0.0051)
    assert bounds.b == pytest.approx(0.003)


def test_decrease_halves_the_step_after_200_failures_down_to_the_least_step() -> None:
    bounds = Boundaries(reach=1.0, b=0.04, previous=0.02)
    steps = []
    for _ in range(5):
        for _ in range(199):
            assert not bounds.crossed(0.0)
        before = bounds.b
        assert not bounds.crossed(0.0)
        assert bounds.b <= before
        steps.append(bounds.b - bounds.previous)
    assert steps == pytest.approx([0.01, 0.005, 1 / 400, 1 / 400, 1 / 400])
    assert bounds.crossed(0.0226)
    bounds.advance()
    assert (bounds.previous, bounds.b) == (pytest.approx(0.0225), pytest.approx(0.025))


def test_failures_count_anew_after_a_success() -> None:
    bounds = Boundaries(reach=1.0)
    for _ in range(199):
        bounds.crossed(0.0)
    assert bounds.crossed(0.011)
    bounds.advance()
    bounds.crossed(0.0)
    assert bounds.b == pytest.approx(0.02)


def test_decrease_does_not_raise_a_boundary_nearer_than_the_least_step() -> None:
    bounds = Boundaries(reach=1.0, b=0.001)
    for _ in range(400):
        bounds.crossed(0.0)
    assert bounds.b == 0.001


def test_the_last_boundary_is_the_end_of_the_range() -> None:
    bounds = Boundaries(reach=0.3, b=0.9, previous=0.5)
    assert bounds.crossed(0.28)
    bounds.advance()
    assert (bounds.previous, bounds.b) == (0.9, 1.0)
    assert not bounds.crossed(0.299)
    assert bounds.crossed(0.3)
    bounds.advance()
    assert (bounds.previous, bounds.b) == (1.0, 1.0)


def test_increase_alone_never_decreases() -> None:
    bounds = Boundaries(reach=1.0, rules="increase")
    for _ in range(1000):
        bounds.crossed(0.0)
    assert bounds.b == 0.01
    assert bounds.crossed(0.031)
    assert bounds.b == pytest.approx(0.02)


def test_fixed_stays() -> None:
    bounds = Boundaries(reach=1.0, rules="fixed", b=0.2)
    for gain in [0.0] * 400 + [0.2, 1.0]:
        assert bounds.crossed(gain) == (gain > 0.0)
        bounds.advance()
    assert (bounds.previous, bounds.b) == (0.0, 0.2)


@settings(max_examples=60, deadline=None)
@given(
    reach=st.floats(0.01, 1),
    first=st.floats(1 / 400, 1),
    shares=st.lists(st.floats(-0.2, 1) | st.just(1.0), max_size=40),
    rules=st.sampled_from(["both", "increase", "fixed"]),
)
def test_what_holds_for_any_answers(reach, first, shares, rules) -> None:
    bounds = Boundaries(reach, rules, first)
    for share in shares:
        previous, gain = bounds.previous, share * reach
        if not bounds.crossed(gain):
            for _ in range(399):
                bounds.crossed(gain)
        else:
            assert bounds.goal.crossed(gain)  # also after it adapted
            bounds.advance()
        assert 0.0 <= previous <= bounds.previous <= bounds.b <= 1.0
        assert bounds.b == 1.0 or bounds.b - bounds.previous >= 1 / 400 - 1e-12
