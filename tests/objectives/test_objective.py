import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from iqattack.errors import InputError
from iqattack.objectives import OBJECTIVES, Rank, Target, parse_objective

scores = st.lists(st.floats(-20, 120), max_size=12)
objectives = st.sampled_from(sorted(OBJECTIVES)).map(parse_objective)


def directions(targets: list[Target]) -> list[str]:
    return [target.direction for target in targets]


@pytest.mark.parametrize(
    ("name", "lower_better", "end", "reach"),
    [("up", False, 10.0, 0.7), ("down", False, 0.0, 0.3), ("up", True, 0.0, 0.3)],
)
def test_one_way(name, lower_better, end, reach) -> None:
    (target,) = parse_objective(name).targets([3.0], (0.0, 10.0), lower_better)
    assert (target.direction, target.clean, target.end) == (name, 3.0, end)
    assert target.reach == pytest.approx(reach)
    assert target.gain(3.0) == 0.0
    assert target.gain(end) == target.reach
    backwards = 3.0 - math.copysign(1.0, end - 3.0)
    assert target.gain(backwards) == pytest.approx(-0.1)


def test_gain_of_a_batch_is_in_double_precision() -> None:
    (target,) = parse_objective("down").targets([50.0], (0.0, 100.0), lower_better=False)
    gain = target.gain(torch.tensor([50.0, 45.0, 60.0], dtype=torch.float32))
    assert gain.dtype == torch.float64
    assert gain.tolist() == pytest.approx([0.0, 0.05, -0.1])
    assert not gain[0].signbit()  # a table shows 0, not -0


@pytest.mark.parametrize("clean", [10.0, 11.5])
def test_at_or_beyond_the_end_there_is_no_reach(clean) -> None:
    (target,) = parse_objective("up").targets([clean], (0.0, 10.0), lower_better=False)
    assert target.direction == "up"
    assert target.reach == 0.0


def test_rank_pulls_the_good_down_and_the_bad_up() -> None:
    clean = [80.0, 10.0, 60.0, 30.0]
    targets = Rank().targets(clean, (0.0, 100.0), lower_better=False)
    assert directions(targets) == ["down", "up", "down", "up"]
    assert [target.end for target in targets] == [0.0, 100.0, 0.0, 100.0]
    targets = Rank().targets(clean, (0.0, 100.0), lower_better=True)
    assert directions(targets) == ["up", "down", "up", "down"]
    assert [target.end for target in targets] == [0.0, 100.0, 0.0, 100.0]


@pytest.mark.parametrize(
    ("clean", "expected"),
    [
        ([30.0], ["up"]),
        ([70.0], ["down"]),
        ([50.0], ["down"]),
        ([70.0, 70.0, 70.0], ["down", "down", "down"]),
        ([10.0, 30.0, 90.0], ["up", "up", "down"]),
        ([10.0, 70.0, 90.0], ["up", "down", "down"]),
        ([], []),
    ],
)
def test_on_the_median_the_farther_end_wins(clean, expected) -> None:
    assert directions(Rank().targets(clean, (0.0, 100.0), lower_better=False)) == expected


@pytest.mark.parametrize("lower_better", [False, True])
def test_farther_leads_away_from_the_nearer_end(lower_better) -> None:
    """The bi-directional loss of Ran et al.: the middle of the range parts the two ways."""
    clean = [0.0, 49.0, 51.0, 100.0, 120.0]
    targets = parse_objective("farther").targets(clean, (0.0, 100.0), lower_better)
    assert [target.end for target in targets] == [100.0, 100.0, 0.0, 0.0, 0.0]
    assert [target.reach for target in targets] == pytest.approx([1.0, 0.51, 0.51, 1.0, 1.2])
    (middle,) = parse_objective("farther").targets([50.0], (0.0, 100.0), lower_better)
    assert middle.direction == "down"


@given(objective=objectives, clean=scores)
def test_mirrored_scores_of_a_lower_better_model_change_nothing(objective, clean) -> None:
    targets = objective.targets(clean, (0.0, 100.0), lower_better=False)
    mirrored = objective.targets([-y0 for y0 in clean], (-100.0, 0.0), lower_better=True)
    assert directions(targets) == directions(mirrored)
    for one, other in zip(targets, mirrored, strict=True):
        assert one.reach == other.reach >= 0.0
        assert one.end == -other.end
        assert one.gain(42.0) == other.gain(-42.0)


@given(objective=objectives, clean=scores, data=st.data(), lower_better=st.booleans())
def test_the_order_of_the_set_does_not_matter(objective, clean, data, lower_better) -> None:
    order = data.draw(st.permutations(range(len(clean))))
    targets = objective.targets(clean, (0.0, 100.0), lower_better)
    permuted = objective.targets([clean[i] for i in order], (0.0, 100.0), lower_better)
    assert permuted == [targets[i] for i in order]


@given(st.lists(st.floats(0, 100), min_size=2, unique=True))
def test_rank_splits_a_set_without_ties_in_half(clean) -> None:
    found = directions(Rank().targets(clean, (0.0, 100.0), lower_better=False))
    assert abs(found.count("up") - found.count("down")) <= 2 - len(clean) % 2


@pytest.mark.parametrize("name", ["rank", "up", "down", "farther"])
def test_names_read_back(name) -> None:
    assert parse_objective(name).name == name


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InputError, match="unknown objective 'rang': did you mean 'rank'"):
        parse_objective("rang")


@pytest.mark.parametrize("score_range", [(1.0, 1.0), (5.0, 1.0), (0.0, math.inf), (math.nan, 1.0)])
def test_an_impossible_range_is_refused(score_range) -> None:
    with pytest.raises(InputError, match="expected two finite numbers, lower first"):
        parse_objective("up").targets([0.5], score_range, lower_better=False)
