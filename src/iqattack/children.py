"""Processes of our own: each runs one function beside a connection, and ends with its parent.

They are started by name rather than by `multiprocessing`, which would run the user's script again.
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
SEND_BYTES = 4096  # that a child may have sent and we have not read


@dataclass(frozen=True)
class Lost:
    """The last that is heard of a process.

    how: it ended, for example `was killed by signal 9 (SIGKILL)`. outside: for a reason that is
    none of its own, such as a machine that was switched off.
    """

    how: str
    outside: bool = False


def pack(serve: Serve) -> bytes:
    """What a process is to run, as it is sent; InputError where it cannot be pickled."""
    try:
        return _packed(serve)
    except Exception as error:  # what pickling raises has no common type
        what, remedy = _at_fault(serve)
        raise InputError(
            f"{what} cannot be sent to the workers ({' '.join(str(error).split())}); {remedy}"
        ) from error


class Child:
    """A process that was started with `serve(connection)`; connection: its other end.

    serve: or what `pack` made of it. threads: of torch in it. Raises InputError as `pack` does.
    """

    def __init__(self, serve: Serve | bytes, threads: int) -> None:
        packed = serve if isinstance(serve, bytes) else pack(serve)
        if sys.platform == "win32":
            raise InputError("workers: need Linux or macOS; leave them out, or use concurrency")
        ours, theirs = socket.socketpair()
        with theirs:
            for end in (ours, theirs):
                end.settimeout(None)  # models set the default, which makes reading fail
            # What lies here is lost when we are killed: a child that is faster has to wait.
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
                start_new_session=True,  # ours to end in good order: no Ctrl-C reaches it
            )
        self.connection = Connection(ours.detach())
        self.pid = self._process.pid
        with suppress(BrokenPipeError):  # reading from it says so, too
            self.connection.send_bytes(packed)

    def how_it_ended(self) -> str:
        """Once the connection is lost: for example `was killed by signal 9 (SIGKILL)`."""
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
    """Refuses what the user's script defines: a child runs another one, and would not find it."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, type | FunctionType) and value.__module__ == "__main__":
            raise pickle.PicklingError(f"{value.__qualname__} is defined in the script that runs")
        return NotImplemented


def _packed(value: object) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(value)
    return buffer.getvalue()


def _at_fault(serve: Serve) -> tuple[str, str]:
    """What cannot be sent, and the remedy: the field of a dataclass that `serve` was given."""
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
    """In the child: run what the parent, a process by its number, sends."""
    for name in ("SIGINT", "SIGHUP"):  # not every system has the second
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
    """A parent that was killed says nothing, and who is busy with a model would not hear it."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
