"""Users' models and attacks are guests: what they change for the whole process is restored.

Research code changes the working folder, makes float64 the default, turns warnings into errors, and
prints. Nothing else may depend on that: neither results, nor the places of files, nor standard
output.
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

# The one in `signal` converts each answer to an enumeration, which dominates a guest's time.
_getsignal: Callable[[int], Any] = importlib.import_module("_signal").getsignal
SUBNORMAL = 5e-324
SHORT = 40  # characters of a value in a phrase
CPU = torch.device("cpu")
UNKNOWN = object()  # value of a switch that cannot be read
STREAMS = {"stdout": "standard output", "stderr": "standard error"}


@dataclass(frozen=True)
class Switch:
    """A global setting that any code can change: its name, and how to read and set it.

    parts: the names of its elements, if it is a tuple.
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
    with warnings.catch_warnings():  # which clears the memory of earlier warnings
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
    """Whether an alarm is pending, as from a time limit that was not cancelled."""
    return hasattr(signal, "getitimer") and signal.getitimer(signal.ITIMER_REAL)[0] > 0.0


def _set_alarm(on: bool) -> None:
    if not on:
        signal.setitimer(signal.ITIMER_REAL, 0.0)


def _device() -> torch.device:
    """The default device; the CPU if no torch function mode sets one."""
    return torch.get_default_device() if torch._C._len_torch_function_stack() else CPU


def _precision() -> tuple[str, ...]:
    """The precision for all backends, and for the CPU's, which newer versions of torch
    distinguish."""
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
    """The constants of Pillow's modules, some of which are meant to be set.

    We use a private copy of the modules; these are the ones that other code shares.
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
    look_up = [(module.get, name) for module, name in places]  # read twice per model call

    def put(values: tuple[Any, ...]) -> None:
        for (module, name), value in zip(places, values, strict=True):
            module[name] = value

    return Switch("Pillow", lambda: tuple(get(name) for get, name in look_up), put, names)


SIGNALS = [
    getattr(signal, name)
    for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGPIPE", "SIGALRM")
    if hasattr(signal, name)
]

# Per process. Settings that do not affect us are left as the model sets them: sys.path, seeds
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

# Per calling thread.
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
    guests = 0  # nested guests in this thread


_here = _Here()
_lock = threading.RLock()
_guests = 0  # in all threads
_before: tuple[Any, ...] = ()  # values of the process's switches before the first guest
_streams: dict[str, Shared] = {}  # by their names in `sys`, while guests run
_unreported: dict[str, None] = {}  # changes that were not reported yet, one phrase each, in order


def _error() -> TextIO:
    """The process's standard error, for guests and others."""
    stream = sys.stderr
    return stream.usual if isinstance(stream, Shared) else stream


def _is_guest() -> bool:
    """Whether a guest runs in this thread, or none at all, but some code kept its stream."""
    return bool(_here.guests or not _guests)


_aside = Aside(_error)


def changes() -> list[str]:
    """Return changes by guests that were not reported yet, one phrase each."""
    with _lock:
        found = list(_unreported)
        _unreported.clear()
    return found


@contextmanager
def guest() -> Iterator[None]:
    """Run foreign code, and restore what it has changed afterwards.

    While guests run in several threads, each can see the others' changes until they return.
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
    """Read a switch; a library may refuse, after it was set in another way."""
    try:
        return switch.read()
    except Exception:
        return UNKNOWN


def _put_back(switches: tuple[Switch, ...], before: Any) -> None:
    for switch, old in zip(switches, before, strict=True):
        new = _read(switch)
        if new is old or new == old or old is UNKNOWN:
            continue
        with suppress(Exception):  # a failure must not stop the others from being restored
            switch.set(old)
        if not switch.parts:
            _note(switch.name, old, new)
        for part, *values in zip(switch.parts, old, new, strict=True) if switch.parts else ():
            if values[0] != values[1]:
                _note(f"{switch.name}'s {part}", *values)


def _note(name: str, *values: object) -> None:
    """values: old and new, which are reported if they are short."""
    shown = [str(value) for value in values]
    change = f" from {shown[0]} to {shown[1]}" if shown and max(map(len, shown)) <= SHORT else ""
    _unreported[f"changed {name}{change}; restored"] = None
