"""A model's `--input`, what a probe adds to it, and an alternative if it fails."""

from __future__ import annotations

from copy import copy
from dataclasses import replace

from torch import Tensor

from iqattack.models import Input, Model, TimeLimited
from iqattack.models.base import Loaded
from iqattack.models.suggesting import TRIAL, candidates, user_model, works
from iqattack.probing.session import Session


def given(model: Loaded) -> Input:
    """The convention that a model was loaded with."""
    return Input.parse(getattr(model, "input", None))


def option(model: Loaded, added: Input) -> str:
    """`--input` with the added terms."""
    return f"--input {added.over(given(model)).text}"


def working(session: Session, image: Tensor) -> Model | None:
    """A user's function with a convention under which it scores (3, H, W) uint8, if there is one.

    Tries the usual conventions, with and without the given terms, while queries are left.
    """
    model = session.model
    user = user_model(model)
    if not isinstance(model, Model) or user is None:
        return None
    for convention in candidates(given(model)):
        if session.left < TRIAL:
            return None
        if works(user, convention, image, session.count):
            found = copy(user)
            found.convention = convention
            limit = model.function.seconds if isinstance(model.function, TimeLimited) else None
            function = found if limit is None else TimeLimited(found, limit)
            return replace(model, function=function, input=convention.text)
    return None
