"""A worker on another machine: a process of ours, beside one that passes on what it sends.

The model and everything of the search run in the first, as they do on one machine, so that nothing
that a model does reaches the second.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress

from iqattack.children import Child, Lost

HELD_BYTES = 2**20  # that wait to be fetched, or one message: whoever sends more has to wait
# A call costs as much as scoring an image with a small model: replies are fetched several at once.
# Who asks for an image says so in few bytes, and is heard at once.
LINGERS_S, SHORT_BYTES, FULL_BYTES = 0.25, 100, HELD_BYTES // 2
# A driver fetches again at once. Ray takes seconds to notice that it was killed, and all that is
# scored until then is lost; a driver that is only busy finds the child waiting.
AWAY_S = 0.5  # since the last call, from when on at most one message is held


class Relay:
    """What runs beside a child of its own; its methods are called from far away, in any thread.

    packed, threads: as a `Child` takes them.
    """

    def __init__(self, packed: bytes, threads: int) -> None:
        self._child = Child(packed, threads)
        self._sending = threading.Lock()
        self._changed = threading.Condition()
        self._held: deque[bytes] = deque()
        self._bytes = 0
        self._urgent = False
        self._fetching = False
        self._fetched = time.monotonic()  # when the last call returned
        self._lost: Lost | None = None
        threading.Thread(target=self._listen, name="iqattack-relay", daemon=True).start()

    def ready(self) -> None:
        """Nothing: who can call it knows that there is one."""

    def send(self, message: bytes) -> None:
        """Pass a pickled message on to the child; one that has ended takes none."""
        with self._sending, suppress(OSError):
            self._child.connection.send_bytes(message)

    def fetch(self) -> tuple[list[bytes], Lost | None]:
        """All pickled messages since the last call, one at least, or how the child ended."""
        with self._changed:
            self._fetching = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._held or self._lost)
            self._changed.wait_for(
                lambda: self._urgent or self._lost or self._bytes > FULL_BYTES, LINGERS_S
            )
            messages = list(self._held)
            self._held.clear()
            self._bytes, self._urgent = 0, False
            self._fetching, self._fetched = False, time.monotonic()
            self._changed.notify_all()
            return messages, self._lost

    def _listen(self) -> None:
        with suppress(EOFError, OSError):  # the latter in the middle of a message
            while True:
                self._hold(self._child.connection.recv_bytes())
        how = self._child.how_it_ended()
        with self._changed:
            self._lost = Lost(how)
            self._changed.notify_all()

    def _hold(self, message: bytes) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._held or self._has_room(len(message)))
            first = not self._held
            self._held.append(message)
            self._bytes += len(message)
            self._urgent = self._urgent or len(message) <= SHORT_BYTES
            if first or self._urgent or self._bytes > FULL_BYTES:  # else nobody waits for it
                self._changed.notify_all()

    def _has_room(self, more: int) -> bool:
        heard = self._fetching or time.monotonic() - self._fetched < AWAY_S
        return heard and self._bytes + more <= HELD_BYTES
