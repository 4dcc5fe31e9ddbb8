"""Makes the bundled reference textures: 256×256 crops of photographs from scikit-image.

    python benchmarks/make_textures.py

All three are CC0. Of each, the crop with the strongest high frequencies is kept, because attacks
use high frequencies.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import skimage.data
from PIL import Image
from scipy.ndimage import gaussian_filter, uniform_filter

SIDE = 256
STEP = 16
FOLDER = Path(__file__).parent.parent / "src/iqattack/directions/textures"
NAMES = ("brick", "grass", "gravel")


def sharpest_crop(image: np.ndarray) -> np.ndarray:
    """The crop of SIDE×SIDE with the largest high-frequency energy, on a grid of STEP."""
    grey = image.astype(float) if image.ndim == 2 else image.astype(float).mean(axis=2)
    energy = uniform_filter((grey - gaussian_filter(grey, 2.0)) ** 2, SIDE, mode="nearest")
    half = SIDE // 2
    inside = energy[half : grey.shape[0] - half + 1 : STEP, half : grey.shape[1] - half + 1 : STEP]
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return image[row * STEP : row * STEP + SIDE, column * STEP : column * STEP + SIDE]


def main() -> None:
    """Write the crops."""
    for name in NAMES:
        crop = sharpest_crop(getattr(skimage.data, name)())
        path = FOLDER / f"{name}.png"
        Image.fromarray(crop).save(path, optimize=True)
        print(f"{path.name}: {crop.shape}, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
