"""Retries of transient failures."""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from iqattack.catalogue import defaults
from iqattack.errors import InputError


@dataclass(frozen=True)
class Retry:
    """Retries of one image, with exponential back-off and jitter.

    retries: number of attempts after the first; 0 for none. first_s, longest_s: first and longest
    pause in seconds; pauses double from one retry to the next, and up to `first_s` is added at
    random, so that many calls do not retry at once. Raises InputError for negative `retries`.

    >>> from iqattack import Retry
    >>> retry = Retry(retries=3, first_s=1.0, longest_s=30.0)
    >>> 1.0 <= retry.pause(1) <= 2.0
    True
    """

    retries: int = defaults.RETRIES
    first_s: float = 0.5
    longest_s: float = 60.0

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise InputError(f"retries {self.retries}: expected 0 or more")

    def pause(self, tries: int, least: float | None = None) -> float:
        """The pause in seconds before the next attempt.

        tries: number of attempts so far. least: minimum that the service asked for, in seconds.
        """
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = tries
        wait = wait_exponential(multiplier=self.first_s, max=self.longest_s)
        jitter = wait_random(0.0, self.first_s)
        return max(wait(state) + jitter(state), least or 0.0)


DEFAULT_RETRY = Retry()
NO_RETRY = Retry(retries=0)
