"""Detection of JPEG files with missing data in spite of an end-of-image marker."""

from __future__ import annotations

import random
import re
from io import BytesIO

from iqattack.pillow import Image, JpegImagePlugin

# ITU-T T.81, table B.1. Huffman coding alone: arithmetic coders may leave out zeros at the end.
_HUFFMAN = (0xC0, 0xC1, 0xC2)
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SCAN, _END = 0xDA, 0xD9
# Within coded data, 0xff is followed by a zero or is a restart mark.
_MARK = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])", re.DOTALL)
# Any bytes but 0xff, the same in every process.
_MORE = bytes(random.Random(0).choices(range(255), k=4096))


def ends_early(image: Image.Image, data: bytes) -> bool:
    """Whether coded data at the end of a JPEG image are missing, which libjpeg silently fills in.

    image: decoded from the file contents `data`. False for other formats, and for damage that
    cannot be detected: a file cut between two scans or at a restart marker, or damaged in the
    middle.

    A decoder that has finished reads no more data. Data inserted between the image's own and the
    end marker therefore change the image only if something is missing.
    """
    if image.format not in ("JPEG", "MPO"):
        return False
    end = _end(data)
    if end is None:
        return False
    try:
        with JpegImagePlugin.JpegImageFile(BytesIO(data[:end] + _MORE + b"\xff\xd9")) as again:
            return again.mode == image.mode and again.tobytes() != image.tobytes()
    except (OSError, ValueError, SyntaxError):
        return False


def _end(data: bytes) -> int | None:
    """The offset of the first image's end marker; None without one, and for other codings."""
    at, coded = 2, False
    while True:
        match = _MARK.search(data, at) if coded else _MARK.match(data, at)
        if match is None:
            return None
        kind = match[1][0]
        if kind == _END:
            return match.start()
        if kind in _FRAMES and kind not in _HUFFMAN:
            return None
        coded = kind == _SCAN
        at = match.end() + int.from_bytes(data[match.end() : match.end() + 2], "big")
