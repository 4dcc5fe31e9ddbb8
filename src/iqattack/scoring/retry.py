"""How often a failure that may pass is tried again, and after what pause."""

from __future__ import annotations

from dataclasses import dataclass

from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

from iqattack.catalogue import defaults
from iqattack.errors import InputError


@dataclass(frozen=True)
class Retry:
    """Exponential back-off with jitter, for one image.

    retries: tries after the first. first_s, longest_s: pauses in seconds, which double in between;
    up to first_s more is added at random, so that many calls do not retry at once.

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
        """Seconds before another try; least: what the service asked for."""
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = tries
        wait = wait_exponential(multiplier=self.first_s, max=self.longest_s)
        jitter = wait_random(0.0, self.first_s)
        return max(wait(state) + jitter(state), least or 0.0)


DEFAULT_RETRY = Retry()
NO_RETRY = Retry(retries=0)
