"""A time limit for models without their own: `--timeout`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from iqattack.errors import InputError, TransientError
from iqattack.isolation import guest
from iqattack.models.aside import Hand, Hands, LateError

DAY_S = 86400.0  # no call may take longer


class TimeLimited:
    """A function of images that is abandoned when it takes longer than `seconds`.

    Each call runs in its own thread; one that hangs keeps its thread.
    """

    def __init__(self, function: Callable[[Tensor], object], seconds: float) -> None:
        self.function = function
        self.seconds = check_timeout(seconds)
        threads = partial(torch.set_num_threads, torch.get_num_threads())
        self._hands: Hands[None] = Hands("iqattack-model", lambda: None, begin=threads)

    def __call__(self, images: Tensor) -> object:
        """Call the function; TransientError if it takes too long."""
        try:
            return self._hands.run(partial(_scored, self.function, images), self.seconds)
        except LateError:
            raise TransientError(
                f"no answer within {self.seconds:g} s; raise --timeout if it may take longer"
            ) from None

    def __getattr__(self, name: str) -> Any:
        """What the function declares, such as a method `differentiable`."""
        if name.startswith("_") or name == "function":  # as when it is copied or unpickled
            raise AttributeError(name)
        return getattr(self.function, name)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.function, self.seconds)


def check_timeout(seconds: float, source: str = "") -> float:
    """Raise InputError for an invalid time limit. source: its origin, for the message."""
    if not 0.0 < seconds <= DAY_S:
        raise InputError(
            f"{source}{': ' if source else ''}timeout {seconds:g}: expected seconds, more than 0 "
            f"and at most a day ({DAY_S:g})"
        )
    return seconds


def _scored(function: Callable[[Tensor], object], images: Tensor, _hand: Hand[None]) -> object:
    with guest(), torch.no_grad():
        return function(images)
