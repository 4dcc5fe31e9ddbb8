"""Attacks by their specs: `NAME:option=value`, `FILE.py:name:option=value`, or one of a package."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from iqattack import plugins
from iqattack.attacks.contract import AnySearch, Attack, Gradient, SetAttack, Task
from iqattack.attacks.lifting import alone
from iqattack.attacks.options import (
    ATTACKED,
    Gradients,
    check_task,
    takes_gradients,
)
from iqattack.attacks.table import ATTACKS, AttackKind
from iqattack.errors import InputError
from iqattack.foreign import find_named
from iqattack.imports import absolute, option_texts, split
from iqattack.isolation import guest
from iqattack.options import check_given, code_of, parse_options

GIVEN = "function"  # what the spec of an attack begins with that was given as a Python function


@dataclass(frozen=True)
class Found:
    """A parsed spec. kind: the attack. given: its options as text. file: with its code."""

    kind: AttackKind
    given: str
    file: Path | None = None

    @property
    def options(self) -> dict[str, object]:
        """The given options, parsed; InputError for an unknown, invalid or missing one."""
        options = parse_options(self.kind.name, self.kind.function, self.given)
        check_given(self.kind.name, self.kind.function, options)
        return options


def find(spec: str) -> Found:
    """Find the attack that a spec names; InputError if it does not exist."""
    name, given = split(spec)
    if name in ATTACKS:
        return Found(ATTACKS[name], given)
    named = find_named("attack", spec, ATTACKS, "the attack's function")
    return Found(kind_of(named.value, named.name, named.source), named.given, named.file)


class Guest(Generator[Any, Any, Any]):
    """A search of a third-party attack; changes to the process state are undone after each step."""

    def __init__(self, search: Generator[Any, Any, Any]) -> None:
        self._search = search

    def send(self, value: Any) -> Any:
        """See `Generator`."""
        with guest():
            return self._search.send(value)

    def throw(self, *raised: Any) -> Any:
        """See `Generator`."""
        with guest():
            return self._search.throw(*raised)

    def close(self) -> None:
        """See `Generator`."""
        with guest():
            self._search.close()


def as_guest(attack: Attack, name: str) -> Attack:
    """A third-party attack, isolated by `Guest`. name: for messages."""
    lent: Any = partial(_search_of, attack)
    lent.__name__ = name
    found: Attack = lent
    return found


def _search_of(attack: Attack, task: Task) -> AnySearch:
    with guest():
        search = attack(task)
    return Guest(search) if isinstance(search, Generator) else search


def kind_of(function: object, name: str, source: str) -> AttackKind:
    """A third-party attack; InputError for anything that cannot be called with a task.

    A function may return a generator made by another function, so whether it returns one is only
    checked when it is called (see `guarded`).
    """
    if not callable(function) or _is_async(function):
        what = "an async function" if callable(function) else type(function).__name__
        raise InputError(
            f"attack '{name}' is {what}; expected a generator function of a Task, which yields "
            "candidates (N, 3, H, W) and is sent an Answer for them"
        )
    check_task(name, function)
    described = function.func if isinstance(function, partial) else function
    summary = (inspect.getdoc(described) or "no description").splitlines()[0]
    return AttackKind(name, summary, source, function)


def _is_async(function: Callable[..., object]) -> bool:
    code = code_of(function)
    return inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code)


def all_attacks() -> dict[str, AttackKind]:
    """The built-in attacks, and those of installed packages that can be imported, by name."""
    return dict(ATTACKS) | installed_attacks()[0]


def installed_attacks() -> tuple[dict[str, AttackKind], dict[str, str]]:
    """The attacks of installed packages, and the reasons why others cannot be used, by name.

    Attacks with the name of a built-in one are left out: the built-in attack takes precedence.
    """
    found: dict[str, AttackKind] = {}
    broken: dict[str, str] = {}
    for name in plugins.installed("iqattack.attacks"):
        if name in ATTACKS:
            continue
        try:
            found[name] = find(name).kind
        except InputError as error:
            broken[name] = str(error)
    return found, broken


def load_attack(spec: str, gradients: Callable[[str], Gradient] | None = None) -> Attack:
    """Load the attack on one image that a spec names, with its options.

    An attack on a set (see `is_of_set`) then takes the image for the whole set.

    gradients: returns the gradient function of a model, given its spec or `attacked` for the model
        under attack; for attacks that use gradients.

    Raises InputError for an unknown name, option or value, and whatever `gradients` raises.
    """
    found = find(spec)
    options = found.options
    for option, value in (found.kind.options | options).items():
        if gradients is not None and isinstance(value, Gradients):
            options[option] = replace(value, function=gradients(value.spec))
    attack = partial(found.kind.function, **options)
    if found.kind.name not in ATTACKS:
        return as_guest(attack, found.kind.name)
    attack.__name__ = found.kind.name  # type: ignore[attr-defined] # for messages
    return alone(attack) if found.kind.of_set else attack


def is_of_set(spec: str) -> bool:
    """Whether an attack is one on all images of a run together, whose searches depend on each
    other; decided from text alone, as in `is_white_box`.
    """
    kind = ATTACKS.get(split(spec)[0])
    return kind is not None and kind.of_set


def load_set_attack(spec: str) -> SetAttack:
    """Load the attack on a set that a spec names; InputError for an invalid option or value."""
    found = find(spec)
    attack: SetAttack = partial(found.kind.function, **found.options)
    return attack


def is_white_box(spec: str, model: str = ATTACKED) -> bool:
    """Whether an attack uses gradients of the attacked model, by default or through its options.

    model: spec of the attacked model; a substitute with the same spec counts as well.

    Decided from text alone, since a run is read without the files of its attack: for an attack that
    is not built in, only the given options are known.
    """
    name, given = split(spec)
    texts = option_texts(given)
    if name not in ATTACKS:
        return bool({ATTACKED, model}.intersection(texts.values()))
    kind = ATTACKS[name]
    texts = {option: str(value) for option, value in kind.options.items()} | texts
    return any(texts[option] in (ATTACKED, model) for option in takes_gradients(kind.function))


def labelled(spec: str, model: str = ATTACKED) -> str:
    """The spec as shown in tables, which marks attacks that are not black-box ones on `model`."""
    return f"{spec} (white-box)" if is_white_box(spec, model) else spec


def canonical_attack(spec: str) -> str:
    """The canonical form of a spec: options sorted, files as absolute paths.

    Raises InputError for an unknown name, option or value.

    >>> from iqattack.attacks import canonical_attack
    >>> canonical_attack("square:p_init=0.10,norm=linf")
    'square:norm=linf,p_init=0.10'
    """
    if split(spec)[0] == GIVEN:
        return spec
    found = find(spec)
    paths = {name: str(value) for name, value in _paths(found.options).items()}
    texts = sorted((option_texts(found.given) | paths).items())
    return ":".join(filter(None, (found.kind.name, ",".join(f"{k}={v}" for k, v in texts))))


def taken_files(spec: str) -> dict[str, Path]:
    """The files and folders that an attack uses, by option; `attack` is the file of its code."""
    if split(spec)[0] == GIVEN:
        return {}
    found = find(spec)
    own = {} if found.file is None else {"attack": found.file}
    return own | _paths(found.options)


def _paths(options: Mapping[str, object]) -> dict[str, Path]:
    """Those that are files or folders, as absolute paths."""
    paths = {name: value for name, value in options.items() if isinstance(value, Path)}
    return {name: absolute(path) for name, path in paths.items()}
