import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.attacks import load_attack
from iqattack.attacks.score_based.parsimonious import batches, parsimonious
from iqattack.errors import InputError


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 20), width=st.integers(1, 20), k=st.integers(1, 8))
def test_blocks_tile_the_image(make_task, height, width, k) -> None:
    task = make_task(torch.zeros(3, height, width))
    covered = torch.zeros(3, height, width)
    groups = list(batches(task, k, 7))
    for block in (block for group in groups for block in group):
        covered[block] += 1.0
    assert (covered == 1.0).all()
    assert all(len(group) == 7 for group in groups[:-1])


def sides(played, first):
    """Side of what differs between each candidate and the first."""
    for image in played.images[1:]:
        _, rows, columns = (image != first).nonzero(as_tuple=True)
        yield int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1


def test_sides_are_halved_down_to_a_pixel(make_task, play) -> None:
    """Nothing gains: every block is asked about once, from the lower end of the box."""
    task = make_task(torch.full((3, 8, 8), 128.0), queries=2000, reach=1e9)
    played = play(parsimonious(task, k=8), task, lambda x: -1.0 if (x > 128).any() else 0.0)
    assert played.ended
    assert torch.equal(played.images[0], task.lower)
    expected = [(k, k) for k in (8, 4, 2, 1) for _ in range(3 * (8 // k) ** 2)]
    assert list(sides(played, task.lower)) == expected


def test_the_block_that_gains_most_is_inserted_first(make_task, play) -> None:
    """F is additive but for one pair, so that the second best is worth nothing after the best."""
    value = {(0, 0): 5.0, (0, 1): 4.0, (1, 0): 3.0, (1, 1): -1.0}
    image = torch.full((3, 2, 2), 128.0)
    task = make_task(image, queries=100, reach=1e9)

    def gain(x):
        inside = {place for place in value if x[0, place[0], place[1]] > 128}
        return sum(value[p] for p in inside) - 6.0 * ({(0, 0), (0, 1)} <= inside)

    played = play(parsimonious(task, k=1), task, gain)
    assert played.ended
    best = played.images[played.gains.index(max(played.gains))]
    assert [bool(best[0, r, c] > 128) for r, c in value] == [True, False, True, False]


def test_what_was_inserted_can_be_deleted(make_task, play) -> None:
    """The whole channel gains at first; single pixels of it are better off without."""
    image = torch.full((3, 2, 2), 128.0)
    w = torch.tensor([[3.0, 3.0], [-1.0, -2.0]]).expand(3, 2, 2)
    task = make_task(image, queries=200, reach=1e9)
    played = play(parsimonious(task, k=2), task, lambda x: float((w * (x - image)).sum()))
    best = played.images[played.gains.index(max(played.gains))]
    assert torch.equal(best, torch.where(w > 0, task.upper, task.lower))


def test_blocks_that_would_not_nest_are_refused() -> None:
    with pytest.raises(InputError, match="option k=12: expected a power of two"):
        load_attack("parsimonious:k=12")
