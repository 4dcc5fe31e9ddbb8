"""PGD: the optimum of a linear model in one walk, and which way is up."""

import pytest
import torch

from iqattack.attacks import ATTACKS, is_white_box, labelled, load_attack
from iqattack.errors import InputError


def test_it_is_marked_as_no_black_box_attack() -> None:
    assert [name for name in ATTACKS if ATTACKS[name].white_box] == ["pgd"]
    assert is_white_box("pgd:steps=3")
    assert labelled("pgd:steps=3") == "pgd:steps=3 (white-box)"
    assert labelled("transfer:substitute=builtin") == "transfer:substitute=builtin"
    assert labelled("transfer:substitute=attacked") == "transfer:substitute=attacked (white-box)"
    assert not is_white_box("pgd:model=builtin")
    assert labelled("transfer", "builtin") == "transfer (white-box)"
    assert is_white_box("filter-search:substitute=mine.py:load", "mine.py:load")
    assert not is_white_box("transfer", "cnniqa:weights.pth")
    assert not is_white_box("filter-search", "builtin")
    assert not is_white_box("score-boundary:textures=gone/long/ago")
    assert "not a black-box attack" in ATTACKS["pgd"].summary


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_walk_ends_in_the_best_corner_of_a_linear_model(natural, make_task, play, sign) -> None:
    """Whether the raw score is to rise or to fall: the gradient's sign is not the gain's."""
    w = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    task = make_task(natural(8, 8), radius=4.0, queries=42, reach=1e9)
    corner = torch.where(sign * w > 0, task.upper, task.lower)
    attack = load_attack("pgd", lambda spec: w.expand_as)

    def gain(x):
        return float(sign * (w * (x - task.image)).sum())

    played = play(attack(task), task, gain)
    assert max(played.gains) == pytest.approx(gain(corner))


def test_the_peak_of_a_quadratic_inside_the_box_is_found(natural, make_task, play) -> None:
    task = make_task(natural(8, 8), radius=8.0, queries=200, reach=1e9)
    rng = torch.Generator().manual_seed(1)
    peak = torch.lerp(task.lower, task.upper, torch.rand(task.image.shape, generator=rng)).round()
    attack = load_attack("pgd", lambda spec: lambda x: 2.0 * (peak - x))
    start = float((task.image - peak).square().sum())
    played = play(attack(task), task, lambda x: start - float((x - peak).square().sum()))
    # Sign steps of half a grey level leave each value within one of the peak.
    assert max(played.gains) >= start - peak.numel()


def test_it_stops_at_the_end_of_the_range_and_restarts_elsewhere(natural, make_task, play) -> None:
    w = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    attack = load_attack("pgd:steps=4", lambda spec: w.expand_as)
    task = make_task(natural(8, 8), queries=50, reach=0.5)
    stopped = play(attack(task), task, lambda x: 0.6)
    assert stopped.ended
    assert len(stopped.gains) == 2
    walked = play(attack(make_task(natural(8, 8), queries=50)), task, lambda x: 0.0)
    starts = [walked.images[last] for last in (2, 6)]
    assert not torch.equal(*starts)  # the second walk began elsewhere


def test_a_score_that_is_flat_at_the_image_leaves_both_ways_open(make_task, play) -> None:
    """Clipped at the end of its range: no probe moves it, so neither direction is ruled out."""
    w = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(0))
    task = make_task(torch.full((3, 8, 8), 128.0), radius=4.0, queries=200, reach=1e9)
    most = float((w.abs() * 4.0).sum())
    attack = load_attack("pgd", lambda spec: w.expand_as)

    def gain(x):  # downwards, of a raw score that is well above its end
        raw = float((w * (x - task.image)).sum()) + 0.3 * most
        return -min(raw, 0.0)

    for sign in (1.0, -1.0):
        w *= sign
        played = play(attack(task), task, gain)
        assert max(played.gains[:2]) == 0.0
        assert max(played.gains) == pytest.approx(0.7 * most)


def test_gradients_that_were_not_given(natural, make_task, play) -> None:
    task = make_task(natural(8, 8))
    with pytest.raises(InputError, match="gradients of 'attacked': not loaded"):
        play(load_attack("pgd")(task), task, lambda x: 0.0)
