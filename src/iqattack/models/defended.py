"""A model with defences before it, as one black box."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable
from dataclasses import replace

import torch
from torch import Tensor

from iqattack.defences import (
    Answers,
    Behind,
    Chain,
    checked_chain,
    files_of,
    is_built_in,
    label,
    parse_defence,
    parts_of,
)
from iqattack.errors import InputError
from iqattack.models.base import Scorer, Scores, Traits
from iqattack.models.checked import Model, answers

BY = ", defended by "  # in the name of a model, before what defends it
_SPEC = re.compile(r"defended\((.*?)\):(.+)", re.DOTALL)  # folders may have parentheses


class Defended:
    """Answers of a model through defences: images (N, 3, H, W) uint8 to N scores.

    model: any scorer. chain: of defences. key: of their random choices.
    """

    def __init__(self, model: Scorer, chain: Chain, key: int = 0) -> None:
        self.model, self.chain, self.key = model, chain, key
        self._behind = Behind(model.score_range or (0.0, 1.0), key)
        self._most = Traits.of(model).batch

    def __call__(self, images: Tensor) -> Scores:
        """Raw scores, or an exception in place of one that failed."""
        found = self.chain(images, self._ask, self._behind)
        if any(isinstance(answer, Exception) for answer in found):
            return found
        return torch.tensor(found, dtype=torch.float64)

    def _ask(self, images: Tensor) -> Answers:
        """In calls that the model takes."""
        batches = torch.split(images, self._most or max(len(images), 1))
        return [answer for batch in batches for answer in answers(self.model, batch)]

    def hold(self) -> None:
        """See `Model`."""
        self._call("hold")

    def close(self) -> None:
        """See `Model`."""
        self._call("close")

    def _call(self, name: str) -> None:
        method: Callable[[], None] | None = getattr(self.model, name, None)
        if method is not None:
            method()


def defend(model: Scorer, defence: str | Chain, *, key: int = 0) -> Model:
    """A model with defences before it: `defend(model, "jpeg:75+median:3")`.

    The first of several sees an image first. A query of such a model is one image, however often
    the model itself looks at versions of it; its notes say how often.

    defence: its spec, or what `parse_defence` made of it; `FILE.py:name` and `package.module:name`
        are defences of your own, see docs/defences.md.
    key: of the random choices of those that have any; they hang on it and on the pixels alone, so
        that every run is reproducible.

    Raises InputError for a defence that there is not.
    """
    chain = defence if isinstance(defence, Chain) else parse_defence(defence)
    inner = model.function if isinstance(model, Model) else None
    if isinstance(inner, Defended) and inner.key == key:  # one chain, and numbers of its own each
        both = Chain((*chain.defences, *inner.chain.defences))
        return defend(inner.model, checked_chain(both, both.spec), key=key)
    if model.score_range is None and any(one.tells for one in chain.defences):
        raise InputError(
            f"defence '{chain.spec}': tells scores in their range, which model '{model.name}' does "
            "not declare; give --score-range LO,HI"
        )
    traits = Traits.of(model)
    notes = traits.notes
    if chain.scored > 1:
        notes = (*notes, f"{label(chain)}: scores {chain.scored} versions of each image")
    own = replace(
        traits,
        spec=None if traits.spec is None else spec_of(chain.spec, traits.spec),
        files=tuple(dict.fromkeys((*traits.files, *files_of(chain)))),
        batch=None if traits.batch is None else max(traits.batch // chain.scored, 1),
        price=None if traits.price is None else traits.price * chain.scored,
        rate=None if traits.rate is None else traits.rate / chain.scored,
        notes=notes,
    )
    behind = {
        name: getattr(model, name)
        for name in ("input", "inference", "device")
        if hasattr(model, name)
    }
    return Model(
        Defended(model, chain, key),
        f"{model.name}{BY}{label(chain)}",
        model.score_range,
        model.lower_better,
        chain.smallest(model.min_size),
        traits=own,
        **behind,
    )


class _Fresh:
    """A defended model whose random choices are drawn anew in every call, with a key of its own."""

    def __init__(self, defended: Defended, first: int) -> None:
        self._defended = defended
        self._keys = itertools.count(first)

    def __call__(self, images: Tensor) -> Scores:
        """See `Defended`."""
        return Defended(self._defended.model, self._defended.chain, next(self._keys))(images)

    def hold(self) -> None:
        """See `Model`."""
        self._defended.hold()

    def close(self) -> None:
        """See `Model`."""
        self._defended.close()


def fresh(model: Scorer, *, first: int = 1) -> Scorer:
    """The same model, whose random defences draw anew in every call; another model as it is.

    first: key of the first call, each call having the next one. With a key of its own for each
    call, the choices that a search has seen (those of key 0, by default) do not come again.
    """
    inner = model.function if isinstance(model, Model) else None
    if not (isinstance(model, Model) and isinstance(inner, Defended) and inner.chain.random):
        return model
    return replace(model, function=_Fresh(inner, max(first, inner.key + 1)))


def judges(model: Scorer, defence: str | Chain, keys: Iterable[int]) -> list[Scorer]:
    """What scores a picture in truth, once an attack on a defended model is over.

    A defence that only tells other scores leaves the model's own. What is random is drawn anew with
    each of `keys`, as a picture that was kept for its score had luck with the draws that it saw.
    """
    chain = defence if isinstance(defence, Chain) else parse_defence(defence)
    kept = Chain(tuple(one for one in chain.defences if not one.tells))
    if not kept.defences:
        return [model]
    if not kept.random:
        return [defend(model, kept)]
    return [defend(model, kept, key=key) for key in keys]


def spec_of(defence: str, model: str) -> str:
    """The spec of a model with defences before it."""
    return f"defended({defence}):{model}"


def split_spec(spec: str) -> tuple[str, str] | None:
    """The defences and the model of such a spec; None for that of a model without any.

    InputError for one that begins as such and goes on otherwise.
    """
    if not spec.startswith("defended("):
        return None
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InputError(
            f"model '{spec}': expected defended(DEFENCE):MODEL, such as "
            "'defended(jpeg:75+median:3):builtin'; iqattack defences lists what there is"
        )
    return match[1], match[2]


def foreign_defences(spec: str) -> list[str]:
    """The defences in the spec of a model that are no part of the package, as text: code to import.

    What is no spec of a defended model has none.
    """
    found: list[str] = []
    while (match := _SPEC.fullmatch(spec)) is not None:
        found += [part for part in parts_of(match[1]) if not is_built_in(part)]
        spec = match[2]
    return found


def bare_spec(spec: str) -> str:
    """The spec of the model itself, behind all defences; what is no spec of one stays as it is."""
    while (match := _SPEC.fullmatch(spec)) is not None:
        spec = match[2]
    return spec
