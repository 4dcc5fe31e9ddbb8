"""A worker on another machine: a child process, and a relay that forwards its messages.

The model and the search run in the child, as on one machine, so that nothing a model does affects
the relay.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress

from iqattack.children import Child, Lost

HELD_BYTES = 2**20  # waiting to be fetched, or one message: a child that sends more has to wait
# A call costs as much as scoring an image with a small model, so replies are fetched in groups. A
# request for an image is short, and is forwarded at once.
LINGERS_S, SHORT_BYTES, FULL_BYTES = 0.25, 100, HELD_BYTES // 2
# A driver fetches again at once. Ray takes seconds to notice that it was killed, and scores until
# then are lost; a driver that is merely busy finds the child waiting.
AWAY_S = 0.5  # after the last call; from then on at most one message is held


class Relay:
    """Runs beside its own child; its methods are called remotely, in any thread.

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
        self._fetched = time.monotonic()  # time at which the last call returned
        self._lost: Lost | None = None
        threading.Thread(target=self._listen, name="iqattack-relay", daemon=True).start()

    def ready(self) -> None:
        """Do nothing: a successful call shows that the relay exists."""

    def send(self, message: bytes) -> None:
        """Forward a pickled message to the child, unless that has ended."""
        with self._sending, suppress(OSError):
            self._child.connection.send_bytes(message)

    def fetch(self) -> tuple[list[bytes], Lost | None]:
        """Return all pickled messages since the last call, at least one, or how the child ended."""
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
        with suppress(EOFError, OSError):  # OSError in the middle of a message
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
            if first or self._urgent or self._bytes > FULL_BYTES:  # otherwise nobody waits for it
                self._changed.notify_all()

    def _has_room(self, more: int) -> bool:
        heard = self._fetching or time.monotonic() - self._fetched < AWAY_S
        return heard and self._bytes + more <= HELD_BYTES
