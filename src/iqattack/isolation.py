"""Models and attacks of one's own are guests: what they change for the whole process is put back.

Research code goes to its own folder, makes float64 the default, turns warnings into errors, prints.
What else runs here must not depend on it: neither results, nor where files lie, nor what is written
to standard output.
"""

from __future__ import annotations

import locale
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TextIO

import cv2
import numpy as np
import torch

from iqattack.pillow_switches import SWITCHES as PILLOW
from iqattack.pillow_switches import outside, set_outside

SUBNORMAL = 5e-324
SHORT = 40  # letters of a value in a phrase


@dataclass(frozen=True)
class Switch:
    """Something that any code can change for all: how it is called, read and set."""

    name: str
    read: Callable[[], Any]
    set: Callable[[Any], object]


def _attribute(owner: Any, name: str, called: str) -> Switch:
    return Switch(called, lambda: getattr(owner, name), lambda value: setattr(owner, name, value))


def _folder() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - many times as fast
    except OSError:  # it was removed
        return None


def _to_folder(folder: str | None) -> None:
    with suppress(OSError, TypeError):
        os.chdir(folder)  # type: ignore[arg-type]


def _filters() -> tuple[Any, ...]:
    return tuple(warnings.filters), warnings.showwarning


def _set_filters(value: tuple[Any, ...]) -> None:
    filters, show = value
    warnings.filters[:] = filters  # type: ignore[index]
    warnings.showwarning = show
    with warnings.catch_warnings():  # which drops what was remembered of the others
        pass


def _handlers() -> tuple[Any, ...]:
    return tuple(signal.getsignal(number) for number in SIGNALS)


def _set_handlers(handlers: tuple[Any, ...]) -> None:
    for number, handler in zip(SIGNALS, handlers, strict=True):
        with suppress(ValueError, TypeError):  # in another thread, or not set by Python
            signal.signal(number, handler)


def _locale() -> str:
    return locale.setlocale(locale.LC_ALL)


def _set_locale(value: str) -> None:
    with suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, value)


SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE")
    if hasattr(signal, name)
]

# Of the whole process. What changes nothing of ours is left as a model wants it: sys.path, seeds
# (attacks have generators of their own), OpenCV's threads, torch's deterministic algorithms.
SWITCHES = (
    Switch("the working folder", _folder, _to_folder),
    Switch("the filters of warnings", _filters, _set_filters),
    Switch("handlers of signals", _handlers, _set_handlers),
    Switch("the locale", _locale, _set_locale),
    _attribute(sys, "stderr", "standard error"),
    _attribute(sys, "excepthook", "sys.excepthook"),
    _attribute(threading, "excepthook", "threading.excepthook"),
    *(
        Switch(f"Pillow's {name}", partial(outside, index), partial(set_outside, index))
        for index, (_, name, _) in enumerate(PILLOW)
    ),
    Switch("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Switch(
        "torch's precision of float32 products",
        torch.get_float32_matmul_precision,
        torch.set_float32_matmul_precision,
    ),
    Switch("OpenCV's optimised code", cv2.useOptimized, cv2.setUseOptimized),
)

# Of the calling thread.
OF_THREAD = (
    Switch(
        "torch's default device",
        torch.get_default_device,
        lambda device: torch.set_default_device(None if device.type == "cpu" else device),
    ),
    Switch("torch's threads", torch.get_num_threads, torch.set_num_threads),
    Switch("torch's gradients", torch.is_grad_enabled, torch.set_grad_enabled),
    Switch(
        "torch's autocast",
        lambda: torch.is_autocast_enabled("cpu"),
        lambda on: torch.set_autocast_enabled("cpu", on),
    ),
    Switch("subnormal numbers", lambda: SUBNORMAL * 1.0 == 0.0, torch.set_flush_denormal),
    Switch("NumPy's floating-point errors", np.geterr, lambda value: np.seterr(**value)),
)


class _Output:
    """Standard output, but for guests: what they print goes to standard error."""

    def __init__(self, usual: TextIO) -> None:
        self.usual = usual

    def __getattr__(self, name: str) -> Any:
        return getattr(sys.stderr if _here.guests else self.usual, name)

    def close(self) -> None:
        """Stay open: others write to it, too."""


class _Here(threading.local):
    guests = 0  # that this thread is running, one within the other


_here = _Here()
_lock = threading.RLock()
_guests = 0  # of all threads
_before: tuple[Any, ...] = ()  # what the switches of the process were before the first of them
_output: _Output | None = None
_unsaid: dict[str, None] = {}  # what was changed, a phrase each, in order


def changes() -> list[str]:
    """What guests changed that nobody was told yet, a phrase each."""
    with _lock:
        found = list(_unsaid)
        _unsaid.clear()
    return found


@contextmanager
def guest() -> Iterator[None]:
    """Run code of somebody else's; what it has changed is put back then.

    While guests run in several threads, what one of them changes can be seen by the others until it
    returns.
    """
    mine = [switch.read() for switch in OF_THREAD]
    _enter()
    try:
        yield
    finally:
        _leave(mine)


def _enter() -> None:
    global _guests, _before, _output  # noqa: PLW0603 - so are the switches
    with _lock:
        if not _guests:
            _before = tuple(switch.read() for switch in SWITCHES)
            _output = _Output(sys.stdout)
            sys.stdout = _output
        _guests += 1
        _here.guests += 1


def _leave(mine: list[Any]) -> None:
    global _guests  # noqa: PLW0603
    with _lock:
        _put_back(OF_THREAD, mine)
        _put_back(SWITCHES, _before)
        _here.guests -= 1
        _guests -= 1
        if sys.stdout is not _output:
            _note("standard output")
            sys.stdout = _output
        if not _guests and _output is not None:
            sys.stdout = _output.usual


def _put_back(switches: tuple[Switch, ...], before: Any) -> None:
    for switch, old in zip(switches, before, strict=True):
        new = switch.read()
        if new != old:
            switch.set(old)
            told = [str(value) for value in (old, new)]
            _note(switch.name, *(told if max(map(len, told)) <= SHORT else ()))


def _note(name: str, old: str | None = None, new: str | None = None) -> None:
    phrase = f"changed {name}{'' if old is None else f' from {old} to {new}'}; put back"
    _unsaid[phrase] = None
