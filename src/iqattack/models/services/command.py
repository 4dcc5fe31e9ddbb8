"""A program as a black box: `command:python scorer.py` or `command:score {image}`.

A command is split into words as by a shell, but run without one, in the folder where it was given.
It gets a session of its own, so that Ctrl-C does not reach it.

A command that contains `{image}` is run once for each image, with the path of a PNG file there. It
prints the score: only a number, a JSON object with `score`, or text in which a regular expression
finds it.

Any other command keeps running and speaks JSON lines: one request per line on its standard input,
one answer per line on its standard output, in turn.

    {"id": 0, "describe": true}                what it declares; once, before all else
    {"id": 0, "score_range": [0, 100], "lower_better": false, "name": "ours", "min_size": 32}
    {"id": 1, "png": "iVBORw0KGgo…"}           a picture in base64
    {"id": 1, "score": 41.5}
    {"id": 2, "png": "iVBORw0KGgo…"}
    {"id": 2, "error": "no face found", "transient": false}

Every key of the first answer is optional. A bare number is an answer too, and declares nothing. The
same holds for an error, and for a program that exits on this request: it is restarted without it.
Any other output is an error; write messages for users to standard error, whose last lines are
quoted when something fails. A program must exit when its standard input is closed. The environment
variable IQATTACK_DEVICE holds the requested device.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import shlex
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from iqattack.errors import InputError, TransientError
from iqattack.imports import absolute
from iqattack.models.checked import check_range
from iqattack.models.inputs import UINT8, Input
from iqattack.models.png import stored
from iqattack.models.services.program import PLACE, Command, EndedError, Process, quoted
from iqattack.models.services.settings import CommandSettings, call_limit

START_S = 300.0  # for a persistent program to load its model and describe itself
ANSWER_S = 60.0  # per image, by default
RUN_S = 300.0  # per image if the program is started for each, by default
LOSSES = 3  # consecutive losses of all processes, without a score, after which it is not restarted

LISTEN_S = 0.1  # after the first answer, for unexpected output
SPOKEN_TO = f"without {PLACE}, the placeholder for an image's path, it must speak JSON lines"


class _Scorer:
    """Base class of both kinds of commands."""

    batch = 1
    notes: tuple[str, ...] = ()
    concurrency = 1  # by default; each thread that calls it has a process of its own

    def __init__(
        self,
        command: Command,
        timeout: float | None,
        usual: float,
        convention: Input,
        *,
        name: str | None = None,
        score_range: tuple[float, float] | None = None,
        lower_better: bool | None = None,
        min_size: int | None = None,
        files: tuple[Path, ...] = (),
    ) -> None:
        self.command = command
        self.timeout = call_limit(f"command '{command}'", timeout, usual)
        self.convention = convention.of_pictures("a command")
        self.name = name or command.name
        self.score_range = score_range
        self.lower_better = lower_better
        # Resized or cropped images have a fixed size.
        shaped = self.convention.size is not None or self.convention.crop is not None
        self._given_min_size = 1 if shaped else min_size
        self.min_size = self._given_min_size or 1
        self.spec = command.spec
        self.files = tuple(absolute(file) for file in files)

    def __call__(self, images: Tensor) -> list[float | Exception]:
        """A raw score for each of (N, 3, H, W) uint8, or an exception in its place."""
        return [self.score(stored(image)) for image in self.convention.pictures(images)]

    def score(self, png: bytes) -> float | Exception:
        """The raw score of an image given as the bytes of a PNG file, or the reason for failure."""
        raise NotImplementedError

    def close(self) -> None:
        """End its processes."""


class OneShot(_Scorer):
    """A command that is run for each image; pattern: regular expression that finds the score."""

    def __init__(
        self,
        command: Command,
        timeout: float | None,
        convention: Input,
        *,
        pattern: str | None = None,
        **declared: Any,
    ) -> None:
        super().__init__(command, timeout, RUN_S, convention, **declared)
        if not any(PLACE in word for word in command.words):
            raise InputError(
                f"command '{command}': expected {PLACE} in it, the placeholder for an image's path"
            )
        try:
            self._pattern = None if pattern is None else re.compile(pattern)
        except re.error as error:
            raise InputError(
                f"command '{command}': score = '{pattern}' is not a regular expression: {error}"
            ) from error
        self._running: set[Process] = set()

    def score(self, png: bytes) -> float | Exception:
        """See `_Scorer`; a nonzero exit status is not retried."""
        with tempfile.TemporaryDirectory(prefix="iqattack-") as folder:
            picture = Path(folder) / "image.png"
            picture.write_bytes(png)
            try:
                process = Process(self.command, picture)
            except InputError as error:
                return error
            self._running.add(process)
            try:
                return self._found(process.output(self.timeout))
            except (InputError, TransientError) as error:
                return error
            finally:
                process.kill()
                process.end()
                self._running.discard(process)

    def close(self) -> None:
        """Kill running processes."""
        for process in list(self._running):
            process.kill()

    def _found(self, output: bytes) -> float:
        text = output.decode(errors="replace").strip()
        if self._pattern is not None:
            match = self._pattern.search(text)
            if match is None:
                raise self._wrong(text, f"a match of '{self._pattern.pattern}'")
            text = match[1] if self._pattern.groups else match[0]
        try:
            found = _parsed(text)
            return _number(found["score"] if isinstance(found, dict) else found)
        except (ValueError, KeyError):
            raise self._wrong(
                text,
                'only a number or JSON such as {"score": 41.5} on standard output, or, in a TOML '
                "description, score = 'REGULAR EXPRESSION' that finds it",
            ) from None

    def _wrong(self, text: str, expected: str) -> InputError:
        return InputError(f"command '{self.command}' printed '{quoted(text)}'; expected {expected}")


class JsonLines(_Scorer):
    """A command that keeps running, with one process for each calling thread.

    It is started when the scorer is created, and restarted after it exited, timed out or printed an
    invalid answer.
    """

    def __init__(
        self, command: Command, timeout: float | None, convention: Input, **declared: Any
    ) -> None:
        """Raises InputError for a command that does not start, does not answer, exits without
        reading its input or prints something else.
        """
        super().__init__(command, timeout, ANSWER_S, convention, **declared)
        self._lock = threading.Lock()
        self._free: list[Process] = []
        self._all: dict[Process, int] = {}  # with the round in which each was started
        self._numbers = itertools.count(1)
        self._losses = 0  # consecutive rounds without a score
        self._round = 0  # processes that run together are lost together, which counts once
        self._last: BaseException | None = None
        self._closed = False
        self._undescribed = ""  # why it could not describe itself
        self._proven = False  # it has scored something
        try:
            process, described = self._start()
        except EndedError as error:
            if not error.asked:
                raise InputError(f"{error}; {SPOKEN_TO}") from error
            self._undescribed = str(error)
            self._losses = 0
            self.notes = (
                f"{error}, when asked to describe itself, so it declares nothing; {SPOKEN_TO}",
            )
            return
        except TransientError as error:
            raise InputError(
                f'{error}; expected an answer to {{"id": 0, "describe": true}}; {SPOKEN_TO}'
            ) from error
        self._free.append(process)
        if "error" in described:
            self._undescribed = f"command '{command}' answered: {quoted(str(described['error']))}"
        else:
            self._declare(described, declared)

    def score(self, png: bytes) -> float | Exception:
        """See `_Scorer`."""
        found = self._score(png)
        if not isinstance(found, Exception):
            self._proven = True
        elif self._undescribed and not self._proven:
            kind = TransientError if isinstance(found, TransientError) else InputError
            return kind(
                f"{found}; earlier, when asked to describe itself: {self._undescribed}; {SPOKEN_TO}"
            )
        return found

    def _score(self, png: bytes) -> float | Exception:
        seconds = self.timeout
        try:
            with self._lock:
                process = self._free.pop() if self._free else None
            used = process is not None
            if process is None:
                process, _ = self._start()
                if self._undescribed:  # its model is loaded only now
                    seconds = max(seconds, START_S)
        except (InputError, TransientError) as error:
            return error
        number = next(self._numbers)
        picture = base64.b64encode(png).decode()
        try:
            answer = process.ask({"id": number, "png": picture}, seconds)
            found = self._read(answer, number)
            if not self._proven:  # a bare number has no id of a request
                process.listen(LISTEN_S)
        except BaseException as error:
            if used and isinstance(error, EndedError) and not error.asked:
                self._drop(process)  # it had exited after the last answer: use another one
                return self._score(png)
            self._lose(process, error)
            if not isinstance(error, InputError | TransientError):
                raise
            if self._proven and isinstance(error, InputError):  # a new process may do better
                return TransientError(str(error))
            return error
        with self._lock:
            self._losses = 0
            if not self._closed:
                self._free.append(process)
                return found
        self._drop(process)
        return found

    def close(self) -> None:
        """End all processes, including those that are scoring."""
        with self._lock:
            self._closed = True
            free, self._free = self._free, []
        for process in free:
            self._drop(process)
        for process in list(self._all):
            process.kill()

    def _start(self) -> tuple[Process, dict[str, Any]]:
        """Start a process; returns it and what it declares."""
        if self._closed:
            raise InputError(f"command '{self.command}' is closed")
        if self._losses >= LOSSES:
            raise InputError(
                f"{self._last}; this happened {LOSSES} times in a row without a score, so it is "
                "not started again; fix it, or raise --timeout if it is slow, and continue with "
                "--resume"
            )
        started = self._round
        process = Process(self.command)
        self._all[process] = started
        if self._undescribed:
            return process, {}
        try:
            found = self._parsed(process.ask({"id": 0, "describe": True}, START_S), 0)
        except BaseException as error:
            self._lose(process, error)
            raise
        return process, found if isinstance(found, dict) else {}

    def _lose(self, process: Process, why: BaseException) -> None:
        with self._lock:
            self._last = why
            if self._all.get(process) == self._round:
                self._round += 1
                self._losses += 1
        process.kill()
        self._drop(process)

    def _drop(self, process: Process) -> None:
        process.end()
        self._all.pop(process, None)

    def _parsed(self, line: bytes, number: int) -> Any:
        """Parse an answer: a number or an object; InputError for anything else."""
        text = line.decode(errors="replace").removeprefix("\ufeff").strip()
        try:
            found = _parsed(text)
            if not isinstance(found, dict):
                return _number(found)
            if found.get("id", number) != number:
                raise ValueError("answers another request")
        except ValueError:
            raise self._wrong(text, number) from None
        return found

    def _read(self, line: bytes, number: int) -> float | Exception:
        found = self._parsed(line, number)
        if not isinstance(found, dict):
            return float(found)
        if "error" in found:
            reason = quoted(str(found["error"]))
            if found.get("transient") is True:
                return TransientError(reason)
            return InputError(f"command '{self.command}' has no score: {reason}")
        try:
            return _number(found.get("score"))
        except ValueError:
            raise self._wrong(line.decode(errors="replace"), number) from None

    def _wrong(self, text: str, number: int) -> InputError:
        key = '"score": 41.5' if number else '"score_range": [0, 100], "lower_better": false'
        return InputError(
            f"command '{self.command}' printed '{quoted(text)}'; expected one line"
            f' {{"id": {number}, {key}}}, and everything else on standard error'
        )

    def _declare(self, described: dict[str, Any], given: dict[str, Any]) -> None:
        """Adopt what the process declares, unless it was given."""
        name, lower_better, min_size = (
            described.get(key) for key in ("name", "lower_better", "min_size")
        )
        of = f"command '{self.command}' declares"
        if name is not None and given.get("name") is None:
            self.name = " ".join(str(name).split()) or self.name
        if described.get("score_range") is not None and self.score_range is None:
            self.score_range = check_range(described["score_range"], self.name)
        if lower_better is not None and self.lower_better is None:
            if not isinstance(lower_better, bool):
                raise InputError(f"{of} lower_better {lower_better!r}: expected true or false")
            self.lower_better = lower_better
        if min_size is not None and self._given_min_size is None:
            if isinstance(min_size, bool) or not isinstance(min_size, int) or min_size < 1:
                raise InputError(f"{of} min_size {min_size!r}: expected pixels, at least 1")
            self.min_size = min_size


def load_command(
    argument: str,
    *,
    device: str = "cpu",
    convention: Input = UINT8,
    timeout: float | None = None,
) -> OneShot | JsonLines:
    """A command as a scorer, `command:CMD`.

    timeout: seconds per image; by default 60 for a command that keeps running, and 300 for one that
        is started for each image. Starting a command that keeps running may take 300.

    Raises InputError for a command that cannot be split or run, and as `JsonLines` does.
    """
    try:
        words = shlex.split(argument)
    except ValueError as error:
        raise InputError(f"command '{argument}': {str(error).lower()}") from error
    command = Command.of(words, device)
    if any(PLACE in word for word in words):
        return OneShot(command, timeout, convention)
    return JsonLines(command, timeout, convention)


def of_settings(
    settings: CommandSettings,
    *,
    device: str = "cpu",
    convention: Input = UINT8,
    timeout: float | None = None,
) -> OneShot | JsonLines:
    """A command described in a file as a scorer; as `load_command`."""
    command = Command.of(settings.command, device)
    declared = {
        "name": settings.name,
        "score_range": settings.score_range,
        "lower_better": settings.lower_better,
        "min_size": settings.min_size,
        "files": tuple(settings.files),
    }
    if settings.image == "argument":
        return OneShot(command, timeout, convention, pattern=settings.score, **declared)
    if settings.score is not None:
        raise InputError(
            f"command '{command}': score applies only to a command that is run for each image; "
            'leave it out with image = "json-lines"'
        )
    return JsonLines(command, timeout, convention, **declared)


def _parsed(text: str) -> object:
    """Parse JSON, or a number in Python's notation; ValueError for anything else."""
    with suppress(ValueError):
        return float(text)
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(value)
    try:
        return float(value)
    except OverflowError as error:
        raise ValueError("too large") from error
