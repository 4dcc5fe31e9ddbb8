"""Ctrl-C, SIGTERM or SIGHUP: once to stop after what is in flight, twice to stop at once."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import typer

from iqattack.cli.interrupts import INTERRUPTED, end_at_once
from iqattack.errors import IqattackError

Handler = Callable[[int, FrameType | None], Any] | int | None  # as `signal` returns them
SIGNALS = tuple(  # the last: its terminal was closed; not every system has it
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextmanager
def at_once(tidy: Callable[[], object] = lambda: None) -> Iterator[None]:
    """`end_at_once`, while it lasts."""
    before = signal.getsignal(signal.SIGINT)
    end_at_once(tidy)
    try:
        yield
    finally:
        _restore({signal.SIGINT: before})


@contextmanager
def closing_on_interrupt() -> Iterator[None]:
    """While it lasts, Ctrl-C ends the block from inside, so that it closes what it has open.

    The exit status is then 130.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN and _in_main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None
    finally:
        _restore({signal.SIGINT: before})


def _in_main_thread() -> bool:
    """Handlers can be set there only."""
    return threading.current_thread() is threading.main_thread()


def _restore(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        if handler is not None and _in_main_thread():  # None: set by other code than Python's
            signal.signal(number, handler)


@contextmanager
def stop_on_signals(begun: Callable[[], bool] = lambda: True) -> Iterator[Callable[[], bool]]:
    """While it lasts, the function that it gives says whether one of SIGNALS arrived.

    The second one raises KeyboardInterrupt, and so does the first while nothing has begun: a model
    may take long to load. A SIGHUP that is ignored, under nohup, stays so.
    """
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if asked.is_set() or not begun():
            raise KeyboardInterrupt
        asked.set()
        with suppress(OSError):  # a terminal that was closed
            print("stopping after the batch in flight; again to stop at once", file=sys.stderr)

    if not _in_main_thread():
        yield asked.is_set
        return
    before = {
        number: signal.signal(number, handle)
        for number in SIGNALS
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield asked.is_set
    finally:
        _restore(before)


@contextmanager
def interruptible(begun: Path, *resuming: str) -> Iterator[Callable[[], bool]]:
    """`stop_on_signals`; where they ended the block, say how to go on, and exit with 130.

    begun: a file that is there once there is something to go on with.
    resuming: options that make the program's own command line do so.
    """
    try:
        with stop_on_signals(begun.is_file) as stop:
            yield stop
    except KeyboardInterrupt:
        _leave(begun, resuming)
    except IqattackError as error:
        if error.exit_status != INTERRUPTED:
            raise
        _leave(begun, resuming)


def _leave(begun: Path, resuming: tuple[str, ...]) -> None:
    if begun.is_file():
        given = sys.argv[1:]
        command = ["iqattack", *given, *(option for option in resuming if option not in given)]
        with suppress(OSError):
            print(f"stopped; go on with: {shlex.join(command)}", file=sys.stderr)
    raise typer.Exit(INTERRUPTED) from None
