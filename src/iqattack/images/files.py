"""What lies at a path, found without opening it: a named pipe would block until somebody writes."""

from __future__ import annotations

import codecs
import errno
import io
import stat
from pathlib import Path

from iqattack.errors import InputError

FILE, FOLDER, BROKEN = "file", "folder", "broken link"
_KINDS = (
    (stat.S_ISREG, FILE),
    (stat.S_ISDIR, FOLDER),
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


def kind_of_file(path: str | Path) -> str:
    """What a path leads to: FILE, FOLDER, 'named pipe', 'socket', 'device'; BROKEN for a link that
    leads nowhere or to itself.

    Raises OSError where that cannot be said, FileNotFoundError where nothing is.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            return BROKEN
        raise
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "special file")


def read_text(path: Path) -> str:
    """The text of a file: UTF-8, or UTF-16 that a byte order mark begins; line ends as they are.

    Raises InputError for another encoding, and for what cannot be read.
    """
    try:
        data = path.read_bytes()
        wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        return data.decode("utf-16" if wide else "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as UTF-8 text ({reason}); save it as UTF-8"
        ) from None


def read_lines(path: Path) -> list[str]:
    """The lines of a text file without their ends; errors as of `read_text`."""
    # Not `splitlines`, which splits names at characters that end no line.
    return io.StringIO(read_text(path), newline=None).read().split("\n")
