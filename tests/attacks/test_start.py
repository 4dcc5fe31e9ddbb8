"""Towards the image: in 8 bits and in floats."""

import pytest
import torch

from iqattack.attacks.shared.start import towards_image
from iqattack.objectives import ScoreBoundary


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_an_8_bit_point_is_the_rounded_one(natural, make_task, play, monkeypatch, norm) -> None:
    monkeypatch.setattr("iqattack.perception.pixels.BAND", 3 * 30)
    image = natural(20, 30)
    start = (
        image + 8 * torch.randn(image.shape, generator=torch.Generator().manual_seed(0))
    ).byte()
    goal = ScoreBoundary(reach=1.0, fraction=0.4)
    length = float((start - image).norm())

    def found(x_b):
        task = make_task(image, radius=255.0)
        search = towards_image(task, x_b, goal, 8, norm)
        return play(search, task, lambda x: float((x - image).norm()) / length)

    in_floats, in_8_bits = found(start.float()), found(start)
    assert in_8_bits.result.dtype == torch.uint8
    assert in_8_bits.gains == in_floats.gains
    assert torch.equal(in_8_bits.result.float(), in_floats.result.round())
    assert in_8_bits.gains[-1] == pytest.approx(0.4, abs=0.05)
