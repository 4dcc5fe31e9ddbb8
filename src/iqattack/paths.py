"""The kind of file at a path, found without opening it, since a named pipe would block; and this
user's own folders.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path
from typing import Literal

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
    """The kind of file at a path: FILE, FOLDER, 'named pipe', 'socket', 'device'; BROKEN for a link
    that leads nowhere or to itself.

    Raises OSError if that cannot be found out, FileNotFoundError if nothing exists.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except ValueError:  # a NUL, or a character that the file system's encoding lacks
        raise OSError(errno.EINVAL, "no file can have this name") from None
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ELOOP) and path.is_symlink():
            return BROKEN
        raise
    return next((kind for is_kind, kind in _KINDS if is_kind(mode)), "special file")


def why_no_file(path: str | Path) -> str:
    """Why a path is not a regular file: 'is a folder', 'no such file'."""
    try:
        return f"is a {kind_of_file(path)}"
    except OSError:
        return "no such file"


def user_folder(kind: Literal["state", "cache"]) -> Path:
    """The user's folder for state, or for a cache. RuntimeError for a user without a home if no
    environment variable names a folder.
    """
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        return base / "iqattack" / kind.capitalize() if kind == "cache" else base / "iqattack"
    variable, usual = {
        "state": ("XDG_STATE_HOME", ".local/state"),
        "cache": ("XDG_CACHE_HOME", ".cache"),
    }[kind]
    return Path(os.environ.get(variable) or Path.home() / usual) / "iqattack"
