"""Requests that are left alone once they take too long.

httpx limits each read and each write by itself, and nothing limits the look-up of a host's name: a
server that sends a byte now and then holds a call for as long as it likes. So each request is made
in a thread of its own, which can be left behind.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import httpx

Found = TypeVar("Found")
Task = tuple["Future[Any]", Callable[["Courier"], Any], "Courier"] | None


class Courier:
    """A thread with a client of its own, and so with a connection of its own.

    left: whether nobody waits for what it does any more.
    """

    def __init__(self, client: httpx.Client) -> None:
        self.client = client
        self.left = False
        self._tasks: SimpleQueue[Task] = SimpleQueue()
        threading.Thread(
            target=_work, args=(self._tasks,), name="iqattack-request", daemon=True
        ).start()

    def start(self, task: Callable[[Courier], Found]) -> Future[Found]:
        """Have the thread do something."""
        future: Future[Found] = Future()
        self._tasks.put((future, task, self))
        return future

    def leave(self) -> None:
        """End its thread after the present task, and the connection that this waits for."""
        self.left = True
        self._tasks.put(None)
        with suppress(Exception):  # its own thread may be closing it, too
            self.client.close()


class Couriers:
    """As many couriers as there are requests at once; idle ones are used again.

    connect: makes a client, which is to have one connection at most.
    """

    def __init__(self, connect: Callable[[], httpx.Client]) -> None:
        self._connect = connect
        self._lock = threading.Lock()
        self._idle: list[Courier] = []
        self._busy: set[Courier] = set()
        self._closed = False
        weakref.finalize(self, _leave, self._idle)

    def send(self, task: Callable[[Courier], Found], seconds: float) -> Found:
        """What a task gives; TimeoutError once that takes longer than so many seconds."""
        with self._lock:
            courier = self._idle.pop() if self._idle else None
        courier = courier or Courier(self._connect())
        with self._lock:
            self._busy.add(courier)
        kept = False
        try:
            found = courier.start(task).result(seconds)
            kept = True
            return found
        finally:
            with self._lock:
                self._busy.discard(courier)
                kept = kept and not self._closed
                if kept:
                    self._idle.append(courier)
            if not kept:
                courier.leave()

    def close(self) -> None:
        """End the idle ones, and the connections of the others."""
        with self._lock:
            self._closed = True
            couriers = [*self._idle, *self._busy]
            self._idle.clear()
        _leave(couriers)


def _leave(couriers: list[Courier]) -> None:
    for courier in couriers:
        courier.leave()


def _work(tasks: SimpleQueue[Task]) -> None:
    while (item := tasks.get()) is not None:
        future, task, courier = item
        try:
            future.set_result(task(courier))
        except BaseException as error:
            future.set_exception(error)
        del item, future, task, courier  # while it waits, it holds nothing
