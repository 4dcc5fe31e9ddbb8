"""The files of one image: a thumbnail, and a script that holds its pixels and what was scored.

Pixels are data in a script because a page that opens from disk may not read files: a canvas that
was painted from one cannot be read again, so nothing could be computed from it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from iqattack.errors import InputError
from iqattack.images import read_image
from iqattack.perception import JND_MODELS
from iqattack.runs import Result, Run
from iqattack.runs.numbers import without_folders
from iqattack.runs.results import JND_MODEL, JND_SCALE

THUMB = 320, 240  # pixels: twice what a card shows
THUMBS, PIXELS = "thumbs", "images"


def write_pictures(
    run: Run, result: Result, scored: dict[str, Any] | None, number: int, folder: Path
) -> dict[str, Any]:
    """Write the files of an image: NUMBER.jpg in folder/thumbs, NUMBER.js in folder/images.

    Returns `thumb` and `pixels`, their paths in the folder, None for what there is not, and
    `missing`, which says why both pictures cannot be compared, None where they can.
    """
    name = f"{number:06}"
    data: dict[str, Any] = {"original": None, "attacked": None, "limit": None, "scored": scored}
    thumb = missing = None
    try:
        before, after = _pair(run, result)
    except InputError as error:
        missing = without_folders(str(error))
    else:
        threshold = JND_SCALE * JND_MODELS[JND_MODEL](before)
        data["original"] = _base64(_png(_array(before)[..., ::-1]))  # BGR
        data["attacked"] = _base64((run.images / result.png_name).read_bytes())  # what was scored
        # A whole number of grey levels is over the threshold just when it is over its floor.
        data["limit"] = _base64(_png(threshold.floor().clamp(max=255.0).byte().numpy()))
        thumb = f"{THUMBS}/{name}.jpg"
        small = Image.fromarray(_array(after))
        small.thumbnail(THUMB, Image.Resampling.BICUBIC, reducing_gap=2.0)
        small.save(folder / thumb, quality=80)
    pixels = f"{PIXELS}/{name}.js"
    script = f"iqattack.picture({number}, {json.dumps(data)});\n"
    (folder / pixels).write_text(script, encoding="ascii")
    return {"thumb": thumb, "pixels": pixels, "missing": missing}


def _pair(run: Run, result: Result) -> tuple[Tensor, Tensor]:
    """Clean and attacked pixels, each (3, H, W) uint8; InputError where they cannot be had."""
    if result.failed:
        raise InputError(f"{result.status}: there is no attacked image")
    before = run.read_clean(result.path)
    after = read_image(run.images / result.png_name).pixels
    if not result.is_of(before) or before.shape != after.shape:
        raise InputError(f"{result.path}: is not the image that was attacked; put that one back")
    return before, after


def _array(pixels: Tensor) -> NDArray[np.uint8]:
    return np.ascontiguousarray(pixels.permute(1, 2, 0).numpy())


def _png(array: NDArray[np.uint8]) -> bytes:
    """Lossless; OpenCV takes half of Pillow's time for it."""
    return cv2.imencode(".png", array)[1].tobytes()


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
