"""Errors that a person can act on.

Every message is one line that names the file, the value and what was expected instead; the
command line prints it without a traceback and exits with `exit_status`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class IqattackError(Exception):
    """Base of all errors that iqattack raises on purpose."""

    exit_status = 2


class InputError(IqattackError):
    """Something handed in cannot be used: a file, an option, a table, a model's answer."""


class DeviceError(InputError):
    """A device that is not there, or that the model does not take."""


class RunError(IqattackError):
    """A run on disk does not fit what was asked: other settings, a log that does not replay."""


class TransientError(Exception):
    """Raised by a scorer, or returned in place of a score: asking again later may do.

    retry_after: seconds that the service asked to wait. billed: whether it charged all the same.
    """

    def __init__(
        self, message: str = "", *, retry_after: float | None = None, billed: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.billed = billed


class NotSentError(Exception):
    """In place of a score: the image was not sent after all, and is no attempt."""


def one_line(error: BaseException) -> str:
    """The exception's type and message on one line of readable length."""
    message = " ".join(str(error).split())
    if len(message) > 200:
        message = message[:197] + "..."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return InputError(f"unknown {kind} '{name}': {hint}there are {', '.join(names)}")
