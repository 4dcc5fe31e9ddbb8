import cv2
import pytest

from iqattack.samples.photos import photographs


@pytest.fixture
def stand_ins():
    """In the place of `photographs`: those of scikit-image, of the size of Kodak's, by number."""
    photos = list(photographs().values())

    def those(numbers):
        return {n: cv2.resize(photos[n % len(photos)], (768, 512)) for n in numbers}

    return those
