import torch

from iqattack.perception import canny


def test_a_bright_square_has_its_outline() -> None:
    image = torch.zeros(3, 40, 40)
    image[:, 10:30, 10:30] = 200.0
    edges = canny(image)
    assert edges.dtype == torch.bool
    assert edges[9:11, 20].any()
    assert edges[20, 29:31].any()
    assert not edges[15:25, 15:25].any()
    assert not edges[:6].any()


def test_thresholds_are_on_the_l1_norm_of_the_sobel_gradient() -> None:
    """A vertical step of h has a Sobel gradient of 4h: 150 lies between steps of 37 and 38."""
    for height, seen in ((37.0, False), (38.0, True)):
        image = torch.zeros(3, 20, 20)
        image[:, :, 10:] = height
        assert canny(image).any().item() == seen
