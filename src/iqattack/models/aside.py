"""Threads that are abandoned when their task takes too long, since a thread cannot be stopped."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

Tool = TypeVar("Tool")
Found = TypeVar("Found")
Task = tuple["Future[Any]", Callable[["Hand[Any]"], Any], "Hand[Any]"] | None


class LateError(TimeoutError):
    """The task exceeded its time limit; distinct from a TimeoutError that the task itself
    raised."""


class Hand(Generic[Tool]):
    """One thread, with its own tool. left: whether it was abandoned."""

    def __init__(
        self, name: str, tool: Tool, begin: Callable[[], None], end: Callable[[Tool], None]
    ) -> None:
        self.tool = tool
        self.left = False
        self._end = end
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        threading.Thread(target=_work, args=(self._tasks, begin), name=name, daemon=True).start()

    def start(self, task: Callable[[Hand[Tool]], Found]) -> Future[Found]:
        """Run a task in the thread."""
        future: Future[Found] = Future()
        self._tasks.put((future, task, self))
        return future

    def leave(self) -> None:
        """End its thread after the present task, and its tool now."""
        self.left = True
        self._tasks.put(None)
        with suppress(Exception):  # its own thread may be ending it, too
            self._end(self.tool)


class Hands(Generic[Tool]):
    """As many hands as concurrent tasks; idle ones are reused.

    name: of the threads. make: a tool for each; end: ends one. begin: is called in each thread.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], Tool],
        *,
        begin: Callable[[], None] = lambda: None,
        end: Callable[[Tool], None] = lambda _tool: None,
    ) -> None:
        self._name, self._make, self._begin, self._end = name, make, begin, end
        self._lock = threading.Lock()
        self._idle: list[Hand[Tool]] = []
        self._busy: set[Hand[Tool]] = set()
        self._closed = False
        weakref.finalize(self, _leave, self._idle)

    def run(self, task: Callable[[Hand[Tool]], Found], seconds: float) -> Found:
        """Return or raise the outcome of a task; LateError if it takes longer than `seconds`."""
        with self._lock:
            hand = self._idle.pop() if self._idle else None
        hand = hand or Hand(self._name, self._make(), self._begin, self._end)
        with self._lock:
            self._busy.add(hand)
        future = hand.start(task)
        try:
            return future.result(seconds)
        except TimeoutError:
            if future.done():  # the task's own
                raise
            raise LateError from None
        finally:
            with self._lock:
                self._busy.discard(hand)
                kept = future.done() and not self._closed
                if kept:
                    self._idle.append(hand)
            if not kept:
                hand.leave()

    def close(self) -> None:
        """End the idle ones, and the tools of the others."""
        with self._lock:
            self._closed = True
            hands = [*self._idle, *self._busy]
            self._idle.clear()
        _leave(hands)


def _leave(hands: list[Hand[Any]]) -> None:
    for hand in hands:
        hand.leave()


def _work(tasks: SimpleQueue[Task], begin: Callable[[], None]) -> None:
    begin()
    while (item := tasks.get()) is not None:
        future, task, hand = item
        try:
            future.set_result(task(hand))
        except BaseException as error:
            future.set_exception(error)
        del item, future, task, hand  # while it waits, it holds nothing
