"""Standard output and error as guests see them: all that they print goes to standard error.

Research code wraps, detaches, closes and reconfigures these; none of that must reach ours.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TextIO


class Aside(io.TextIOBase):
    """Text that ends in another stream, which nothing else can be done to through this one."""

    def __init__(self, stream: Callable[[], TextIO]) -> None:
        """stream: gives the one that is written to."""
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """For those who look."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Likewise."""
        return "replace"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """Where bytes are written to: a new one each time, so that nothing is lost with it."""
        return _AsideBytes(self)

    def writable(self) -> bool:
        """See `io.IOBase`."""
        return True

    def write(self, text: str) -> int:
        """See `io.TextIOBase`."""
        self._stream().write(text)
        return len(text)

    def flush(self) -> None:
        """See `io.IOBase`."""
        self._stream().flush()

    def isatty(self) -> bool:
        """See `io.IOBase`."""
        return self._stream().isatty()

    def fileno(self) -> int:
        """See `io.IOBase`."""
        return self._stream().fileno()

    def detach(self) -> Any:
        """The buffer, and stay as it is."""
        return self.buffer

    def reconfigure(self, **_options: object) -> None:
        """Stay as it is."""

    def close(self) -> None:
        """Stay open."""


class _AsideBytes(io.BufferedIOBase):
    def __init__(self, text: Aside) -> None:
        self._text = text

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._text.write(bytes(data).decode("utf-8", "replace"))
        return len(data)

    def flush(self) -> None:
        self._text.flush()

    def isatty(self) -> bool:
        return self._text.isatty()

    def fileno(self) -> int:
        return self._text.fileno()


class Shared:
    """A standard stream that is the usual one for us, and another one for guests."""

    def __init__(self, usual: TextIO, aside: TextIO, guests: Callable[[], bool]) -> None:
        """guests: whether the calling code is a guest's, now."""
        self.usual = usual
        self._aside = aside
        self._guests = guests

    def __getattr__(self, name: str) -> Any:
        return getattr(self._aside if self._guests() else self.usual, name)
