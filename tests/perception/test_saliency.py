import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from iqattack.perception import saliency, salient_region


def disc(height: int, width: int, row: int, column: int, radius: int) -> Tensor:
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


@pytest.mark.parametrize(
    ("ground", "figure"),
    [((60.0, 60.0, 60.0), (210.0, 210.0, 210.0)), ((60.0, 120.0, 60.0), (160.0, 60.0, 60.0))],
    ids=["bright", "red on green"],
)
def test_a_disc_on_a_flat_ground_is_salient(ground, figure) -> None:
    inside = disc(192, 256, 60, 180, 16)
    image = torch.where(
        inside, torch.tensor(figure)[:, None, None], torch.tensor(ground)[:, None, None]
    )
    values = saliency(image)
    row, column = divmod(int(values.argmax()), 256)
    assert disc(192, 256, 60, 180, 20)[row, column]
    assert values[inside].mean() > 5 * values[~inside].mean()
    assert salient_region(image)[inside].float().mean() > 0.9
    assert salient_region(image)[:, :100].float().mean() < 0.01


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32), height=st.integers(3, 90), width=st.integers(3, 90))
def test_range_and_flip_symmetry(seed, height, width) -> None:
    rng = torch.Generator().manual_seed(seed)
    image = torch.randint(0, 256, (3, height, width), generator=rng).float()
    values = saliency(image)
    assert values.shape == (height, width)
    assert values.dtype == torch.float32
    assert values.min() == 0.0
    assert values.max() == 1.0
    for dims in ((-1,), (-2,)):
        mirrored = saliency(image.flip(dims)).flip(dims)
        torch.testing.assert_close(mirrored, values, atol=1e-6, rtol=0)


def test_a_strip_that_shrinks_to_one_pixel_across() -> None:
    """Where torch's antialiased interpolation goes wrong."""
    strip = torch.full((3, 320, 3), 60.0)
    strip[:, 100:120] = 200.0
    values = saliency(strip)
    assert 95 <= int(values.amax(dim=1).argmax()) < 125
    assert torch.equal(saliency(strip.mT), values.mT)


@pytest.mark.parametrize("grey", [0.0, 77.0, 255.0])
@pytest.mark.parametrize("size", [(70, 33), (1, 1), (300, 2)])
def test_nothing_of_a_uniform_picture_is_salient(grey, size) -> None:
    image = torch.full((3, *size), grey)
    assert torch.equal(saliency(image), torch.zeros(size))
    assert not salient_region(image).any()
