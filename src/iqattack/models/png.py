"""Temporary PNG files, which are read once."""

from __future__ import annotations

import struct
import zlib

import cv2
import numpy as np
from torch import Tensor

SIGNATURE = b"\x89PNG\r\n\x1a\n"
GREY, RGB = 0, 2  # colour types


def compressed(image: Tensor) -> bytes:
    """A picture (3, H, W) or (1, H, W) uint8 as a PNG file, for sending over a network.

    OpenCV's default is faster than Pillow at its lowest level, and nearly as small.
    """
    pixels = np.ascontiguousarray(image.flip(0).permute(1, 2, 0).numpy())  # OpenCV writes BGR
    return cv2.imencode(".png", pixels)[1].tobytes()


def stored(image: Tensor) -> bytes:
    """The same without compression, for use on this machine: many times as fast.

    OpenCV and Pillow at level 0 still choose a filter for each row, which takes longer than the
    rest together. Source: PNG (ISO/IEC 15948), 5.3 and 9.2.
    """
    channels, height, width = image.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)  # each begins with its filter: none
    rows[:, 1:] = image.permute(1, 2, 0).reshape(height, -1).numpy()
    colour = GREY if channels == 1 else RGB
    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes(), 0)), (b"IEND", b""))
    return SIGNATURE + b"".join(_chunk(kind, content) for kind, content in chunks)


def _chunk(kind: bytes, content: bytes) -> bytes:
    check = zlib.crc32(content, zlib.crc32(kind))
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)
