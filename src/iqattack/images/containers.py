"""Metadata of image files that Pillow does not report: bit depths, colour spaces."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator

# ISO/IEC 23091-2: BT.709 or unspecified primaries; curves near sRGB's, or unspecified.
_PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_SRGB_PRIMARIES = (1, 2)
_TRANSFERS = {8: "linear", 16: "PQ", 18: "HLG"}
_SRGB_TRANSFERS = (1, 2, 6, 13, 14, 15)


def brands(data: bytes) -> frozenset[bytes]:
    """The brands of an ISO base media file (ISO/IEC 14496-12); empty for any other file."""
    if data[4:8] != b"ftyp":
        return frozenset()
    box = data[8 : min(int.from_bytes(data[:4], "big"), 1024)]
    return frozenset(box[at : at + 4] for at in range(0, len(box) - 3, 4) if at != 4)


def av1_bits(data: bytes) -> int:
    """The largest bit depth of an image in an AVIF file: 8, 10 or 12.

    av1C (AV1 in ISOBMFF, sec. 2.3.3): marker and version, profile and level, then one bit for the
    tier, one for more than 8 bits, one for 12.
    """
    bits = 8
    for header in _headers(data):
        for match in re.finditer(rb"av1C\x81.(.)", header, re.DOTALL):
            flags = match[1][0]
            if flags & 0x40:
                bits = max(bits, 12 if flags & 0x20 else 10)
    return bits


def coded_colours(data: bytes) -> str | None:
    """The colour space in the colr box of an AVIF or HEIF file; None for sRGB, or without one."""
    for header in _headers(data):
        match = re.search(rb"colrnclx(..)(..)", header, re.DOTALL)
        if match is not None:
            primaries, transfer = (int.from_bytes(code, "big") for code in match.groups())
            odd = []
            if primaries not in _SRGB_PRIMARIES:
                odd.append(_PRIMARIES.get(primaries, f"primaries {primaries}"))
            if transfer not in _SRGB_TRANSFERS:
                odd.append(_TRANSFERS.get(transfer, f"transfer {transfer}"))
            return ", ".join(odd) or None
    return None


def jpeg2000_bits(data: bytes) -> int:
    """The largest bit depth in a JPEG 2000 codestream (ISO/IEC 15444-1, A.5.1: SIZ)."""
    return max(((size & 0x7F) + 1 for size in _component_sizes(data)), default=8)


def jpeg2000_signed(data: bytes) -> bool:
    """Whether a component of a JPEG 2000 codestream is signed (ISO/IEC 15444-1, A.5.1: SIZ)."""
    return any(size & 0x80 for size in _component_sizes(data))


def _component_sizes(data: bytes) -> list[int]:
    """Of each component, its bits less one and, on top, whether it has a sign."""
    at = data.find(b"\xff\x4f\xff\x51")
    if at < 0:
        return []
    (components,) = struct.unpack_from(">H", data, at + 40)
    # IndexError where it is cut off there, which is damage.
    return [data[at + 42 + 3 * k] for k in range(components)]


def jpeg2000_profile(data: bytes) -> bytes | None:
    """The ICC profile in the colr box of a JP2 file (ISO/IEC 15444-1, I.5.3.3); None without it."""
    for header in _headers(data):
        match = re.search(rb"(.{4})colr\x02..", header, re.DOTALL)
        if match is not None:
            length = int.from_bytes(match[1], "big") - 11
            return header[match.end() : match.end() + max(length, 0)]
    return None


def _headers(data: bytes) -> Iterator[bytes]:
    """The boxes that describe pictures, without their coded data."""
    at = 0
    while at + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, at)
        if size == 1 and at + 16 <= len(data):
            (size,) = struct.unpack_from(">Q", data, at + 8)
        if size < 8:  # 0: to the end of the file
            size = len(data) - at
        if kind in (b"meta", b"moov", b"jp2h"):
            yield data[at : at + size]
        at += size
