"""Pacing of requests to a service: a rate limit, and an adaptive bound on the calls in flight.

The bound follows TCP's congestion window: additive increase, multiplicative decrease (Chiu & Jain
1989), slow start and at most one decrease per round trip (Jacobson 1988). It also stops growing
when latency rises, before calls are refused, as in TCP Vegas (Brakmo & Peterson 1995) and Netflix's
concurrency-limits (2018).
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from typing import Literal

# Outcome of a call: a refused one means too many calls; a failed one has no bearing on the bound.
Outcome = Literal["answered", "refused", "failed"]

DECREASE = 0.5
SMOOTHING = 0.2  # weight of the newest latency
TOLERANCE, SLACK_S = 2.0, 0.02  # slow: above this multiple of the best latency plus jitter
FORGET = 1.001  # growth of the best latency per answer, since services change
FIRST_PAUSE_S = 1.0  # after a refusal of the only call in flight, without a Retry-After
MOST_WAITS = 10
LONGEST_PAUSE_S = 60.0  # maximum delay of all calls by one Retry-After


class ClosedError(Exception):
    """The limiter was closed or held before a call, or while it waited."""


class Gate:
    """Decides when the next call may start; plain arithmetic on times in seconds, without threads.

    most: maximum number of calls in flight. rate: calls per second, evenly spaced; inf for no
    limit. bound: current limit on calls in flight; it starts at one and doubles each round trip
    until the service refuses a call or becomes slow, then grows by one each round trip. running:
    calls in flight.
    """

    def __init__(self, most: int, rate: float = math.inf) -> None:
        self.bound = 1.0
        self.running = 0
        self.most = most
        self._spacing = 1.0 / rate
        self._next = self._open = self._cut = -math.inf
        self._starting = True
        self._waits = 0  # consecutive pauses
        self._latency = self._best = math.nan

    def wait(self, now: float) -> float:
        """Seconds until a call may start; inf if another one must end first."""
        if self.running >= int(self.bound):
            return math.inf
        return max(0.0, self._next - now, self._open - now)

    def start(self, now: float) -> None:
        """Start a call, for which `wait` was 0."""
        self.running += 1
        self._next = now + self._spacing

    def end(self, started: float, now: float, outcome: Outcome, pause: float = 0.0) -> None:
        """End a call; started: when it began. pause: seconds requested by the service."""
        full = self.running >= int(self.bound)  # only then is the bound in use
        self.running -= 1
        if pause > 0.0:
            self._open = max(self._open, now + min(pause, LONGEST_PAUSE_S))
        if outcome == "answered":
            self._waits = 0
            slow = self._slow(now - started)
            self._starting = self._starting and not slow
            if full and not slow:
                self.bound += 1.0 if self._starting else 1.0 / self.bound
                self.bound = min(self.bound, float(self.most))
        elif outcome == "refused" and started >= self._cut:  # one decrease per round trip
            if self.bound == 1.0 and not pause:  # even one at a time is too many: back off
                self._open = now + min(FIRST_PAUSE_S * 2**self._waits, LONGEST_PAUSE_S)
                self._waits = min(self._waits + 1, MOST_WAITS)
            self.bound = max(1.0, self.bound * DECREASE)
            self._starting, self._cut = False, now

    def _slow(self, seconds: float) -> bool:
        if math.isnan(self._latency):
            self._latency = self._best = seconds
        self._latency += SMOOTHING * (seconds - self._latency)
        self._best = min(self._best * FORGET, self._latency)
        return self._latency > TOLERANCE * self._best + SLACK_S


class Limiter:
    """A `Gate` at which threads wait."""

    def __init__(
        self, most: int, rate: float = math.inf, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._gate = Gate(most, rate)
        self._clock = clock
        self._changed = threading.Condition()
        self._closed = False
        self._epoch = 0  # number of calls to `hold`

    @property
    def epoch(self) -> int:
        """A token for `start`, for callers that start several calls: all end at the next `hold`."""
        return self._epoch

    def start(self, epoch: int | None = None) -> float:
        """Wait until a call may start; returns the time.

        Raises ClosedError after `close`, and for a call from before the last `hold`.
        """
        with self._changed:
            epoch = self._epoch if epoch is None else epoch
            while True:
                if self._closed or epoch != self._epoch:
                    raise ClosedError
                now = self._clock()
                wait = self._gate.wait(now)
                if wait <= 0.0:
                    self._gate.start(now)
                    return now
                self._changed.wait(None if math.isinf(wait) else wait)

    def end(self, started: float, outcome: Outcome, pause: float = 0.0) -> None:
        """See `Gate.end`."""
        with self._changed:
            self._gate.end(started, self._clock(), outcome, pause)
            self._changed.notify_all()

    def hold(self) -> None:
        """Make all waiting calls raise ClosedError; later calls wait as usual."""
        with self._changed:
            self._epoch += 1
            self._changed.notify_all()

    def close(self) -> None:
        """Make all waiting and later calls raise ClosedError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
