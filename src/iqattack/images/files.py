"""Reading of whole files: regular files only, within a size limit."""

from __future__ import annotations

import codecs
from pathlib import Path

from iqattack.errors import InputError

# The largest picture that is read has 179 million pixels: 1.4 GB in uncompressed 16-bit RGBA.
LARGEST_IMAGE = 2**31
LARGEST_TABLE = 2**28  # some millions of lines


def read_data(path: Path, largest: int, what: str) -> bytes:
    """Read a regular file. A file of size 0 gives b"" without being opened, since files of /proc
    have that size and may block.

    largest: bytes accepted. what: expected content, for messages, such as "an image". Raises
    OSError if the file cannot be read, InputError if it is larger than `largest` or the free
    memory.
    """
    size = bytes_of(path, largest, what)
    try:
        return path.read_bytes() if size else b""
    except MemoryError:
        raise InputError(
            f"{path}: is too large for the free memory ({size:,} bytes); make it smaller"
        ) from None


def bytes_of(path: Path, largest: int, what: str) -> int:
    """The size of a file in bytes; InputError above `largest`, OSError if there is no file."""
    size = path.stat().st_size
    if size > largest:
        raise InputError(
            f"{path}: is too large ({size:,} bytes), expected {what} of at most {largest:,}; "
            "make it smaller"
        )
    return size


def read_text(path: Path) -> str:
    """Read a text file in UTF-8, or in UTF-16 with a byte order mark; line ends are kept.

    Raises InputError for another encoding, and for a file that is too large or cannot be read.
    """
    try:
        data = read_data(path, LARGEST_TABLE, "text")
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as UTF-8 text ({reason}); save it as UTF-8"
        ) from None
    if "\0" in text:
        raise InputError(
            f"{path}: cannot be read as UTF-8 text (it holds NUL characters, as UTF-32 and UTF-16 "
            "without a byte order mark do); save it as UTF-8"
        )
    return text


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without their line ends; errors as in `read_text`."""
    # Not `splitlines`, which splits names at characters that end no line.
    return read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")
