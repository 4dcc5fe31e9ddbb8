"""Checks of what code of other people returns in place of pixels, images and scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.defences.base import Answers, Pixels


class WrongReturnError(ValueError):
    """Code of somebody else's gave what it must not; the message goes on after its name."""


def checked_pixels(found: object, image: Tensor) -> Pixels:
    """What somebody else's code made of an image (3, H, W), as pixels (H', W', 3) uint8.

    Real numbers are rounded. WrongReturnError for another shape or type, and for grey levels that
    are not finite or not from 0 to 255.
    """
    if isinstance(found, Tensor):
        found = found.detach().cpu().numpy()
    if not isinstance(found, np.ndarray):
        raise WrongReturnError(
            f"returned {type(found).__name__}; expected pixels, an array (H, W, 3) of grey levels "
            "0 to 255"
        )
    if found.ndim != 3 or found.shape[2] != 3 or not found.size:
        raise WrongReturnError(
            f"returned shape {found.shape} for pixels of "
            f"{(*image.shape[1:], 3)}; expected (H, W, 3){_hint(found)}"
        )
    if found.dtype == np.uint8:
        return np.ascontiguousarray(found)
    if found.dtype.kind not in "iuf":
        raise WrongReturnError(
            f"returned dtype {found.dtype}; expected uint8, or other real numbers from 0 to 255"
        )
    if not np.isfinite(found).all():
        odd = found[~np.isfinite(found)].flat[0]
        raise WrongReturnError(
            f"returned pixels with {odd}; expected finite grey levels from 0 to 255"
        )
    low, high = float(found.min()), float(found.max())
    if not (low >= 0.0 and high <= 255.0):
        raise WrongReturnError(
            f"returned pixels from {low:g} to {high:g}; expected grey levels from 0 to 255: clip "
            "them"
        )
    if found.dtype.kind == "f" and high <= 1.0 < float(image.max()):
        raise WrongReturnError(
            f"returned pixels from {low:g} to {high:g} of an image up to {int(image.max())}; "
            "expected grey levels from 0 to 255: multiply by 255"
        )
    return np.rint(found).astype(np.uint8)


def _hint(found: NDArray[np.generic]) -> str:
    if found.ndim == 3 and found.shape[0] == 3:
        return ": channels come last, use .transpose(1, 2, 0)"
    if found.ndim == 2:
        return ": repeat a grey image for three channels"
    return ""


def checked_images(shown: object) -> None:
    """WrongReturnError for what no model can be shown: anything but images (N, 3, H, W) uint8."""
    what = type(shown).__name__
    if isinstance(shown, Tensor):
        what = f"{str(shown.dtype).removeprefix('torch.')} of shape {tuple(shown.shape)}"
        if shown.dtype == torch.uint8 and shown.ndim == 4 and shown.shape[1] == 3 and shown.numel():
            return
    raise WrongReturnError(
        f"shows the model {what}; expected images (N, 3, H, W) uint8, on the CPU"
    )


def checked_score(found: object, instead_of: str) -> float:
    """A score that somebody else's code gave; WrongReturnError for what is no finite number."""
    if isinstance(found, Tensor | np.ndarray) and found.ndim == 0:
        found = found.item()
    if isinstance(found, bool) or not isinstance(found, Real):
        raise WrongReturnError(
            f"returned {type(found).__name__} in place of {instead_of}; expected a number"
        )
    score = float(found)
    if not math.isfinite(score):
        raise not_finite(score, instead_of)
    return score


def not_finite(score: float, instead_of: str) -> WrongReturnError:
    """The error for a score that is not finite."""
    return WrongReturnError(f"returned {score} in place of {instead_of}; expected a finite number")


def checked_answers(found: object, number: int) -> Answers:
    """The answers for a number of images; WrongReturnError for what are none."""
    if not isinstance(found, Sequence | np.ndarray | Tensor) or isinstance(found, str):
        raise WrongReturnError(
            f"returned {type(found).__name__}; expected a list of {number} scores, one for each "
            "image"
        )
    if len(found) != number:
        raise WrongReturnError(
            f"returned {len(found)} scores for {number} images; expected one for each"
        )
    return [one if isinstance(one, Exception) else checked_score_or_nan(one) for one in found]


def checked_score_or_nan(found: object) -> float:
    """A score that need not be finite, as a model's may not be; errors as in `checked_score`."""
    if isinstance(found, float) and not math.isfinite(found):
        return found
    return checked_score(found, "a score")
