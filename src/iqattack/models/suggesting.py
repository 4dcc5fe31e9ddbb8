"""For a user's model that fails on its input: an `--input` with which it works."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from iqattack.errors import InputError
from iqattack.models.callable import UserModel
from iqattack.models.inputs import Input

# The more common of two that work comes first.
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


TRIAL = 4  # images that a trial of a convention sends, at most


def user_model(model: object) -> UserModel | None:
    """The user's function behind a model, whatever is around it; None for other kinds."""
    while not isinstance(model, UserModel):
        model = getattr(model, "function", None)
        if model is None:
            return None
    return model


def candidates(given: Input) -> list[Input]:
    """Conventions that make sense, each once, those that keep what was given first."""
    usual = [Input.parse(text) for text in CONVENTIONS]
    found = dict.fromkeys([*(one.over(given) for one in usual), *usual])
    return [convention for convention in found if convention != given and _fits(convention)]


def works(
    user: UserModel,
    convention: Input,
    image: Tensor,
    sends: Callable[[int], None] = lambda _images: None,
) -> bool:
    """Whether a function scores an image (3, H, W) uint8 and others like it under a convention.

    Three that differ, and one alone: a function of one image would take a batch of one for it, and
    a pair of a score and a deviation would do for two. sends: is notified of how many are sent.
    """
    images = torch.stack([image, image.flip(2), image.flip(1)])
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for batch in (images, images[:1]):
            sends(len(batch))
            if not user.works_with(convention, batch):
                return False
    return True


def suggestion(model: object, image: Tensor | None = None) -> str:
    """For a user's function that fails on images: an `--input` with which it works.

    model: a `Loaded`, or the `Model` of one. image: (3, H, W) uint8 that it failed on; by default
    one of noise. Starts with a semicolon, and is empty where there is nothing to say.
    """
    user = user_model(model)
    if user is None:
        return ""
    if image is None:
        image = torch.randint(256, (3, 96, 128), generator=torch.Generator().manual_seed(0)).byte()
    given = user.convention
    if works(user, given, image):
        return ""
    text = next((one.text for one in candidates(given) if works(user, one, image)), None)
    if text is None:
        return ""
    trained = " (imagenet instead of float01, if it was trained so)" if "float01" in text else ""
    return (
        f"; given images as {given.text or 'uint8 (N, 3, H, W)'} it fails, "
        f"it returns scores with --input {text}{trained}"
    )


def _fits(convention: Input) -> bool:
    try:
        convention.check(convention.text or "")
    except InputError:
        return False
    return True
