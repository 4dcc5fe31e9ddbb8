import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.engine.account import to_8_bits


@settings(max_examples=50, deadline=None)
@given(
    n=st.integers(1, 3),
    height=st.integers(1, 40),
    width=st.integers(1, 700),
    seed=st.integers(0, 99),
)
def test_encoding_is_rounding_half_to_even_and_clipping(n, height, width, seed) -> None:
    rng = torch.Generator().manual_seed(seed)
    halves = torch.randint(-100, 700, (n, 3, height, width), generator=rng) / 2
    expected = halves.round().clamp(0, 255).to(torch.uint8)
    assert torch.equal(to_8_bits(halves), expected)
    other_strides = halves.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2)
    assert torch.equal(to_8_bits(other_strides), expected)


def test_encoding_of_what_is_no_grey_level() -> None:
    values = torch.tensor([float("nan"), float("inf"), -float("inf"), 1e30, -1e30, 255.5, -0.5])
    assert to_8_bits(values.view(1, 1, 1, 7)).flatten().tolist() == [0, 255, 0, 255, 0, 255, 0]
