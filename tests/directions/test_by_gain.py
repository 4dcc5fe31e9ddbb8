import pytest
from hypothesis import given
from hypothesis import strategies as st

from iqattack.directions import ByGain


def test_shares_go_by_the_square_of_what_a_query_gains() -> None:
    """Two options that gain 3 and 1 a query, nine to one but for two queries of prior each."""
    choice = ByGain(["good", "bad"])
    for _ in range(2000):
        choice.learn(0, 3.0)
        choice.learn(1, 1.0)
    # 1 / (1 - 0.99) = 100 queries count, 50 of each; the prior is two of the mean, 2.
    good, bad = (50 * 3 + 2 * 2) / 52, (50 * 1 + 2 * 2) / 52
    assert choice.shares()[0] == pytest.approx(good**2 / (good**2 + bad**2), abs=2e-3)


def test_options_are_drawn_by_their_shares() -> None:
    choice = ByGain(range(3), [1.0, 2.0, 3.0])
    drawn = [choice.draw((n + 0.5) / 1400) for n in range(1400)]
    assert [drawn.count(k) for k in range(3)] == [100, 400, 900]


def test_many_small_gains_are_worth_less_than_few_large_ones() -> None:
    choice = ByGain(["often", "seldom"])
    for n in range(60):
        choice.learn(0, 0.1)
        choice.learn(1, 1.0 if n % 4 == 0 else -5.0)
    assert choice.shares()[1] > choice.shares()[0]


def test_what_gained_long_ago_is_forgotten() -> None:
    choice = ByGain(["then", "now"])
    for _ in range(50):
        choice.learn(0, 1.0)
        choice.learn(1, 0.0)
    before = choice.shares()[1]
    for _ in range(400):
        choice.learn(0, 0.0)
        choice.learn(1, 0.1)
    assert before < 0.1
    assert choice.shares()[1] > 0.9


def test_faith_decides_until_something_gained_and_less_and_less_then() -> None:
    choice = ByGain(range(3), [1.0, 1.0, 0.5])
    assert choice.shares() == pytest.approx([4 / 9, 4 / 9, 1 / 9])
    choice.learn(0, -1.0)
    assert choice.shares()[1] == max(choice.shares())
    for _ in range(40):
        for index in range(3):
            choice.learn(index, 1.0)
    assert choice.shares() == pytest.approx([1 / 3] * 3, abs=0.06)


@given(
    gains=st.lists(st.tuples(st.integers(0, 3), st.floats(-10, 10)), max_size=60),
    number=st.floats(0, 1, exclude_max=True),
)
def test_shares_sum_to_one_and_none_is_given_up(gains, number) -> None:
    choice = ByGain("abcd")
    for index, gained in gains:
        choice.learn(index, gained)
    shares = choice.shares()
    assert sum(shares) == pytest.approx(1.0)
    assert all(share > 0.0 for share in shares)
    assert 0 <= choice.draw(number) < 4


def test_one_option_is_always_drawn() -> None:
    choice = ByGain(["only"])
    assert [choice.draw(number) for number in (0.0, 0.5, 0.999999)] == [0] * 3
    choice.learn(0, 0.0)
    assert choice.draw(0.999999) == 0
