"""Models and attacks of one's own are guests: what they change for the whole process is put back.

Research code goes to its own folder, makes float64 the default, turns warnings into errors, prints.
What else runs here must not depend on it: neither results, nor where files lie, nor what is written
to standard output.
"""

from __future__ import annotations

import builtins
import importlib
import locale
import os
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import Enum
from types import NoneType
from typing import Any, TextIO

import cv2
import numpy as np
import torch

from iqattack.pillow import MODULES
from iqattack.streams import Aside, Shared

# That of `signal` makes an enumeration of each answer, which takes most of a guest's time.
_getsignal: Callable[[int], Any] = importlib.import_module("_signal").getsignal
SUBNORMAL = 5e-324
SHORT = 40  # letters of a value in a phrase
CPU = torch.device("cpu")
UNKNOWN = object()  # what a switch is that cannot be read
STREAMS = {"stdout": "standard output", "stderr": "standard error"}


@dataclass(frozen=True)
class Switch:
    """Something that any code can change for all: how it is called, read and set.

    parts: where it is a tuple, what each one is called.
    """

    name: str
    read: Callable[[], Any]
    set: Callable[[Any], object]
    parts: tuple[str, ...] = ()


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
    return tuple(map(_getsignal, SIGNALS))


def _set_handlers(handlers: tuple[Any, ...]) -> None:
    for number, handler in zip(SIGNALS, handlers, strict=True):
        with suppress(ValueError, TypeError):  # in another thread, or not set by Python
            signal.signal(number, handler)


def _locale() -> str:
    return locale.setlocale(locale.LC_ALL)


def _set_locale(value: str) -> None:
    with suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, value)


def _alarm() -> bool:
    """Whether a signal is to come after some time, as from a time limit that was left."""
    return hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0.0


def _set_alarm(on: bool) -> None:
    if not on:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _device() -> torch.device:
    """Without a mode of torch functions, of which the default device is one, it is the CPU."""
    return torch.get_default_device() if torch._C._len_torch_function_stack() else CPU


def _precision() -> tuple[str, ...]:
    """As torch has it for all backends, and for the CPU's, which newer versions tell apart."""
    cpu = getattr(torch.backends.mkldnn, "matmul", None)
    own = getattr(cpu, "fp32_precision", "")
    try:
        return torch.get_float32_matmul_precision(), own
    except RuntimeError:  # set by backend
        return "", own


def _set_precision(value: tuple[str, ...]) -> None:
    overall, own = value
    cpu = getattr(torch.backends.mkldnn, "matmul", None)
    if overall:
        with suppress(RuntimeError):
            torch.set_float32_matmul_precision(overall)
    if own and cpu is not None:
        cpu.fp32_precision = own


def _pillow() -> Switch:
    """The constants of Pillow's modules, some of which are made to be set.

    We have modules of our own; these are those of whoever else is in the process.
    """
    modules = [importlib.import_module(f"PIL.{name}") for name in MODULES]
    simple = (bool, int, float, str, Enum, NoneType)
    places = [
        (vars(module), name)
        for module in modules
        for name, value in vars(module).items()
        if name.isupper() and isinstance(value, simple)
    ]
    names = tuple(name for _, name in places)
    look_up = [(module.get, name) for module, name in places]  # twice for each call of a model

    def put(values: tuple[Any, ...]) -> None:
        for (module, name), value in zip(places, values, strict=True):
            module[name] = value

    return Switch("Pillow", lambda: tuple(get(name) for get, name in look_up), put, names)


SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGALRM")
    if hasattr(signal, name)
]

# Of the whole process. What changes nothing of ours is left as a model wants it: sys.path, seeds
# (attacks have generators of their own), OpenCV's threads, torch's deterministic algorithms.
SWITCHES = (
    Switch("the working folder", _folder, _to_folder),
    Switch("the filters of warnings", _filters, _set_filters),
    Switch("handlers of signals", _handlers, _set_handlers),
    Switch("an alarm", _alarm, _set_alarm),
    Switch("the locale", _locale, _set_locale),
    Switch("sockets' default timeout", socket.getdefaulttimeout, socket.setdefaulttimeout),
    _attribute(builtins, "print", "print"),
    _attribute(sys, "excepthook", "sys.excepthook"),
    _attribute(threading, "excepthook", "threading.excepthook"),
    _pillow(),
    Switch("torch's default dtype", torch.get_default_dtype, torch.set_default_dtype),
    Switch("torch's precision of float32 products", _precision, _set_precision),
    Switch("OpenCV's optimised code", cv2.useOptimized, cv2.setUseOptimized),
)

# Of the calling thread.
OF_THREAD = (
    Switch(
        "torch's default device",
        _device,
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


class _Here(threading.local):
    guests = 0  # that this thread is running, one within the other


_here = _Here()
_lock = threading.RLock()
_guests = 0  # of all threads
_before: tuple[Any, ...] = ()  # what the switches of the process were before the first of them
_streams: dict[str, Shared] = {}  # by their names in `sys`, while there are guests
_unsaid: dict[str, None] = {}  # what was changed, a phrase each, in order


def _error() -> TextIO:
    """The process's standard error, whoever asks."""
    stream = sys.stderr
    return stream.usual if isinstance(stream, Shared) else stream


def _is_guest() -> bool:
    """Whether a guest runs in this thread; or none at all, and somebody kept its stream."""
    return bool(_here.guests or not _guests)


_aside = Aside(_error)


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
    mine = [_read(switch) for switch in OF_THREAD]
    _enter()
    try:
        yield
    finally:
        _leave(mine)


def _enter() -> None:
    global _guests, _before  # noqa: PLW0603 - so are the switches
    with _lock:
        if not _guests:
            _before = tuple(_read(switch) for switch in SWITCHES)
            for name in STREAMS:
                _streams[name] = Shared(getattr(sys, name), _aside, _is_guest)  # type: ignore[arg-type]
                setattr(sys, name, _streams[name])
        _guests += 1
        _here.guests += 1


def _leave(mine: list[Any]) -> None:
    global _guests  # noqa: PLW0603
    with _lock:
        _here.guests -= 1
        _guests -= 1
        for name, called in STREAMS.items():
            ours = _streams[name]
            if getattr(sys, name) is not ours:
                _note(called)
            setattr(sys, name, ours if _guests else ours.usual)
        _put_back(OF_THREAD, mine)
        _put_back(SWITCHES, _before)


def _read(switch: Switch) -> Any:
    """What a switch is; a library may refuse to say, after it was set in another way."""
    try:
        return switch.read()
    except Exception:
        return UNKNOWN


def _put_back(switches: tuple[Switch, ...], before: Any) -> None:
    for switch, old in zip(switches, before, strict=True):
        new = _read(switch)
        if new is old or new == old or old is UNKNOWN:
            continue
        with suppress(Exception):  # one that fails must not keep the others from it
            switch.set(old)
        if not switch.parts:
            _note(switch.name, old, new)
        for part, *values in zip(switch.parts, old, new, strict=True) if switch.parts else ():
            if values[0] != values[1]:
                _note(f"{switch.name}'s {part}", *values)


def _note(name: str, *values: object) -> None:
    """values: old and new, which are told if they are short."""
    told = [str(value) for value in values]
    change = f" from {told[0]} to {told[1]}" if told and max(map(len, told)) <= SHORT else ""
    _unsaid[f"changed {name}{change}; put back"] = None
