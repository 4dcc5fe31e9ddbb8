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

BY = ", defended by "  # in the name of a model, before its defence
_SPEC = re.compile(r"defended\((.*?)\):(.+)", re.DOTALL)  # folders may have parentheses


class Defended:
    """A model behind defences: images (N, 3, H, W) uint8 to N scores.

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
        """Query the model in calls that it accepts."""
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
    """Put defences before a model, to make one black box of both.

    model: a loaded model. defence: a spec, such as `jpeg:75+median:3`, of which the leftmost sees
    the image first, or the result of `parse_defence`; `FILE.py:name` and `package.module:name` are
    your own defences, see docs/defences.md. key: of random choices, which depend only on it and on
    the pixels, so that every run is reproducible. A query is one image, no matter how many versions
    of it the model scores; the notes of the model give that number.

    Raises InputError for an unknown defence, and for one that changes scores within their range
    before a model that declares none.

    >>> import iqattack
    >>> model = iqattack.defend(iqattack.load_model("builtin"), "jpeg:75+median:3")
    >>> model.name, model.score_range
    ('builtin, defended by jpeg:75+median:3', (0.0, 100.0))
    """
    chain = defence if isinstance(defence, Chain) else parse_defence(defence)
    inner = model.function if isinstance(model, Model) else None
    if isinstance(inner, Defended) and inner.key == key:  # one chain, and numbers of its own each
        both = Chain((*chain.defences, *inner.chain.defences))
        return defend(inner.model, checked_chain(both, both.spec), key=key)
    if model.score_range is None and any(one.tells for one in chain.defences):
        raise InputError(
            f"defence '{chain.spec}': changes scores within their range, which model "
            f"'{model.name}' does not declare; give --score-range LO,HI"
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
        drawn=traits.drawn or chain.random,
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
    """A defended model whose random choices are drawn anew in every call, with a new key."""

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
    """The same model, whose random defences draw anew in every call; any other model unchanged.

    first: key of the first call; each call uses the next key. Therefore the choices that a search
    has seen (by default those of key 0) do not recur.
    """
    inner = model.function if isinstance(model, Model) else None
    if not (isinstance(model, Model) and isinstance(inner, Defended) and inner.chain.random):
        return model
    return replace(model, function=_Fresh(inner, max(first, inner.key + 1)))


def judges(model: Scorer, defence: str | Chain, keys: Iterable[int]) -> list[Scorer]:
    """Unbiased judges of a picture after an attack on a defended model.

    A defence that only changes the reported scores is removed. Random choices are drawn anew with
    each of `keys`, since a picture that was selected for its score was lucky with the draws that it
    saw.
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
    """The defences and the model of a spec; None for a model without defences.

    InputError for a spec that begins like one, but is malformed.
    """
    if not spec.startswith("defended("):
        return None
    match = _SPEC.fullmatch(spec)
    if match is None:
        raise InputError(
            f"model '{spec}': expected defended(DEFENCE):MODEL, such as "
            "'defended(jpeg:75+median:3):builtin'; run iqattack defences for a list"
        )
    return match[1], match[2]


def foreign_defences(spec: str) -> list[str]:
    """The defences in a model's spec that are not part of the package, as text: code to import.

    Empty for any other spec.
    """
    found: list[str] = []
    while (match := _SPEC.fullmatch(spec)) is not None:
        found += [part for part in parts_of(match[1]) if not is_built_in(part)]
        spec = match[2]
    return found


def bare_spec(spec: str) -> str:
    """The spec of the model itself, without defences; any other spec unchanged."""
    while (match := _SPEC.fullmatch(spec)) is not None:
        spec = match[2]
    return spec
