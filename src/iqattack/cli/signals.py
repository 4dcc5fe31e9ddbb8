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

Handler = Callable[[int, FrameType | None], Any] | int | None  # as `signal` returns it
SIGNALS = tuple(  # SIGHUP: the terminal was closed; not every system has it
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


@contextmanager
def at_once(tidy: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Apply `end_at_once` within the block."""
    before = signal.getsignal(signal.SIGINT)
    end_at_once(tidy)
    try:
        yield
    finally:
        _restore({signal.SIGINT: before})


@contextmanager
def closing_on_interrupt() -> Iterator[None]:
    """Let Ctrl-C end the block from inside, so that it can close its files.

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
    """Return whether this is the main thread, the only one that can set handlers."""
    return threading.current_thread() is threading.main_thread()


def _restore(handlers: Mapping[signal.Signals, Handler]) -> None:
    for number, handler in handlers.items():
        if handler is not None and _in_main_thread():  # None: set by other code than Python's
            signal.signal(number, handler)


@contextmanager
def stop_on_signals(begun: Callable[[], bool] = lambda: True) -> Iterator[Callable[[], bool]]:
    """Yield a function that says whether one of SIGNALS arrived within the block.

    The second signal raises KeyboardInterrupt, and so does the first before anything has begun,
    since a model may take long to load. An ignored SIGHUP, as under nohup, stays ignored.
    """
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if asked.is_set() or not begun():
            raise KeyboardInterrupt
        asked.set()
        with suppress(OSError):  # a terminal that was closed
            print(
                "stopping after the batch in flight; press again to stop at once", file=sys.stderr
            )

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
    """Apply `stop_on_signals`; if a signal ended the block, print how to continue, and exit with
    130.

    begun: a file that exists once there is something to resume. resuming: options that make the
    program's own command line resume.
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
            print(f"stopped; to continue, run: {shlex.join(command)}", file=sys.stderr)
    raise typer.Exit(INTERRUPTED) from None
