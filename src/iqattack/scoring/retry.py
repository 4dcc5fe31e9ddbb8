"""Retries of transient failures."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from iqattack.catalogue import defaults
from iqattack.errors import InputError


@dataclass(frozen=True)
class Retry:
    """Retries of one image, with exponential back-off and jitter.

    retries: number of attempts after the first; 0 for none. first_s, longest_s: first and longest
    pause in seconds; pauses double from one retry to the next, and up to `first_s` is added at
    random, so that many calls do not retry at once. Raises InputError for negative numbers.

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
        for name in ("first_s", "longest_s"):
            if not 0.0 <= (seconds := getattr(self, name)) < math.inf:
                raise InputError(f"{name} {seconds}: expected 0 or more seconds")

    def pause(self, tries: int, least: float | None = None) -> float:
        """The pause in seconds before the next attempt.

        tries: number of attempts so far. least: minimum that the service asked for, in seconds.
        """
        doubled = self.first_s * 2.0 ** min(tries - 1, 64)
        jitter = random.uniform(0.0, self.first_s)
        return max(min(doubled, self.longest_s) + jitter, least or 0.0)


DEFAULT_RETRY = Retry()
NO_RETRY = Retry(retries=0)
