"""The sample set: crops of photographs that ship with scikit-image, pristine and distorted."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage import data

from iqattack.errors import InputError
from iqattack.images import make_folder, write_png
from iqattack.samples.distortions import Picture, distort
from iqattack.samples.labels import pseudo_mos

SIDE = 256
MOS = "mos.csv"

# Photograph, upper left corner (row, column), and the distortions with their levels.
SAMPLES: tuple[tuple[str, tuple[int, int], tuple[tuple[str, float], ...]], ...] = (
    ("astronaut", (0, 140), ()),
    ("astronaut", (150, 30), (("gaussian_blur", 2),)),
    ("astronaut", (256, 256), (("jpeg", 4),)),
    ("astronaut", (30, 256), (("white_noise", 3),)),
    ("astronaut", (256, 60), (("over_exposure", 3),)),
    ("coffee", (60, 100), (("white_noise", 5),)),
    ("coffee", (144, 250), ()),
    ("coffee", (10, 344), (("jpeg2000", 3),)),
    ("coffee", (144, 20), (("motion_blur", 4),)),
    ("coffee", (100, 300), (("contrast", 3),)),
    ("chelsea", (0, 40), (("jpeg", 2),)),
    ("chelsea", (44, 130), (("down_up", 4),)),
    ("chelsea", (44, 195), ()),
    ("chelsea", (10, 195), (("colour_noise", 4),)),
    ("rocket", (60, 220), (("white_noise", 1),)),
    ("rocket", (171, 240), (("gaussian_blur", 5),)),
    ("rocket", (171, 384), (("jpeg", 3), ("white_noise", 2))),
    ("rocket", (171, 60), (("colour_quantisation", 5),)),
    ("motorcycle", (40, 60), (("under_exposure", 3),)),
    ("motorcycle", (150, 250), ()),
    ("motorcycle", (244, 400), (("jpeg2000", 5),)),
    ("motorcycle", (244, 120), (("jpeg", 5),)),
    ("motorcycle", (60, 480), (("gaussian_blur", 1),)),
    ("motorcycle", (170, 485), (("motion_blur", 2), ("jpeg", 1))),
)


def photographs() -> dict[str, Picture]:
    """Colour photographs that ship with scikit-image, by name: (H, W, 3) uint8 RGB."""
    names = ("astronaut", "coffee", "chelsea", "rocket")
    photos: dict[str, Picture] = {name: getattr(data, name)() for name in names}
    photos["motorcycle"] = data.stereo_motorcycle()[0]  # type: ignore[no-untyped-call]
    return photos


def sample_set() -> dict[str, tuple[Picture, float]]:
    """The sample set, always the same, by file name: picture (256, 256, 3) uint8 RGB and pseudo-MOS
    0..100.
    """
    photos = photographs()
    made = {}
    with on_any_processor():
        for number, (photo, (top, left), steps) in enumerate(SAMPLES, start=1):
            crop = np.ascontiguousarray(photos[photo][top : top + SIDE, left : left + SIDE])
            picture = distort(crop, steps, np.random.default_rng(number))
            what = "_".join(f"{kind}{level}" for kind, level in steps) or "clean"
            made[f"{number:02}_{photo}_{what}.png"] = (picture, pseudo_mos(crop, picture))
    return made


@contextmanager
def on_any_processor() -> Iterator[None]:
    """Disable IPP in OpenCV, whose filters round differently on different processors."""
    used = cv2.ipp.useIPP()
    cv2.ipp.setUseIPP(False)
    try:
        yield
    finally:
        cv2.ipp.setUseIPP(used)


def write_samples(folder: Path) -> list[str]:
    """Write 24 PNGs of 256×256 pixels and `mos.csv` into a folder; return the PNGs' names.

    Always the same for given versions of NumPy, Pillow, OpenCV and scikit-image. Files of these
    names are replaced. Raises InputError when they cannot be written.

    >>> from pathlib import Path
    >>> from iqattack.samples import write_samples
    >>> names = write_samples(Path("pictures"))
    >>> len(names), names[0]
    (24, '01_astronaut_clean.png')
    """
    make_folder(folder)
    table = StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["image", "mos"])
    samples = sample_set()
    for name, (picture, mos) in samples.items():
        write_png(folder / name, torch.from_numpy(picture).permute(2, 0, 1))
        writer.writerow([name, f"{mos:.1f}"])
    try:
        (folder / MOS).write_text(table.getvalue(), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder / MOS}: cannot be written ({error.strerror})") from None
    return list(samples)
