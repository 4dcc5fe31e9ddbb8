import numpy as np
import pytest
import torch

from iqattack.directions import BANK, bank, high_frequencies
from iqattack.perception import luma

HEIGHT, WIDTH = 30, 44


def generator():
    return torch.Generator().manual_seed(3)


@pytest.fixture
def image():
    """Slopes, an edge, colours and grain."""
    rows, columns = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    planes = torch.stack([40 + 3 * rows, 200 - 2 * columns, 60 + 80 * (columns > 20)])
    grain = 10.0 * torch.randn(HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    return (planes + grain).round().clamp(0, 255)


@pytest.fixture
def signs(image):
    return dict(bank(image, generator()))


def test_all_are_signs_of_the_images_size(signs) -> None:
    assert list(signs) == list(BANK)
    for name, field in signs.items():
        assert field.dtype == torch.int8, name
        assert field.shape[0] in (1, 3), name
        assert field.shape[1:] == (HEIGHT, WIDTH), name
        assert set(field.unique().tolist()) <= {-1, 0, 1}, name


def test_a_name_gives_the_same_direction_whatever_others_are_asked_for(image, signs) -> None:
    few = dict(bank(image, generator(), ["grain 1", "colour noise", "JPEG 30"]))
    assert list(few) == ["grain 1", "colour noise", "JPEG 30"]
    assert all(torch.equal(field, signs[name]) for name, field in few.items())


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("blur 0.6", "sharpen 0.6"),
        ("blur 3", "sharpen 3"),
        ("JPEG 30", "less JPEG 30"),
        ("less contrast", "more contrast"),
        ("less colour", "more colour"),
        ("darker", "brighter"),
        ("redder", "less red"),
        ("greener", "less green"),
        ("bluer", "less blue"),
    ],
)
def test_contraries(signs, one, other) -> None:
    assert torch.equal(signs[one], -signs[other])
    assert signs[one].any()


def test_what_they_do(image, signs) -> None:
    """In small steps: blur takes variance of differences away, contrast spreads luma, and so on."""

    def changed(name):
        return image + 2.0 * signs[name]

    def roughness(x):
        grey = luma(x)
        return float((grey[:, 1:] - grey[:, :-1]).abs().mean())

    def saturation(x):
        return float((x - luma(x)).abs().mean())

    assert roughness(changed("blur 1")) < roughness(image) < roughness(changed("sharpen 1"))
    spread = [float(luma(x).std()) for x in (changed("less contrast"), image)]
    assert spread[0] < spread[1] < float(luma(changed("more contrast")).std())
    assert (
        saturation(changed("less colour")) < saturation(image) < saturation(changed("more colour"))
    )
    hue = (changed("redder") - image).mean((1, 2))
    assert hue.tolist() == [2.0, -2.0, -2.0]
    assert signs["checkerboard 2"][0, :4, :4].tolist() == [
        [1, 1, -1, -1], [1, 1, -1, -1], [-1, -1, 1, 1], [-1, -1, 1, 1],
    ]  # fmt: skip
    assert signs["stripes across 1"].float().std(2).max() == 0.0  # rows of one sign
    neighbours = {
        name: np.corrcoef(signs[name][0, :, 1:].flatten(), signs[name][0, :, :-1].flatten())[0, 1]
        for name in ("noise", "grain 1", "grain 2.5")
    }
    assert abs(neighbours["noise"]) < 0.1 < neighbours["grain 1"] < neighbours["grain 2.5"]


def test_bands_leave_no_trace(image, signs, monkeypatch) -> None:
    """A large picture is worked on a few rows at a time."""
    detail = high_frequencies(image)
    monkeypatch.setattr("iqattack.perception.pixels.BAND", 4 * WIDTH)
    for name, field in bank(image, generator()):
        assert torch.equal(field, signs[name]), name
    assert torch.equal(high_frequencies(image), detail)


def test_an_8_bit_image_gives_the_same(image, signs) -> None:
    for name, field in bank(image.byte(), generator()):
        assert torch.equal(field, signs[name]), name
    assert torch.equal(high_frequencies(image.byte()), high_frequencies(image))
