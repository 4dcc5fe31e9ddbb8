"""Programs that run as black boxes, with time limits and clean termination."""

from __future__ import annotations

import json
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
import weakref
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, NoReturn

from iqattack.errors import InputError, TransientError
from iqattack.imports import absolute

with suppress(ImportError):  # Windows has neither
    import fcntl
    import termios

END_S = 2.0  # for a program to exit after its input is closed
ANSWER_BYTES = 1 << 20  # longer output is not a score
TAIL_BYTES = 2000  # of standard error, kept for messages
QUOTE = 120  # characters of output quoted in messages
PLACE = "{image}"


class EndedError(TransientError):
    """A program exited instead of answering. asked: whether it had read the request."""

    def __init__(self, message: str, *, asked: bool = True) -> None:
        super().__init__(message)
        self.asked = asked


@dataclass(frozen=True)
class Command:
    """A command: its words, the folder where it runs, and the device that it should use."""

    words: tuple[str, ...]
    folder: Path
    device: str = "cpu"

    @classmethod
    def of(cls, words: list[str], device: str) -> Command:
        """The command in the current folder; InputError if there is no such program."""
        if sys.platform == "win32":  # selectors do not support pipes there
            raise InputError(
                "command: needs Linux or macOS; wrap the program as a service or a Python function"
            )
        if not words or not words[0].strip():
            raise InputError(
                "command: it is empty; expected command:PROGRAM, such as command:score"
            )
        command = cls(tuple(words), Path.cwd(), device)
        if shutil.which(words[0]) is None:
            raise InputError(
                f"command '{command}': no executable program '{words[0]}'; expected one on PATH or "
                "the path of an executable file"
            )
        return command

    def __str__(self) -> str:
        return quoted(shlex.join(self.words).replace(f"'{PLACE}'", PLACE))

    @property
    def name(self) -> str:
        """The first file among its arguments, such as a script, else the program."""
        files = [word for word in self.words[1:] if (self.folder / word).is_file()]
        return f"command:{Path((files or self.words)[0]).name}"

    @property
    def spec(self) -> str:
        """The command as a model spec with absolute paths, valid in any working folder."""
        program, *rest = self.words
        if "/" in program:
            program = str(absolute(self.folder / program))
        return f"command:{shlex.join([program, *map(self._absolute, rest)])}"

    def _absolute(self, word: str) -> str:
        for option, equals, value in (("", "", word), word.partition("=")):
            if value and (self.folder / value).is_file():
                return f"{option}{equals}{absolute(self.folder / value)}"
        return word


class Process:
    """A running command. A thread reads its standard error and keeps the end."""

    def __init__(self, command: Command, picture: Path | None = None) -> None:
        """picture: a file that replaces `{image}`; without one, the command has a standard input.

        Raises InputError if it does not start.
        """
        self._command = command
        try:
            self._popen = subprocess.Popen(
                [word.replace(PLACE, str(picture)) for word in command.words]
                if picture
                else command.words,
                cwd=command.folder,
                stdin=subprocess.DEVNULL if picture else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                # Scorers in Python need not flush their output.
                env=os.environ | {"PYTHONUNBUFFERED": "1", "IQATTACK_DEVICE": command.device},
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(
                f"command '{command}' does not start: {error.strerror}: '{error.filename}'"
            ) from error
        self._unheard = False  # it exited before reading the whole request
        self._tail = bytearray()
        self._listener = threading.Thread(
            target=_keep_end, args=(self._popen.stderr, self._tail), daemon=True
        )
        self._listener.start()
        self._finalizer = weakref.finalize(self, _end, self._popen, END_S)

    def ask(self, request: dict[str, object], seconds: float) -> bytes:
        """Send a request and return the line that answers it.

        Raises TransientError on a timeout, its subclass EndedError if the program exits, and
        InputError for unexpected output; the process must then be ended.
        """
        line = json.dumps(request).encode() + b"\n"
        found = self._exchange(line, seconds)
        if b"\n" not in found:
            how = self._how_it_ended(END_S)
            raise EndedError(f"command '{self._command}' {how}", asked=not self._unread())
        if found.index(b"\n") < len(found) - 1:
            self._unasked(found)
        return found

    def listen(self, seconds: float) -> None:
        """Raise InputError for output within that time, since there was no request."""
        with selectors.DefaultSelector() as ready:
            if self._popen.stdout is not None:
                ready.register(self._popen.stdout, selectors.EVENT_READ)
            for key, _ in ready.select(seconds):
                if early := os.read(key.fd, 1 << 16):
                    self._unasked(early)

    def output(self, seconds: float) -> bytes:
        """All output until the program exits with status 0.

        Raises TransientError on a timeout, InputError for another status.
        """
        found = self._exchange(b"", seconds)
        how = self._how_it_ended(seconds)
        if self._popen.returncode != 0:
            raise InputError(f"command '{self._command}' {how}")
        return found

    def kill(self) -> None:
        """Kill the program; another thread that waits for its answer gets an EndedError."""
        _kill(self._popen)

    def end(self) -> None:
        """Close the program's input, and kill it if it does not exit soon."""
        self._finalizer()
        self._listener.join(END_S)

    def _exchange(self, request: bytes, seconds: float) -> bytes:
        """The output: one line if there is a request, else everything until the end."""
        found, unsent, deadline = bytearray(), memoryview(request), time.monotonic() + seconds
        with selectors.DefaultSelector() as ready:
            if self._popen.stdout is not None:
                ready.register(self._popen.stdout, selectors.EVENT_READ)
            if self._popen.stdin is not None:
                for key, _ in ready.select(0):
                    if early := os.read(key.fd, 1 << 16):
                        self._unasked(early)
                os.set_blocking(self._popen.stdin.fileno(), False)
                ready.register(self._popen.stdin, selectors.EVENT_WRITE)
            while unsent or not (request and b"\n" in found):
                left = deadline - time.monotonic()
                if left <= 0.0:
                    raise TransientError(
                        f"command '{self._command}' gave no answer within {seconds:g} s"
                        f"{self._said()}"
                    )
                for key, events in ready.select(left):
                    if events & selectors.EVENT_WRITE:
                        unsent = unsent[self._written(key.fd, unsent) :]
                        if not unsent:
                            ready.unregister(key.fileobj)
                    elif chunk := os.read(key.fd, 1 << 16):
                        found += chunk
                    else:
                        self._unheard = self._unheard or bool(unsent)
                        return bytes(found)
                if len(found) > ANSWER_BYTES:
                    raise InputError(
                        f"command '{self._command}' printed more than {ANSWER_BYTES} bytes in place"
                        f" of a score: '{quoted(bytes(found))}'"
                    )
        return bytes(found)

    def _unasked(self, output: bytes) -> NoReturn:
        raise InputError(
            f"command '{self._command}' printed more than one line for a request:"
            f" '{quoted(output)}'; expected one answer, and everything else on standard error"
        )

    def _written(self, descriptor: int, unsent: memoryview) -> int:
        """Number of bytes written; all if the program has closed its input."""
        try:
            return os.write(descriptor, unsent)
        except BrokenPipeError:
            self._unheard = True
            return len(unsent)

    def _unread(self) -> bool:
        """Whether the program left part of a request unread, as far as the system reports."""
        waiting = bytearray(4)
        if self._popen.stdin is not None:
            with suppress(OSError):
                fcntl.ioctl(self._popen.stdin.fileno(), termios.FIONREAD, waiting)
        return self._unheard or any(waiting)

    def _how_it_ended(self, seconds: float) -> str:
        """How the program ended; it may take some time to exit after closing its output."""
        try:
            status = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"closed its standard output{self._said()}"
        _kill(self._popen)  # its children may hold standard error open
        self._listener.join(END_S)
        if status >= 0:
            return f"ended with status {status}{self._said()}"
        with suppress(ValueError):
            return f"was killed by signal {-status} ({signal.Signals(-status).name}){self._said()}"
        return f"was killed by signal {-status}{self._said()}"

    def _said(self) -> str:
        """The last lines of standard error, for a message."""
        text = _printable(bytes(self._tail).decode(errors="replace"))
        return f": {text if len(text) <= QUOTE else '…' + text[-QUOTE:]}" if text else ""


def quoted(output: str | bytes) -> str:
    """The beginning of a text on one line."""
    text = output if isinstance(output, str) else output[: 4 * QUOTE].decode(errors="replace")
    text = _printable(text[: 4 * QUOTE])
    return text if len(text) <= QUOTE else f"{text[:QUOTE]}…"


def _printable(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _keep_end(stream: IO[bytes] | None, tail: bytearray) -> None:
    if stream is None:
        return
    with stream:
        while chunk := stream.read(1 << 16):
            tail += chunk
            del tail[:-TAIL_BYTES]


def _end(popen: subprocess.Popen[bytes], seconds: float) -> None:
    if popen.stdin is not None:
        with suppress(OSError):
            popen.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        popen.wait(seconds)
    _kill(popen)
    popen.wait()
    if popen.stdout is not None:
        popen.stdout.close()


def _kill(popen: subprocess.Popen[bytes]) -> None:
    """Kill the process and its children, which are all in its process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, signal.SIGKILL)
