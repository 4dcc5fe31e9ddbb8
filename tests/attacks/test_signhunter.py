import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.attacks.score_based.signhunter import blocks, signhunter


def test_blocks_are_all_then_halves_then_quarters() -> None:
    assert list(blocks(4)) == [(0, 4), (0, 2), (2, 4), (0, 1), (1, 2), (2, 3), (3, 4)]
    assert list(blocks(1)) == [(0, 1)]


@given(n=st.integers(1, 300))
def test_every_level_covers_all_signs_once(n) -> None:
    found, at = list(blocks(n)), 0
    while at < len(found):
        end = 0
        while end < n:
            assert found[at][0] == end
            end, at = found[at][1], at + 1
        assert end == n
    assert found[-n:] == [(i, i + 1) for i in range(n)]
    assert len(found) < 2 ** ((n - 1).bit_length() + 1)


@settings(max_examples=25, deadline=None)
@given(height=st.integers(1, 6), width=st.integers(1, 6), seed=st.integers(0, 999))
def test_all_signs_of_a_linear_model_are_found_in_the_promised_queries(
    make_task, play, linear, height, width, seed
) -> None:
    """Theorem 2: 2^(⌈log2 n⌉ + 1)."""
    image = torch.full((3, height, width), 128.0)
    w = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    promised = 2 ** ((image.numel() - 1).bit_length() + 1)
    task = make_task(image, radius=2.0, queries=promised, reach=1e9)
    gain = linear(image, w)
    best = max(play(signhunter(task), task, gain).gains)
    assert best == pytest.approx(gain(torch.where(w > 0, task.upper, task.lower)))


def test_a_block_is_a_band_of_rows_in_all_channels(make_task, play) -> None:
    image = torch.full((3, 8, 5), 128.0)
    task = make_task(image, queries=5, reach=1e9)
    images = play(signhunter(task), task, lambda x: -1.0).images
    assert torch.equal(images[0], task.upper)
    assert torch.equal(images[1], task.lower)
    for image, rows in ((images[2], slice(0, 4)), (images[3], slice(4, 8))):
        expected = task.upper.clone()
        expected[:, rows] = task.lower[:, rows]
        assert torch.equal(image, expected)


def test_it_ends_once_a_pass_flips_nothing(make_task, play) -> None:
    task = make_task(torch.full((3, 2, 2), 128.0), queries=1000, reach=1e9)
    played = play(signhunter(task), task, lambda x: float(x.sum()))
    assert played.ended
    assert len(played.gains) == 1 + len(list(blocks(12)))
