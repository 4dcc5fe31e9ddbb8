"""Files that are written completely or not at all, and a folder with one writer."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
from pathlib import Path

from iqattack.errors import InputError, RunError

_FULL = (errno.ENOSPC, errno.EDQUOT)


def cannot_write(path: Path, error: OSError) -> InputError:
    """An error that names the file and what to do."""
    remedy = "free some space" if error.errno in _FULL else "choose another place with --out"
    return InputError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


def write_text(path: Path, text: str) -> None:
    """Replace a text file in one step; InputError when it cannot be written."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())  # some file systems report a full disk only here
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error) from None


def is_temporary(path: Path) -> bool:
    """Whether a file has the name of one that was being written, by us or by `write_png`."""
    return re.fullmatch(r"\.[0-9a-f]{16}\.tmp", path.name) is not None


class FolderLock:
    """An advisory lock on a folder, which the system releases when the process ends, however.

    Raises RunError when another process has it.
    """

    NAME = ".lock"

    def __init__(self, folder: Path) -> None:
        try:
            self._file = (folder / self.NAME).open("a")
        except OSError as error:
            raise cannot_write(folder / self.NAME, error) from None
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise RunError(
                f"{folder}: another process is writing this run; wait for it, or use another --out"
            ) from None

    def release(self) -> None:
        """Let others write."""
        self._file.close()
