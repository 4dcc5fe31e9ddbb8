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

Item = tuple[Future[object], Tensor] | None


class TimeLimited:
    """A function of images that is left alone when it takes longer than `seconds`.

    It runs in a thread of its own, as nothing else can be stopped from outside; a call that hangs
    keeps its thread, and the next one gets a new thread.
    """

    def __init__(self, function: Callable[[Tensor], object], seconds: float) -> None:
        self.function = function
        self.seconds = check_timeout(seconds)
        self._todo: SimpleQueue[Item] | None = None
        self._turn = threading.Lock()

    def __call__(self, images: Tensor) -> object:
        """What the function gives; TransientError when that takes too long."""
        with self._turn:
            future: Future[object] = Future()
            if self._todo is None:
                self._todo = SimpleQueue()
                weakref.finalize(self, self._todo.put, None)  # so that its thread ends, too
                given = (self._todo, self.function, torch.get_num_threads())
                threading.Thread(
                    target=_work, args=given, name="iqattack-model", daemon=True
                ).start()
            self._todo.put((future, images))
            try:
                return future.result(self.seconds)
            except TimeoutError:
                if future.done():  # the function's own
                    raise
                self._todo.put(None)
                self._todo = None
                raise TransientError(
                    f"no answer within {self.seconds:g} s; raise --timeout if it may take longer"
                ) from None

    def __getattr__(self, name: str) -> Any:
        """What the function declares, such as a method `differentiable`."""
        if name.startswith("__") or name == "function":  # as when it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.function, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.function, self.seconds)


def check_timeout(seconds: float) -> float:
    """InputError for a time limit that is none."""
    if not 0.0 < seconds < float("inf"):
        raise InputError(f"timeout {seconds:g}: expected seconds, more than 0")
    return seconds


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
