import pytest
import torch

from iqattack.perception import bands, grey_array, luma
from iqattack.perception.pixels import BAND


@pytest.mark.parametrize(
    ("colour", "expected"),
    [((255, 0, 0), 76.245), ((0, 255, 0), 149.685), ((0, 0, 255), 29.07), ((90, 90, 90), 90.0)],
)
def test_luma_of_bt601(colour: tuple[int, int, int], expected: float) -> None:
    image = torch.tensor(colour, dtype=torch.uint8)[:, None, None].expand(3, 2, 4)
    assert luma(image).shape == (2, 4)
    assert luma(image)[1, 3].item() == pytest.approx(expected, abs=1e-4)


def test_luma_of_a_batch_is_that_of_each_picture() -> None:
    images = torch.randint(0, 256, (5, 3, 6, 7), dtype=torch.uint8)
    assert torch.equal(luma(images)[3], torch.from_numpy(grey_array(images[3])))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_luma_as_an_array_is_the_same_to_the_last_bit(dtype) -> None:
    images = torch.randint(0, 256, (3, 60, 70), dtype=torch.uint8).to(dtype)
    assert torch.equal(luma(images), torch.from_numpy(grey_array(images)))


@pytest.mark.parametrize(
    ("first", "height", "width"), [(0, 1, 1), (7, 3000, 250), (0, 3, BAND + 1)]
)
def test_bands_cover_all_rows_once(first: int, height: int, width: int) -> None:
    found = list(bands(slice(first, first + height), width))
    assert [row for band in found for row in range(band.start, band.stop)] == list(
        range(first, first + height)
    )
    assert all(
        (band.stop - band.start) * width <= BAND or band.stop - band.start == 1 for band in found
    )
