"""Standard output and error for guest code: everything that it prints goes to standard error.

Research code wraps, detaches, closes and reconfigures these streams; none of that may affect ours.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any, TextIO


class Aside(io.TextIOBase):
    """A text stream that forwards to another one, and allows nothing else."""

    def __init__(self, stream: Callable[[], TextIO]) -> None:
        """stream: returns the stream to write to."""
        self._stream = stream

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The encoding of the other stream."""
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        """Likewise."""
        return "replace"

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The binary buffer: a new one each time, so that nothing is lost with it."""
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
        """Return the buffer without detaching it."""
        return self.buffer

    def reconfigure(self, **_options: object) -> None:
        """Change nothing."""

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
    """A standard stream that differs between us and guests."""

    def __init__(self, usual: TextIO, aside: TextIO, guests: Callable[[], bool]) -> None:
        """guests: returns whether the calling code is a guest."""
        self.usual = usual
        self._aside = aside
        self._guests = guests

    def __getattr__(self, name: str) -> Any:
        return getattr(self._aside if self._guests() else self.usual, name)
