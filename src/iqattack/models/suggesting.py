"""For a user's model that fails on what it is given: the `--input` with which it does not."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch import Tensor

from iqattack.errors import InputError
from iqattack.models.callable import UserModel
from iqattack.models.checked import Model
from iqattack.models.inputs import Input
from iqattack.models.time_limit import TimeLimited

# In the order in which they are told; the more usual of two that would do stands first.
CONVENTIONS = (
    "float01",
    "numpy",
    "numpy,nhwc,single",
    "numpy,nhwc",
    "float01,nhwc",
    "float01,numpy,nhwc,single",
    "single",
    "float01,single",
    "numpy,single",
    "pil",
    "path",
    "grey",
    "float01,grey",
    "numpy,nhwc,grey,single",
    "float01,numpy",
    *(f"{values}size={size}" for size in (224, 256, 299, 384, 512) for values in ("float01,", "")),
)


def suggestion(model: object, image: Tensor | None = None) -> str:
    """For a user's function that fails on images: the `--input` with which it does not.

    model: a `Loaded`, or the `Model` of one. image: (3, H, W) uint8 that it failed on; by default
    one of noise. Starts with a semicolon, and is empty where there is nothing to say.
    """
    user = getattr(model, "function", model) if isinstance(model, Model | TimeLimited) else model
    user = user.function if isinstance(user, TimeLimited) else user
    if not isinstance(user, UserModel):
        return ""
    if image is None:
        image = torch.randint(256, (3, 96, 128), generator=torch.Generator().manual_seed(0)).byte()
    # Three that differ, and one alone: a function of one image would take a batch of one for it,
    # and a pair of a score and a deviation would do for two.
    images = torch.stack([image, image.flip(2), image.flip(1)])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if user.works_with(user.convention, images):
            return ""
        tried = (
            Input.parse(text).over(user.convention) for text in CONVENTIONS if _fits(text, user)
        )
        text = next((t.text for t in tried if user.works_with(t, images)), None)
    if text is None:
        return ""
    trained = " (imagenet instead of float01, if it was trained so)" if "float01" in text else ""
    return (
        f"; given images as {user.convention.text or 'uint8 (N, 3, H, W)'} it fails, "
        f"it returns scores with --input {text}{trained}"
    )


def _fits(text: str, user: UserModel) -> bool:
    """Whether terms make sense on top of those that a model was given."""
    try:
        Input.parse(text).over(user.convention).check(text)
    except InputError:
        return False
    return True
