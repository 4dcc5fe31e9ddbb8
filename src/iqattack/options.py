"""Options as text, `option=value,option=value`, of functions that other people write.

An option is a keyword parameter of a function; its annotation says what is allowed. Without one,
the type of the default does; a function with `**options` takes any, as text.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import partial
from inspect import Parameter
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

from pydantic import TypeAdapter, ValidationError

from iqattack.errors import InputError, first_fault, one_line, unknown

REQUIRED = Parameter.empty  # in place of a default


def parameters_of(
    function: Callable[..., object], supplied: Collection[str] = ()
) -> dict[str, Parameter]:
    """The options of a function, by name.

    Its first parameter is none: the task of an attack, the image of a defence. supplied: names of
    others that it is called with in any case.
    """
    parameters = list(inspect.signature(function).parameters.values())[1:]
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return {p.name: p for p in parameters if p.kind in named and p.name not in supplied}


def defaults(function: Callable[..., object], supplied: Collection[str] = ()) -> dict[str, object]:
    """The options of a function and their defaults, REQUIRED for one that must be given."""
    return {name: option.default for name, option in parameters_of(function, supplied).items()}


def check_given(
    name: str,
    function: Callable[..., object],
    given: Collection[str],
    *,
    kind: str = "attack",
    supplied: Collection[str] = (),
) -> None:
    """InputError where an option without a default is not among those that are given.

    name, kind: of the function, for messages.
    """
    for option, default in defaults(function, supplied).items():
        if default is REQUIRED and option not in given:
            raise InputError(
                f"{kind} '{name}': option '{option}' has no default; give {name}:{option}=VALUE"
            )


def parse_options(
    owner: str, function: Callable[..., object], given: str, supplied: Collection[str] = ()
) -> dict[str, object]:
    """Read `option=value,option=value` for a function; InputError for what it does not take.

    owner: what the function is called. The parts of a value that is a list are joined with +.
    """
    known = parameters_of(function, supplied)
    every = list(inspect.signature(function).parameters.values())
    open_ended = any(p.kind is Parameter.VAR_KEYWORD for p in every)
    options: dict[str, object] = {}
    for part in filter(None, given.split(",")):
        name, equals, value = part.partition("=")
        if name not in known and (not open_ended or name in (every[0].name, *supplied)):
            if not known:
                raise InputError(f"{owner}: unknown option '{name}', it has none of that name")
            raise unknown(f"option of {owner}", name, known)
        if not equals:
            raise InputError(f"{owner}: option '{name}' has no value, expected {name}=VALUE")
        try:
            hint = annotation_of(function, known[name]) if name in known else str
        except Exception as error:  # an annotation is code: it may raise anything
            raise InputError(
                f"{owner}: option {name}: its annotation does not evaluate: {one_line(error)}"
            ) from error
        options[name] = _value(owner, name, value, hint)
    return options


def annotation_of(function: Callable[..., object], option: Parameter) -> Any:
    """What an option may be; raises whatever its annotation does.

    Each is evaluated on its own: others may name what is imported for type checkers alone.
    """
    if option.annotation is Parameter.empty:
        return _type_of(option.default)

    def holder() -> None: ...

    holder.__annotations__ = {option.name: option.annotation}
    names = getattr(code_of(function), "__globals__", {})
    return get_type_hints(holder, globalns=names, include_extras=True)[option.name]


def _type_of(default: object) -> Any:
    if isinstance(default, tuple | list) and default:
        return tuple[type(default[0]), ...]  # type: ignore[misc]
    known = (bool, int, float, Path)  # bool is an int, too
    return next((kind for kind in known if isinstance(default, kind)), str)


def code_of(function: Callable[..., Any]) -> Callable[..., Any]:
    """What runs when it is called: behind decorators, `partial`, and an object's `__call__`."""
    while isinstance(function, partial):
        function = function.func
    if not inspect.isroutine(function) and not inspect.isclass(function):
        function = type(function).__call__
    code: Callable[..., Any] = inspect.unwrap(function)
    return code


def _value(owner: str, name: str, value: str, annotation: Any) -> object:
    if NoneType in get_args(annotation) and value.lower() == "none":
        return None
    parsed = tuple(value.split("+")) if get_origin(annotation) in (tuple, list) else value
    try:
        return TypeAdapter(annotation).validate_python(parsed)
    except ValidationError as error:
        _, reason = first_fault(error)
        raise InputError(f"{owner}: option {name}={value}: {reason}") from None
    except InputError:
        raise
    except Exception as error:  # a type of somebody else's, or none at all
        raise InputError(
            f"{owner}: option {name}={value}: cannot be given as text: {one_line(error)}"
        ) from error
