"""The `--input` that a model was given, what a probe adds to it, and another where it fails."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

import torch

from iqattack.errors import InputError
from iqattack.models import Input, Model, TimeLimited
from iqattack.models.base import Loaded
from iqattack.models.callable import UserModel
from iqattack.models.suggesting import CONVENTIONS
from iqattack.probing.session import Session


def given(model: Loaded) -> Input:
    """The convention that a model was loaded with."""
    return Input.parse(getattr(model, "input", None))


def option(model: Loaded, added: Input) -> str:
    """`--input` with what is added to what was given."""
    return f"--input {added.over(given(model)).text}"


def working(session: Session, image: torch.Tensor) -> Model | None:
    """A user's function with a convention under which it scores (3, H, W) uint8, if there is one.

    The usual conventions are tried, with the terms that were given and without them, for as long as
    queries are left.
    """
    model = session.model
    function = getattr(model, "function", None)
    user = function.function if isinstance(function, TimeLimited) else function
    if not isinstance(model, Model) or not isinstance(user, UserModel):
        return None
    # Two that differ: a function of one image would take a batch of one for it.
    images = torch.stack([image, image.flip(2)])
    for convention in _candidates(given(model)):
        if session.left < len(images):
            return None
        session.queries += len(images)
        if user.works_with(convention, images):
            found = copy(user)
            found.convention = convention
            kept = function.seconds if isinstance(function, TimeLimited) else None
            return replace(
                model,
                function=found if kept is None else TimeLimited(found, kept),
                input=convention.text,
            )
    return None


def _candidates(given: Input) -> list[Input]:
    """Conventions that make sense, each once, those that keep what was given first."""
    usual = [Input.parse(text) for text in CONVENTIONS]
    found = []
    for convention in dict.fromkeys([*(one.over(given) for one in usual), *usual]):
        try:
            convention.check(convention.text or "")
        except InputError:
            continue
        if convention != given:
            found.append(convention)
    return found
