"""Decoding the body of an HTTP response, with limits on its size and on decoding time."""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Mapping

LARGEST = 4 << 20  # bytes of an answer, both as received and decompressed
# Charsets that are slow to decode; an answer that declares one is read as UTF-8.
SLOW_TEXT = frozenset({"idna", "punycode"})


class TooLargeError(ValueError):
    """An answer has more than `LARGEST` bytes."""

    def __init__(self) -> None:
        super().__init__(f"sent more than {LARGEST >> 20} MiB")


def unpacked(body: bytes, headers: Mapping[str, str]) -> bytes:
    """The decompressed body of an answer; headers: with names in lower case.

    Raises ValueError for more than one content encoding, for any other than gzip and deflate, and
    for more than `LARGEST` bytes, and zlib.error for corrupt data.
    """
    layers = [layer.strip() for layer in headers.get("content-encoding", "").lower().split(",")]
    layers = [layer for layer in layers if layer not in ("", "identity")]
    if not layers:
        return body
    if len(layers) > 1 or layers[0] not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(
            f"answered with content-encoding {', '.join(layers)}; expected none, gzip or deflate"
        )
    # Some servers send raw deflate; a zlib header has 8 in the low half of its first byte.
    bare = layers[0] == "deflate" and bool(body) and body[0] & 15 != 8
    inflater = zlib.decompressobj(-zlib.MAX_WBITS if bare else 32 + zlib.MAX_WBITS)
    found = inflater.decompress(body, LARGEST + 1)
    if len(found) > LARGEST:
        raise TooLargeError
    if not inflater.eof:
        raise zlib.error("truncated compressed data")
    return found


def as_text(body: bytes, charset: str | None) -> str:
    """An answer as text without a byte order mark; unknown charsets are read as UTF-8."""
    try:
        name = codecs.lookup(charset or "utf-8").name
        text = body.decode("utf-8" if name in SLOW_TEXT else name, "replace")
    except (LookupError, ValueError):
        text = body.decode("utf-8", "replace")
    return text.removeprefix("\ufeff")
