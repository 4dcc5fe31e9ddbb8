"""Ctrl-C, SIGTERM or SIGHUP: once to stop after what is in flight, twice to stop at once."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import typer

from iqattack.errors import IqattackError

INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)  # the last: its terminal was closed


@contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """While it lasts, the function that it gives says whether one of SIGNALS arrived.

    The second one raises KeyboardInterrupt.
    """
    asked = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()
        with suppress(OSError):  # a terminal that was closed
            print("stopping after the batch in flight; again to stop at once", file=sys.stderr)

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set  # handlers can be set in the main thread only
        return
    before = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(begun: Path, *resuming: str) -> Iterator[Callable[[], bool]]:
    """`stop_on_signals`; where they ended the block, say how to go on, and exit with 130.

    begun: a file that is there once there is something to go on with.
    resuming: options that make the program's own command line do so.
    """
    try:
        with stop_on_signals() as stop:
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
