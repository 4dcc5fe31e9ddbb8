"""Files that are written completely or not at all, and a folder with one writer."""

from __future__ import annotations

import errno
import os
import re
import secrets
from pathlib import Path

from filelock import FileLock, Timeout

from iqattack.errors import InputError, RunError

_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


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
        # Held by a process rather than a thread: a run may be closed from another one.
        self._lock = FileLock(folder / self.NAME, timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise RunError(
                f"{folder}: another process is writing this run; wait for it, or use another --out"
            ) from None
        except OSError as error:
            raise cannot_write(folder / self.NAME, error) from None

    def release(self) -> None:
        """Let others write."""
        self._lock.release()
