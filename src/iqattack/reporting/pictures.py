"""The files of one image: a thumbnail, and a script with its pixels and its scored queries.

The pixels are data in a script because a page opened from disk may not read files: a canvas painted
from a file cannot be read back, so nothing could be computed from it.
"""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

from torch import Tensor

from iqattack.errors import InputError, RunError
from iqattack.perception import JND_MODELS
from iqattack.pillow import Image
from iqattack.runs import Meter, Result, Run
from iqattack.runs.numbers import without_folders
from iqattack.runs.pairs import Scored, read_pair
from iqattack.runs.pixels import to_array, to_png
from iqattack.runs.results import JND_MODEL, JND_SCALE
from iqattack.specs import printable

THUMB = 320, 240  # pixels: twice the size that a card shows
THUMBS, PIXELS = "thumbs", "images"
MOST_JOD, MOST_FLIP = 3.0, 0.75  # ends of the scales; a third of the first, 1 JOD, is pink


def write_pictures(
    run: Run,
    result: Result,
    scored: dict[str, Any] | None,
    number: int,
    folder: Path,
    meter: Meter | None,
    pair: Scored | None,
) -> dict[str, Any]:
    """Write the files of an image: NUMBER.jpg in folder/thumbs, NUMBER.js in folder/images.

    Returns `thumb` and `pixels`, their paths in the folder, None if missing, and `missing`, the
    reason why the pictures cannot be compared, None if they can. meter: maps where a change is
    visible; None for no map. pair: the hashes of both pictures in the log; other pictures are not
    shown. Pixels are encoded again, so that nothing else of a file enters the page.
    """
    name = f"{number:06}"
    data: dict[str, Any] = dict.fromkeys(("original", "attacked", "limit", "visible"))
    data["scored"] = scored
    thumb = missing = None
    try:
        before, after = _pair(run, result, pair)
    except (InputError, RunError) as error:
        missing = printable(without_folders(str(error)))
    else:
        threshold = JND_SCALE * JND_MODELS[JND_MODEL](before)
        data["original"], data["attacked"] = as_png(before), as_png(after)
        # An integer number of grey levels exceeds the threshold exactly if it exceeds its floor.
        data["limit"] = _base64(to_png(threshold.floor().clamp(max=255.0).byte().numpy()))
        data["visible"] = None if meter is None else _visible(meter, result, before, after)
        thumb = f"{THUMBS}/{name}.jpg"
        small = Image.fromarray(to_array(after))
        small.thumbnail(THUMB, Image.Resampling.BICUBIC, reducing_gap=2.0)
        small.save(folder / thumb, quality=80)
    pixels = f"{PIXELS}/{name}.js"
    script = f"iqattack.picture({number}, {json.dumps(data)});\n"
    (folder / pixels).write_text(script, encoding="ascii")
    return {"thumb": thumb, "pixels": pixels, "missing": missing}


def as_png(pixels: Tensor) -> str:
    """Pixels (3, H, W) uint8 as a PNG, in base64, without anything else of the file."""
    return _base64(to_png(to_array(pixels)))


def _visible(
    meter: Meter, result: Result, before: Tensor, after: Tensor
) -> dict[str, str | float] | None:
    """A map of where the change is visible, with the measure and the value that is shown as white.

    The measure is JOD, or FLIP if JOD was not measured. White is the same for all images, so that
    they can be compared.
    """
    for what, known, most, tool in (
        ("JOD", result.jod, MOST_JOD, meter.jod),
        ("FLIP", result.flip, MOST_FLIP, meter.flip),
    ):
        if known is not None and tool is not None:
            share = tool.visible(before, after) / most
            levels = share.clamp(0.0, 1.0).mul(255.0).round().byte().numpy()
            return {"map": _base64(to_png(levels)), "what": what, "most": most}
    return None


def _pair(run: Run, result: Result, pair: Scored | None) -> tuple[Tensor, Tensor]:
    """Clean and attacked pixels, each (3, H, W) uint8; errors as in `read_pair`."""
    if result.failed:
        raise InputError(f"{result.status}: there is no attacked image")
    return read_pair(run, result, pair)


def _base64(data: bytes) -> str:
    return b64encode(data).decode("ascii")
