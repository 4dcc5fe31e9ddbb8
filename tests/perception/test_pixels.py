import pytest
import torch

from iqattack.perception import grey_array, luma


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
