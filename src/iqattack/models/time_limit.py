"""A time limit for models that know none: `--timeout`."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

import torch
from torch import Tensor

from iqattack.errors import InputError, TransientError

LONGEST_S = 86_400.0
Item = tuple[Future[object], Tensor] | None


class TimeLimited:
    """A function of images that is left alone when it takes longer than `seconds`.

    Each call runs in a thread of its own, as nothing else can be stopped from outside: one that was
    used before, if it is idle. A call that hangs keeps its thread.
    """

    def __init__(self, function: Callable[[Tensor], object], seconds: float) -> None:
        self.function = function
        self.seconds = check_timeout(seconds)
        self._idle: list[SimpleQueue[Item]] = []
        weakref.finalize(self, _end, self._idle)

    def __call__(self, images: Tensor) -> object:
        """What the function gives; TransientError when that takes too long."""
        future: Future[object] = Future()
        try:
            todo = self._idle.pop()
        except IndexError:
            todo = SimpleQueue()
            given = (todo, self.function, torch.get_num_threads())
            threading.Thread(target=_work, args=given, name="iqattack-model", daemon=True).start()
        todo.put((future, images))
        try:
            return future.result(self.seconds)
        except TimeoutError:
            if future.done():  # the function's own
                raise
            raise TransientError(
                f"no answer within {self.seconds:g} s; raise --timeout if it may take longer"
            ) from None
        finally:
            if future.done():
                self._idle.append(todo)
            else:
                todo.put(None)

    def __getattr__(self, name: str) -> Any:
        """What the function declares, such as a method `differentiable`."""
        if name.startswith("_") or name == "function":  # as when it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.function, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.function, self.seconds)


def check_timeout(seconds: float) -> float:
    """InputError for a time limit that is none."""
    if not 0.0 < seconds <= LONGEST_S:
        raise InputError(f"timeout {seconds:g}: expected seconds, more than 0, at most a day")
    return seconds


def _end(idle: list[SimpleQueue[Item]]) -> None:
    for todo in idle:
        todo.put(None)


def _work(todo: SimpleQueue[Item], function: Callable[[Tensor], object], threads: int) -> None:
    torch.set_num_threads(threads)
    while (item := todo.get()) is not None:
        future, images = item
        try:
            with torch.no_grad():
                future.set_result(function(images))
        except BaseException as error:
            future.set_exception(error)
        del item, future, images
