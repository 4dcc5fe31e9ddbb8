"""Sample images: crops of photographs that come with scikit-image, in turn distorted."""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter
from skimage import data

from iqattack.errors import InputError
from iqattack.images import write_png

SIDE = 192
Photo = NDArray[np.uint8]

# Upper left corners of three crops of each.
PHOTOS: dict[str, tuple[Callable[[], Photo], tuple[tuple[int, int], ...]]] = {
    "astronaut": (data.astronaut, ((0, 140), (150, 30), (300, 300))),
    "coffee": (data.coffee, ((60, 100), (200, 250), (10, 380))),
    "chelsea": (data.chelsea, ((0, 40), (60, 130), (100, 250))),
    "rocket": (data.rocket, ((60, 220), (230, 240), (220, 430))),
}
DISTORTIONS: tuple[tuple[str, float], ...] = (
    ("clean", 0), ("blur", 1.0), ("jpeg", 25), ("noise", 8),
    ("blur", 2.5), ("jpeg", 8), ("noise", 20), ("clean", 0),
    ("jpeg", 50), ("noise", 4), ("clean", 0), ("blur", 0.6),
)  # fmt: skip


def write_samples(folder: Path) -> None:
    """Write 12 PNGs of 192×192 pixels, always the same; InputError when they cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be made ({error.strerror}); choose another --out"
        ) from None
    number = 0
    for name, (load, corners) in PHOTOS.items():
        photo = Image.fromarray(load())
        for top, left in corners:
            kind, strength = DISTORTIONS[number]
            number += 1
            crop = distort(photo.crop((left, top, left + SIDE, top + SIDE)), kind, strength, number)
            pixels = torch.from_numpy(np.array(crop)).permute(2, 0, 1)
            write_png(folder / f"{number:02}_{name}_{kind}.png", pixels)


def distort(image: Image.Image, kind: str, strength: float, seed: int) -> Image.Image:
    """Blur of that radius, JPEG of that quality, noise of that deviation, or nothing."""
    if kind == "blur":
        return image.filter(ImageFilter.GaussianBlur(strength))
    if kind == "jpeg":
        encoded = BytesIO()
        image.save(encoded, format="JPEG", quality=round(strength))
        return Image.open(encoded).convert("RGB")
    if kind == "noise":
        rng = np.random.default_rng(seed)
        noisy = np.asarray(image) + strength * rng.standard_normal((SIDE, SIDE, 3))
        return Image.fromarray(np.clip(np.rint(noisy), 0, 255).astype(np.uint8))
    return image
