"""A function of one Pillow picture for iqattack; with --input path, of the path of a PNG file.

iqattack attack PHOTOS --model FILE.py:load --input pil --out runs/first
"""

from PIL import Image, ImageStat


class Quality:
    """Put your model here."""

    # Needed by iqattack: the lowest and highest score, and whether a low one means good quality.
    score_range = (0.0, 128.0)
    lower_better = False

    def __call__(self, picture: Image.Image) -> float:
        """The score of an 8-bit RGB picture."""
        return ImageStat.Stat(picture.convert("L")).stddev[0]


def load():
    """Called once, and returns the model."""
    return Quality()
