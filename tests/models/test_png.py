"""PNG files for services and commands, read by Pillow and OpenCV."""

from io import BytesIO

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from iqattack.models.png import compressed, stored

SIDES = st.integers(1, 70)


@pytest.mark.parametrize("write", [compressed, stored])
@given(channels=st.sampled_from([1, 3]), height=SIDES, width=SIDES, seed=st.integers(0, 99))
def test_others_read_the_same_pixels(write, channels, height, width, seed):
    rng = torch.Generator().manual_seed(seed)
    picture = torch.randint(256, (channels, height, width), generator=rng).byte()
    png = write(picture)
    expected = picture.permute(1, 2, 0).numpy()
    with Image.open(BytesIO(png)) as image:
        image.verify()  # checksums
    with Image.open(BytesIO(png)) as image:
        assert image.mode == ("L" if channels == 1 else "RGB")
        assert np.array_equal(np.asarray(image).reshape(expected.shape), expected)
    found = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(found.reshape(expected.shape)[..., ::-1], expected)


def test_a_view_of_another_layout():
    picture = torch.randint(256, (20, 30, 3)).byte().permute(2, 0, 1).flip(2)
    with Image.open(BytesIO(stored(picture))) as image:
        assert np.array_equal(np.asarray(image), picture.permute(1, 2, 0).numpy())


def test_a_large_picture_takes_several_blocks():  # of 65,535 bytes each
    picture = torch.zeros(3, 300, 400, dtype=torch.uint8)
    assert len(stored(picture)) > picture.numel()
    with Image.open(BytesIO(stored(picture))) as image:
        assert image.size == (400, 300)
        assert image.getextrema() == ((0, 0),) * 3
