"""Gradients of models that are more than black boxes, for transfer and white-box attacks.

Such a model has a method `differentiable`: raw scores (N,) with their graph, of images
(N, 3, H, W) float32 grey levels 0..255.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import torch
from torch import Tensor

from iqattack.errors import InputError, one_line
from iqattack.isolation import guest
from iqattack.models.base import Scorer
from iqattack.models.checked import check_size

MODEL_LOCK = threading.RLock()
"""Held while a model scores or is differentiated here: few models may do both at once."""


def gradient_of(scorer: Scorer) -> Callable[[Tensor], Tensor]:
    """A function from images (N, 3, H, W) float32 on the CPU to gradients of raw scores, of the
    same kind.

    Non-finite values become 0. Raises InputError for a model without gradients; the function raises
    it for an image that is too small or a model that fails.
    """
    score: Callable[[Tensor], Tensor] | None = getattr(
        getattr(scorer, "function", scorer), "differentiable", None
    )
    if score is None:
        raise InputError(
            f"model '{scorer.name}' has no gradients, which are needed here; expected builtin, "
            "cnniqa, a metric of pyiqa, a torch module, a function of tensors of floats (input "
            "float01, float255 or imagenet), or a method differentiable(images)"
        )

    def gradient(images: Tensor) -> Tensor:
        check_size(scorer.name, scorer.min_size, images)
        with MODEL_LOCK, torch.inference_mode(False), torch.enable_grad():
            images = images.detach().clone().requires_grad_()
            try:
                with guest():
                    (found,) = torch.autograd.grad(score(images).sum(), images)
            except RuntimeError as error:
                raise InputError(
                    f"model '{scorer.name}' failed to give gradients: {one_line(error)}"
                ) from error
        return torch.nan_to_num(found, posinf=0.0, neginf=0.0)

    return gradient
