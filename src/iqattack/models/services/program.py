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

END_S = 2.0  # from the end of its input to the end of the program
ANSWER_BYTES = 1 << 20  # more than that is no score
TAIL_BYTES = 2000  # of standard error that are kept
QUOTE = 120  # characters of output that a message quotes
PLACE = "{image}"


class EndedError(TransientError):
    """A program ended in place of an answer. asked: whether it had read what it was asked."""

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
        """The command in the present working folder; InputError where there is no such program."""
        if sys.platform == "win32":  # where pipes can be waited for in another way alone
            raise InputError(
                "command: needs Linux or macOS; make the program a service, or a function in a file"
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
        """The first file among its arguments, such as a script, or else the program."""
        files = [word for word in self.words[1:] if (self.folder / word).is_file()]
        return f"command:{Path((files or self.words)[0]).name}"

    @property
    def spec(self) -> str:
        """It as a spec of a model that holds in any working folder: files have absolute paths."""
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
    """A command that runs. A thread reads its standard error, and keeps the end of that."""

    def __init__(self, command: Command, picture: Path | None = None) -> None:
        """picture: a file that takes the place of `{image}`; without one, it has a standard input.

        Raises InputError where it does not start.
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
                # A scorer in Python need not flush what it prints.
                env=os.environ | {"PYTHONUNBUFFERED": "1", "IQATTACK_DEVICE": command.device},
                start_new_session=True,
            )
        except OSError as error:
            raise InputError(
                f"command '{command}' does not start: {error.strerror}: '{error.filename}'"
            ) from error
        self._unheard = False  # it ended before it read all that was sent
        self._tail = bytearray()
        self._listener = threading.Thread(
            target=_keep_end, args=(self._popen.stderr, self._tail), daemon=True
        )
        self._listener.start()
        self._finalizer = weakref.finalize(self, _end, self._popen, END_S)

    def ask(self, request: dict[str, object], seconds: float) -> bytes:
        """Send a request and return the line that answers it.

        Raises TransientError where none comes in time, EndedError, which is one, where the program
        ends, and InputError for output that was not asked for; the process must be ended then.
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
        """Raise InputError for output within that time: nothing was asked."""
        with selectors.DefaultSelector() as ready:
            if self._popen.stdout is not None:
                ready.register(self._popen.stdout, selectors.EVENT_READ)
            for key, _ in ready.select(seconds):
                if early := os.read(key.fd, 1 << 16):
                    self._unasked(early)

    def output(self, seconds: float) -> bytes:
        """All that it prints until it ends, with status 0.

        Raises TransientError where it does not end in time, InputError for another status.
        """
        found = self._exchange(b"", seconds)
        how = self._how_it_ended(seconds)
        if self._popen.returncode != 0:
            raise InputError(f"command '{self._command}' {how}")
        return found

    def kill(self) -> None:
        """End it at once; another thread may be asking it, and sees that it has ended."""
        _kill(self._popen)

    def end(self) -> None:
        """End its input, and it, unless it does so by itself in a moment."""
        self._finalizer()
        self._listener.join(END_S)

    def _exchange(self, request: bytes, seconds: float) -> bytes:
        """What it prints: a line where something is sent, and else all until it ends."""
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
        """Bytes that need not be sent again: all where nobody reads; the end of it says why."""
        try:
            return os.write(descriptor, unsent)
        except BrokenPipeError:
            self._unheard = True
            return len(unsent)

    def _unread(self) -> bool:
        """Whether something was sent that it did not read, as far as the system can say."""
        waiting = bytearray(4)
        if self._popen.stdin is not None:
            with suppress(OSError):
                fcntl.ioctl(self._popen.stdin.fileno(), termios.FIONREAD, waiting)
        return self._unheard or any(waiting)

    def _how_it_ended(self, seconds: float) -> str:
        """Once its output has ended; a program may take some time from there to its own end."""
        try:
            status = self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            return f"closed its standard output{self._said()}"
        _kill(self._popen)  # what it started may hold standard error open
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
    """Kill it and what it started: all are in one group, which has its number."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(popen.pid, signal.SIGKILL)
