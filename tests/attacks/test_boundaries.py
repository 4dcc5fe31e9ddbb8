import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.attacks import Answer, load_attack
from iqattack.attacks.shared.adaptive_boundaries import STUCK, Boundaries, nearest
from iqattack.objectives import ScoreBoundary


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
    assert (bounds.previous, bounds.b) == pytest.approx((0.02, 0.04))
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
    assert (bounds.previous, bounds.b) == pytest.approx((0.0225, 0.025))


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


# -- decision-based attacks on boundaries that adapt ----------------------------------------------


DECISION_BASED = ["surfree", "hop-skip-jump", "geoda", "boundary"]


@pytest.mark.parametrize("name", DECISION_BASED)
def test_boundaries_that_adapt_lead_on(natural, make_task, play, name) -> None:
    """One boundary is not left behind by much; ones that adapt go on to what the box has."""
    image = natural(12, 20)
    w = torch.randn(image.shape, generator=torch.Generator().manual_seed(2))
    task = make_task(image, queries=1500)
    ends = torch.where(w > 0, task.upper, task.lower)
    most = float((w * (ends - image)).sum())

    def gain(x):
        return float((w * (x - image)).sum()) / most

    def gains(spec):
        return play(load_attack(spec)(make_task(image, queries=1500)), task, gain).gains

    fixed, adaptive = gains(f"{name}:boundary=0.02"), gains(f"{name}:boundary=0.02,adapt=100")
    assert max(adaptive) > 1.2 * max(fixed) > 0.0


@pytest.mark.parametrize("name", DECISION_BASED)
def test_an_objectives_own_boundary_does_not_adapt(natural, make_task, play, name) -> None:
    goal = ScoreBoundary(1.0, 0.1)
    gain = lambda x: float((x - 128.0).mean()) / 8.0  # noqa: E731
    image = torch.full((3, 12, 20), 128.0)
    own = [
        play(load_attack(spec)(task), task, gain).gains
        for spec in (name, f"{name}:adapt=20,boundary=0.5")
        for task in [make_task(image, boundary=goal, queries=400)]
    ]
    assert own[0] == own[1]
    assert len(own[0]) > 20


def test_the_nearest_image_that_crosses_is_handed_on(make_task, play) -> None:
    image = torch.full((3, 4, 4), 100.0)
    goal, start = ScoreBoundary(1.0, 0.5), image + 8.0

    def search():
        for change in (6.0, 2.0, 7.0, 4.0, 1.0):
            yield (image + change)[None]

    played = play(
        nearest(image, goal, start, search(), 4), make_task(image), lambda x: float(x.mean() > 102)
    )
    assert torch.equal(played.result, image + 4.0)  # 2 does not cross, 1 is not paid for
    assert len(played.gains) == 4
    ended = play(nearest(image, goal, start, search(), 9), make_task(image), lambda x: 0.0)
    assert torch.equal(ended.result, start)


def answers(search, image, lefts):
    """How many candidates a search yields where its answers leave so many queries."""
    next(search)
    for asked, left in enumerate(lefts, 1):
        try:
            search.send(Answer(image[None].byte(), torch.zeros(1, dtype=torch.float64), left))
        except StopIteration:
            return asked
    return None


def test_answers_from_memory_take_nothing_of_what_a_boundary_gets() -> None:
    image = torch.full((3, 4, 4), 100.0)

    def search():
        while True:
            yield image[None]

    def asked(queries, lefts):
        goal = ScoreBoundary(1.0, 0.5)
        return answers(nearest(image, goal, image, search(), queries), image, lefts)

    assert asked(3, [9, 8, 7, 6]) == 3
    assert asked(3, [9, 9, 8, 8, 8, 7, 6]) == 6
    assert asked(3, [9] * 1000) == 1 + STUCK  # the first one counts in any case
