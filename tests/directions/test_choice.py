import pytest
import torch

from iqattack.directions import Choice


def test_rates_converge_to_those_of_success() -> None:
    """Two options that work at 0.8 and 0.2 are drawn four to one."""
    choice = Choice(["good", "bad"])
    rng = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(4000):
        index = choice.draw(float(torch.rand((), generator=rng)))
        drawn.append(index)
        rate = 0.8 if choice.options[index] == "good" else 0.2
        choice.learn(index, float(torch.rand((), generator=rng)) < rate)
    assert drawn[2000:].count(0) / 2000 == pytest.approx(0.8, abs=0.04)


def test_no_option_is_given_up() -> None:
    choice = Choice(["never", "always"])
    for _ in range(20):
        choice.learn(0, False)
        choice.learn(1, True)
    rng = torch.Generator().manual_seed(0)
    share = [choice.draw(float(torch.rand((), generator=rng))) for _ in range(4000)].count(0) / 4000
    # Laplace: (0 + 1)/(20 + 2) and (20 + 1)/(20 + 2)
    assert share == pytest.approx(1 / 22, abs=0.012)


def test_untried_options_are_equally_likely() -> None:
    choice = Choice(range(4))
    rng = torch.Generator().manual_seed(0)
    drawn = [choice.draw(float(torch.rand((), generator=rng))) for _ in range(4000)]
    assert [drawn.count(n) / 4000 for n in range(4)] == pytest.approx([0.25] * 4, abs=0.03)


def test_an_untried_option_counts_as_working_half_the_time() -> None:
    choice = Choice(["half", "untried"])
    for n in range(20):
        choice.learn(0, n % 2 == 0)
    rng = torch.Generator().manual_seed(0)
    assert [choice.draw(float(torch.rand((), generator=rng))) for _ in range(4000)].count(
        0
    ) / 4000 == pytest.approx(0.5, abs=0.03)


def test_one_option_is_always_drawn() -> None:
    choice = Choice(["only"])
    assert [choice.draw(number) for number in (0.0, 0.5, 0.999999)] == [0] * 3
    choice.learn(0, False)
    assert choice.draw(0.0) == 0
