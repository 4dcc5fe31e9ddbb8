"""Options of attacks as text: `score-boundary:surfree=100,supports=edges+salient`.

An option is a keyword parameter of the attack's function; its annotation says what is allowed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from pydantic import AfterValidator, BeforeValidator, Field, TypeAdapter, ValidationError
from torch import Tensor

from iqattack.attacks.contract import Gradient
from iqattack.directions import read_profile
from iqattack.errors import InputError, unknown
from iqattack.images import ImageSet, read_image

Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Norm = Literal["linf", "l2"]


def _with_images(folder: Path) -> Path:
    for entry in ImageSet.from_folder(folder):
        read_image(entry.path)  # InputError where one is unusable, before anything is scored
    return folder.absolute()


ImageFolder = Annotated[Path, AfterValidator(_with_images)]


def _with_profile(path: Path) -> Path:
    read_profile(path.absolute())  # InputError where it is none, likewise
    return path.absolute()


ProfileFile = Annotated[Path, AfterValidator(_with_profile)]

ATTACKED = "attacked"  # in place of a spec: the model under attack itself


@dataclass(frozen=True)
class Gradients:
    """Gradients of a model that the attacker has, by its spec; `attacked` makes it white-box.

    Attacks know no models: `load_attack` puts the function in.
    """

    spec: str
    function: Gradient | None = None

    def __call__(self, images: Tensor) -> Tensor:
        """Gradients (N, 3, H, W) of raw scores; InputError where there is no function."""
        if self.function is None:
            raise InputError(f"gradients of '{self.spec}': not loaded, give them to load_attack")
        return self.function(images)

    def __str__(self) -> str:
        return self.spec


ModelOption = Annotated[Gradients, BeforeValidator(Gradients)]


def defaults(function: Callable[..., object]) -> dict[str, object]:
    """The options of an attack and their defaults; the task is none."""
    parameters = list(inspect.signature(function).parameters.values())[1:]
    return {parameter.name: parameter.default for parameter in parameters}


def takes_gradients(function: Callable[..., object]) -> set[str]:
    """The options of an attack that are models whose gradients it takes."""
    hints = get_type_hints(function, include_extras=True)
    return {
        name for name in defaults(function) if ModelOption in (hints[name], *get_args(hints[name]))
    }


def parse_options(attack: str, function: Callable[..., object], given: str) -> dict[str, object]:
    """Read `option=value,option=value` for an attack; InputError for what it does not take.

    The parts of a value that is a list are joined with +.
    """
    hints = get_type_hints(function, include_extras=True)
    known = defaults(function)
    options: dict[str, object] = {}
    for part in filter(None, given.split(",")):
        name, equals, value = part.partition("=")
        if name not in known:
            raise unknown(f"option of {attack}", name, known)
        if not equals:
            raise InputError(f"{attack}: option '{name}' has no value, expected {name}=VALUE")
        options[name] = _value(attack, name, value, hints[name])
    return options


def _value(attack: str, name: str, value: str, annotation: Any) -> object:
    if NoneType in get_args(annotation) and value.lower() == "none":
        return None
    parsed = tuple(value.split("+")) if get_origin(annotation) is tuple else value
    try:
        return TypeAdapter(annotation).validate_python(parsed)
    except ValidationError as error:
        reason = error.errors()[0]["msg"].removeprefix("Value error, ")
        raise InputError(f"{attack}: option {name}={value}: {reason}") from None
