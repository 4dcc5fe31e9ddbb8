"""The one place where a model's answers are checked."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from iqattack.errors import InputError, IqattackError, NotSentError, TransientError, one_line
from iqattack.isolation import guest
from iqattack.models.base import Scorer, Scores, Traits
from iqattack.models.inference import EAGER, Inference


class ModelFailedError(InputError):
    """The model itself raised an exception, or returned one, instead of a score.

    transient: whether a later retry may succeed. retry_after, billed: as in `TransientError`.
    """

    def __init__(
        self,
        message: str,
        *,
        transient: bool = False,
        retry_after: float | None = None,
        billed: bool = False,
    ) -> None:
        super().__init__(message)
        self.transient = transient
        self.retry_after = retry_after
        self.billed = billed

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), self.args, self.__dict__


class WrongAnswerError(InputError):
    """The model's answer is not one score per image."""


ONE_IMAGE = "use --input single, or numpy,nhwc,single for an array (H, W, 3)"

# Base classes of what network libraries raise, by name, as those libraries may be absent:
# requests, urllib3, httpx, aiohttp, http.client, openai.
TRANSIENT = frozenset(
    {"Timeout", "TimeoutError", "TimeoutException", "ConnectionError", "TransportError"}
    | {"NewConnectionError", "ClientConnectionError", "ServerTimeoutError", "ProtocolError"}
    | {"ChunkedEncodingError", "IncompleteRead", "APIConnectionError", "RateLimitError"}
)


def is_transient(error: BaseException) -> bool:
    """Whether an exception of a model is a timeout or a lost connection."""
    reason = getattr(error, "reason", None)  # of urllib's URLError
    return any(
        isinstance(one, TransientError | socket.gaierror)
        or not TRANSIENT.isdisjoint(kind.__name__ for kind in type(one).__mro__)
        for one in (error, reason)
    )


def seconds_or_none(value: object) -> float | None:
    """The waiting time in an exception, if it is valid."""
    try:
        seconds = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return seconds if math.isfinite(seconds) and seconds >= 0.0 else None


@dataclass
class Model:
    """A `Scorer` made from any function of images (N, 3, H, W) uint8 RGB that returns N numbers.

    input: the text of its input convention, if one was given. inference: how torch runs it. device:
    on which it was loaded.
    """

    function: Callable[[Tensor], object]
    name: str
    score_range: tuple[float, float]
    lower_better: bool
    min_size: int = 1
    input: str | None = None
    traits: Traits = field(default_factory=Traits)
    inference: Inference = EAGER
    device: str = "cpu"

    def __call__(self, images: Tensor) -> Scores:
        """N raw scores, (N,) float64 on the CPU; errors as in `answers`."""
        with torch.no_grad():
            found = answers(self, images, self.function)
        if any(isinstance(answer, Exception) for answer in found):
            return found
        return torch.tensor(found, dtype=torch.float64)

    def hold(self) -> None:
        """Let waiting calls return now; see `NotSentError`."""
        hold = getattr(self.function, "hold", None)
        if hold is not None:
            hold()

    def close(self) -> None:
        """Close the model's connections and processes."""
        close = getattr(self.function, "close", None)
        if close is not None:
            close()


def answers(
    scorer: Scorer, images: Tensor, function: Callable[[Tensor], object] | None = None
) -> list[float | Exception]:
    """A scorer's answers for images (N, 3, H, W) uint8: a score or an exception for each.

    Non-finite scores are passed on, since only the caller knows the images' names.

    Raises InputError for images smaller than the model accepts, WrongAnswerError for an answer that
    is not one score per image, and its subclass ModelFailedError for anything that the model itself
    raises. Running out of memory is passed on unchanged, because a smaller batch may succeed.
    """
    check_size(scorer.name, scorer.min_size, images)
    try:
        if function is None and isinstance(scorer, Model):
            answer: object = scorer(images)  # which comes here again, with its function
        else:
            with guest():
                answer = (function or scorer)(images)
    except (IqattackError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # a model must not end the program
        raise as_failure(scorer.name, error) from error
    if isinstance(answer, list) and any(isinstance(a, Exception) for a in answer):
        if len(answer) != len(images):
            raise WrongAnswerError(
                f"model '{scorer.name}' returned {len(answer)} answers for "
                f"{_several(len(images), 'image')}; expected a score or an exception for each"
            )
        return [
            as_failure(scorer.name, one)
            if isinstance(one, Exception)
            else float(as_scores(one, scorer.name, 1))
            for one in answer
        ]
    return list(as_scores(answer, scorer.name, len(images)).tolist())


def as_failure(name: str, error: BaseException) -> Exception:
    """An exception of a model as one of ours."""
    if isinstance(error, InputError | NotSentError | MemoryError | torch.OutOfMemoryError):
        return error
    own = isinstance(error, TransientError) and str(error)  # its words are for people
    return ModelFailedError(
        f"model '{name}': {error}"
        if own
        else f"model '{name}' failed to score images: {one_line(error)}",
        transient=is_transient(error),
        retry_after=seconds_or_none(getattr(error, "retry_after", None)),
        billed=bool(getattr(error, "billed", False)),
    )


def score_checked(scorer: Scorer, images: Tensor) -> Tensor:
    """Scores (N,) float64 on the CPU of images (N, 3, H, W) uint8; raises what `answers` does.

    An exception in place of a score is raised.
    """
    found = answers(scorer, images)
    for answer in found:
        if isinstance(answer, Exception):
            raise answer
    return torch.tensor(found, dtype=torch.float64)


def check_size(name: str, min_size: int, images: Tensor) -> None:
    """InputError for images (N, 3, H, W) that are smaller than a model takes."""
    height, width = images.shape[-2:]
    if min(height, width) < min_size:
        raise InputError(
            f"model '{name}': an image of {width}×{height} pixels is too small;"
            f" expected at least {min_size}×{min_size}"
        )


def as_scores(answer: object, name: str, n: int) -> Tensor:
    """What a model returned for n images as (n,) float64 on the CPU.

    Accepts tensors, arrays and lists of shape (n,) or (n, 1, ...), and a number for one image.
    Raises WrongAnswerError for anything else.
    """
    if isinstance(answer, Mapping):
        keys = ", ".join(map(repr, list(answer)[:5]))
        raise WrongAnswerError(
            f"model '{name}' returned a mapping with {keys}; expected {_several(n)}: return the "
            "value that is the score"
        )
    if isinstance(answer, tuple):  # (scores, deviations), (score, map): whose length means nothing
        raise WrongAnswerError(
            f"model '{name}' returned a tuple of {len(answer)}; expected {_several(n)}, as a list, "
            "an array or a tensor: return the part that is the score"
        )
    try:
        # Python's floats have 64 bits, which torch does not keep unless it is asked to.
        dtype = torch.float64 if isinstance(answer, float | list | tuple) else None
        # A copy of arrays: torch takes none that are reversed, and warns of those not writable.
        copied = answer.copy() if isinstance(answer, np.ndarray) else answer
        scores = torch.as_tensor(copied, dtype=dtype)
        if scores.is_complex():
            raise TypeError("complex numbers")
        scores = scores.detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise WrongAnswerError(
            f"model '{name}' returned {_kind_of(answer)} that is not numbers"
            f" for {_several(n, 'image')}; expected {_several(n)}"
        ) from error
    if scores.numel() != n or (scores.ndim > 0 and scores.shape[0] != n):
        hint = f"; if it takes one image, {ONE_IMAGE}" if scores.numel() == 1 else ""
        raise WrongAnswerError(
            f"model '{name}' returned shape {tuple(scores.shape)} for {_several(n, 'image')};"
            f" expected {_several(n)}{hint}"
        )
    return scores.reshape(n)


def _kind_of(answer: object) -> str:
    """The type of an answer, or of the first non-number in a list of answers."""
    answers = answer if isinstance(answer, list) else []
    odd = (one for one in answers if not isinstance(one, Number))
    return type(next(odd, answer)).__name__


def _several(n: int, what: str = "score") -> str:
    return f"{n} {what}{'' if n == 1 else 's'}"


def check_range(score_range: object, name: str) -> tuple[float, float]:
    """The score range as two floats; InputError unless finite and the lower first."""
    try:
        lo, hi = (float(end) for end in score_range)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        lo = hi = math.nan
    if not (math.isfinite(lo) and math.isfinite(hi) and lo < hi):
        raise InputError(
            f"model '{name}': score range {score_range!r}:"
            " expected two finite numbers, the lower first"
        )
    return lo, hi


def per_image(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Apply a function to each image alone, so that its result cannot depend on the batch."""
    scores = [function(image[None]).reshape(1) for image in images]
    return torch.cat(scores) if scores else images.new_zeros(0, dtype=torch.float64)
