"""Processes of our own: each runs one function with a connection, and ends with its parent.

They are not started by `multiprocessing`, which would run the user's script again.
"""

from __future__ import annotations

import io
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from multiprocessing.connection import Connection
from types import FunctionType
from typing import Any

from iqattack.errors import InputError
from iqattack.memory import ENVIRONMENT

Serve = Callable[[Connection], None]
SEND_BYTES = 4096  # that a child may send ahead of our reading


@dataclass(frozen=True)
class Lost:
    """The end of a process.

    how: for example `was killed by signal 9 (SIGKILL)`. outside: whether the reason lies outside
    it, such as a machine that was switched off.
    """

    how: str
    outside: bool = False


def pack(serve: Serve) -> bytes:
    """Pickle what a process should run; InputError if that is impossible."""
    try:
        return _packed(serve)
    except Exception as error:  # pickling errors have no common type
        what, remedy = _at_fault(serve)
        raise InputError(
            f"{what} cannot be sent to the workers ({' '.join(str(error).split())}); {remedy}"
        ) from error


class Child:
    """A child process that runs `serve(connection)`. connection: our end.

    serve: a function, or the result of `pack`. threads: torch threads in the child. Raises
    InputError as `pack` does.
    """

    def __init__(self, serve: Serve | bytes, threads: int) -> None:
        packed = serve if isinstance(serve, bytes) else pack(serve)
        if sys.platform == "win32":
            raise InputError("workers need Linux or macOS; leave them out, or use concurrency")
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.settimeout(None)  # models may set a default timeout, which makes reading fail
            # The buffer is lost if we are killed, so a faster child has to wait.
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
            program = (
                f"import sys; sys.path[:] = {sys.path!r}\n"
                f"from iqattack.children import main; main({theirs.fileno()}, {os.getpid()})"
            )
            self._process = subprocess.Popen(
                [sys.executable, "-c", program],
                pass_fds=[theirs.fileno()],
                env=os.environ | ENVIRONMENT | {"OMP_NUM_THREADS": str(threads)},
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # we end it in an orderly way: Ctrl-C does not reach it
            )
        self.connection = Connection(ours.detach())
        self.pid = self._process.pid
        with suppress(BrokenPipeError):  # reading from it reports this, too
            self.connection.send_bytes(packed)

    def how_it_ended(self) -> str:
        """How it ended, once the connection is lost: for example `was killed by signal 9
        (SIGKILL)`."""
        try:
            status = self._process.wait(10.0)
        except subprocess.TimeoutExpired:
            self.kill()
            return "closed its connection"
        if status >= 0:
            return f"ended with status {status}"
        return f"was killed by signal {-status} ({signal.Signals(-status).name})"

    def kill(self) -> None:
        """End it at once."""
        self.connection.close()
        self._process.kill()
        self._process.wait()


class _Pickler(pickle.Pickler):
    """Refuses objects from the user's script: a child runs another script, and would not find
    them."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType) and value.__module__ == "__main__":
            raise pickle.PicklingError(f"{value.__qualname__} is defined in the running script")
        return NotImplemented


def _packed(value: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


def _at_fault(serve: Serve) -> tuple[str, str]:
    """What cannot be sent, and the remedy: the field of the dataclass given to `serve`."""
    for given in filter(is_dataclass, getattr(serve, "args", ())):
        for field in fields(given):
            try:
                _packed(getattr(given, field.name))
            except Exception:  # as above
                if field.name == "attack":
                    return "the attack", "put the attack in a file and give FILE.py:name"
                break
    return "the model", "give the model as a spec, such as FILE.py:factory"


def main(descriptor: int, parent: int) -> None:
    """In the child: run what the parent sends. parent: its process ID."""
    for name in ("SIGINT", "SIGHUP"):  # not every system has SIGHUP
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    connection = Connection(descriptor)
    try:
        packed = connection.recv_bytes()
        try:
            serve = pickle.loads(packed)
        except Exception as error:  # such as a model that is defined in the user's script
            connection.send(
                InputError(
                    f"what a worker needs cannot be loaded there ({' '.join(str(error).split())}); "
                    "give a model as FILE.py:factory, an attack as FILE.py:name"
                )
            )
            return
        serve(connection)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        os._exit(1)  # the parent is gone
    connection.close()


def _end_with(parent: int) -> None:
    """End with the parent: a killed parent sends nothing, and a child busy with a model would not
    notice."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
