"""Files that are written completely or not at all, and folders with a single writer."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from iqattack.errors import InputError, RunError

MOST_BYTES = 2**28  # of a text
_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def cannot_write(path: Path, error: OSError, option: str = "--out") -> InputError:
    """An error that names the file and the remedy. option: the one that sets its place."""
    remedy = "free some space" if error.errno in _FULL else f"choose another place with {option}"
    return InputError(f"{path}: cannot be written ({error.strerror or error}); {remedy}")


def write_text(path: Path, text: str | Iterable[str]) -> None:
    """Replace a text file atomically; InputError if that fails. text: whole, or in parts."""
    parts = [text] if isinstance(text, str) else text
    write_bytes(path, (part.encode("utf-8") for part in parts))


def write_bytes(path: Path, data: bytes | Iterable[bytes], option: str = "--out") -> None:
    """The same for a file of any kind. option: the one that sets its place."""
    temporary = path.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        try:
            with temporary.open("wb") as file:
                file.writelines([data] if isinstance(data, bytes) else data)
                file.flush()
                os.fsync(file.fileno())  # some file systems report a full disk only here
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error, option) from None


def read_text(path: Path) -> str:
    """Read a text file of an untrusted run; ValueError or OSError if it is not a text file, or
    larger than any of ours.
    """
    if not path.is_file():  # a pipe would never end
        raise ValueError("no such file" if not path.exists() else "is not a regular file")
    if path.stat().st_size > MOST_BYTES:
        raise ValueError(f"has {path.stat().st_size:,} bytes, expected at most {MOST_BYTES:,}")
    return path.read_bytes().decode("utf-8")


def read_json(text: str) -> Any:
    """Parse a JSON text; ValueError if it is invalid, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("is nested too deeply") from None


def feed(digest: hashlib._Hash, path: Path) -> None:
    """Feed a file of any size to a digest."""
    with path.open("rb") as file:
        while part := file.read(1 << 20):
            digest.update(part)


def is_temporary(path: Path) -> bool:
    """Whether a file has the name of a temporary file of ours, or of `write_png`."""
    return re.fullmatch(r"\.[0-9a-f]{16}\.tmp", path.name) is not None


def release_lock(lock: FileLock, *, remove: bool) -> None:
    """Release a lock. remove: also remove its file, unless it has contents, and so is not ours."""

    def unlink() -> None:
        with suppress(OSError):
            path = Path(lock.lock_file)
            if not path.stat().st_size:
                path.unlink()

    if remove and os.name != "nt":
        unlink()  # while nobody else can hold it
    lock.release()
    if remove and os.name == "nt":  # where open files cannot be removed
        unlink()


class FolderLock:
    """An advisory lock on a folder, which the system releases whenever the process ends.

    what: is written there; option: the one that sets the place. Raises RunError if another process
    holds it.
    """

    NAME = ".lock"

    def __init__(self, folder: Path, what: str = "this run", option: str = "--out") -> None:
        # Held by the process rather than a thread: another thread may close the run.
        self._lock = FileLock(folder / self.NAME, timeout=0, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise RunError(
                f"{folder}: another process is writing {what}; wait for it, or use another {option}"
            ) from None
        except OSError as error:
            raise cannot_write(folder / self.NAME, error, option) from None

    def release(self, *, remove: bool = False) -> None:
        """Let others write. remove: also remove the file of the lock."""
        release_lock(self._lock, remove=remove)
