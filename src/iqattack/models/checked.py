"""The one place where a model's answers are checked."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from iqattack.errors import InputError, IqattackError
from iqattack.models.base import Scorer


class ModelFailedError(InputError):
    """The model itself raised an exception, instead of answering."""


@dataclass
class Model:
    """A `Scorer` made of any function of images (N, 3, H, W) uint8 RGB that gives N numbers."""

    function: Callable[[Tensor], object]
    name: str
    score_range: tuple[float, float]
    lower_better: bool
    min_size: int = 1

    def __call__(self, images: Tensor) -> Tensor:
        """N raw scores, (N,) float64 on the CPU. Raises what `score_checked` does."""
        with torch.no_grad():
            return _call(self.function, self.name, self.min_size, images)


def score_checked(scorer: Scorer, images: Tensor) -> Tensor:
    """Scores (N,) float64 on the CPU of images (N, 3, H, W) uint8.

    A NaN or infinite score is passed on: only who knows the images' names can say whose it is.

    Raises InputError for images smaller than the model takes and an answer that is not N numbers,
    ModelFailedError, which is one, for anything that the model itself raises. Running out of memory
    is passed on as it is, because a smaller batch may do.
    """
    return _call(scorer, scorer.name, scorer.min_size, images)


def _call(function: Callable[[Tensor], object], name: str, min_size: int, images: Tensor) -> Tensor:
    check_size(name, min_size, images)
    try:
        answer = function(images)
    except (IqattackError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:  # a model must not end the program
        raise ModelFailedError(
            f"model '{name}' failed to score images: {one_line(error)}"
        ) from error
    return as_scores(answer, name, len(images))


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

    Takes tensors, arrays and sequences of shape (n,) or (n, 1, ...), and for one image a number.
    Raises InputError for anything else.
    """
    try:
        # A copy of arrays: torch takes none that are reversed, and warns of those not writable.
        scores = torch.as_tensor(answer.copy() if isinstance(answer, np.ndarray) else answer)
        if scores.is_complex():
            raise TypeError("complex numbers")
        scores = scores.detach().to("cpu", torch.float64)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"model '{name}' returned {type(answer).__name__} that is not numbers"
            f" for {n} images; expected {n} scores"
        ) from error
    if scores.numel() != n or (scores.ndim > 0 and scores.shape[0] != n):
        raise InputError(
            f"model '{name}' returned shape {tuple(scores.shape)} for {n} images;"
            f" expected {n} scores"
        )
    return scores.reshape(n)


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


def one_line(error: BaseException) -> str:
    """The exception's type and message on one line of readable length."""
    message = " ".join(str(error).split())
    if len(message) > 200:
        message = message[:197] + "..."
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def per_image(function: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """function of each image by itself: what it gives cannot depend on the rest of the batch."""
    scores = [function(image[None]).reshape(1) for image in images]
    return torch.cat(scores) if scores else images.new_zeros(0, dtype=torch.float64)
