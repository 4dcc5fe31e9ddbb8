"""Errors that users can act on.

Every message is one line that names the file, the value and what was expected instead; the
command line prints it without a traceback and exits with `exit_status`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError


class IqattackError(Exception):
    """Base of all errors that iqattack raises on purpose."""

    exit_status = 2


class InputError(IqattackError):
    """An input cannot be used: a file, an option, a table, a model's answer."""


class DeviceError(InputError):
    """A device does not exist, or the model does not support it."""


class RunError(IqattackError):
    """A run on disk does not fit the request: other settings, a log that does not replay."""


class TransientError(Exception):
    """Raised by a scorer, or returned in place of a score: a later retry may succeed.

    retry_after: seconds that the service asked to wait. billed: whether it charged for the failed
    request.

    >>> import iqattack
    >>> calls = []
    >>> def busy(images):
    ...     calls.append(len(images))
    ...     if len(calls) == 1:
    ...         raise iqattack.TransientError("server busy", retry_after=0.1)
    ...     return images.float().mean((1, 2, 3))
    >>> model = iqattack.wrap(busy, score_range=(0, 255), lower_better=False)
    >>> run = iqattack.attack(
    ...     "photos", model, attack="noise", queries=3, limit=1, check=False, out="runs/busy"
    ... )
    >>> run.results[0].queries, run.results[0].attempts
    (3, 1)
    """

    def __init__(
        self, message: str = "", *, retry_after: float | None = None, billed: bool = False
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.billed = billed


class NotSentError(Exception):
    """Returned in place of a score: the image was not sent, so this is not an attempt."""


def one_line(error: BaseException) -> str:
    """The exception's type and message on one line of readable length."""
    message = " ".join(str(error).split())
    if len(message) > 200:
        message = message[:197] + "..."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Where the first fault is, as names joined by dots, "" for the whole; and what is wrong."""
    first = error.errors(include_url=False, include_context=False)[0]
    reason = first["msg"].removeprefix("Value error, ")
    return ".".join(map(str, first["loc"])), " ".join(reason.split())


def fault_text(error: ValidationError) -> str:
    """The first fault as `place: reason`, on one line."""
    return ": ".join(filter(None, first_fault(error)))


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """An error for a name that does not exist, with the nearest one that does."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return InputError(f"unknown {kind} '{name}': {hint}available: {', '.join(names)}")
