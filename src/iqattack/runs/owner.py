"""Whether this user began a run: a code at the end of run.toml that nobody else can make.

The user's key is stored outside all runs. The code is the HMAC-SHA256 of run.toml with this key, in
a comment, so that anyone who changes the settings, or sends a run, has no valid code.
"""

from __future__ import annotations

import hmac
import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from iqattack.paths import user_folder
from iqattack.runs.files import write_text

MARK = "\n# Begun by this user: "
KEY_BYTES = 32


def signed(text: str) -> str:
    """The text of a run.toml with the code; unchanged if this user has no place for a key."""
    key = _key(make=True)
    return text if key is None else f"{text}{MARK}{_code(key, text)}\n"


def write_signed(path: Path, text: str) -> None:
    """Replace a run.toml, with the code, atomically; errors as in `write_text`."""
    write_text(path, signed(text))


def is_own(path: Path) -> bool:
    """Whether a run.toml is unchanged since this user's iqattack wrote it."""
    try:
        text = path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    body, mark, code = text.rpartition(MARK)
    key = _key(make=False)
    return (
        key is not None
        and bool(mark)
        and hmac.compare_digest(code.encode(), f"{_code(key, body)}\n".encode())
    )


def sign(text: str) -> str | None:
    """The code of a text other than a run.toml; None if this user has no place for a key."""
    return signer()(text)


def signer() -> Callable[[str], str | None]:
    """`sign` for many texts, reading the key once."""
    key = _key(make=True)
    return lambda text: None if key is None else _code(key, text)


def has_signed(text: str, code: str | None) -> bool:
    """Whether this user's iqattack made the code of a text."""
    return owner()(text, code)


def owner() -> Callable[[str, str | None], bool]:
    """`has_signed` for many texts, reading the key once."""
    key = _key(make=False)

    def made(text: str, code: str | None) -> bool:
        if key is None or code is None:
            return False
        return hmac.compare_digest(code.encode(), _code(key, text).encode())

    return made


def _code(key: bytes, text: str) -> str:
    return hmac.digest(key, text.encode(), "sha256").hex()


def _key(*, make: bool) -> bytes | None:
    """This user's key. make: create it if there is none."""
    try:
        path = user_folder("state") / "key"
        if make and not path.exists():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with (
                suppress(FileExistsError),
                open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,  # noqa: PTH123
            ):
                file.write(secrets.token_bytes(KEY_BYTES))
        key = path.read_bytes()
    except (OSError, RuntimeError):  # no home, or a read-only one
        return None
    return key if len(key) == KEY_BYTES else None  # another process may be writing it just now
