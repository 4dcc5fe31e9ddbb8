"""Options of attacks as text: `score-boundary:surfree=100,supports=edges+salient`.

How they are read is in `iqattack.options`; here are the types that options of attacks have, and
those options in words.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from dataclasses import dataclass
from inspect import Parameter
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import AfterValidator, BeforeValidator, Field
from torch import Tensor

from iqattack.attacks.contract import Gradient
from iqattack.directions import read_profile, read_universal
from iqattack.errors import InputError
from iqattack.images import ImageSet, read_image
from iqattack.imports import absolute
from iqattack.options import REQUIRED, annotation_of, parameters_of
from iqattack.specs import text

Fraction = Annotated[float, Field(gt=0.0, le=1.0)]
Count = Annotated[int, Field(ge=0)]
CountFromOne = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Norm = Literal["linf", "l2"]


def _with_images(folder: Path) -> Path:
    for entry in ImageSet.from_folder(folder):
        read_image(entry.path)  # InputError where one is unusable, before anything is scored
    return absolute(folder)


ImageFolder = Annotated[Path, AfterValidator(_with_images)]


def _with_profile(path: Path) -> Path:
    path = absolute(path)
    if path.exists() and not path.is_file():  # a named pipe would block
        raise InputError(f"profile '{path}': is no file; expected one that iqattack profile wrote")
    read_profile(path)  # InputError where it is none, likewise
    return path


ProfileFile = Annotated[Path, AfterValidator(_with_profile)]


def _with_universal(path: Path) -> Path:
    path = absolute(path)
    read_universal(path)  # InputError where it is none, likewise
    return path


UniversalFile = Annotated[Path, AfterValidator(_with_universal)]

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


BUILT_IN = "built in"  # in place of a path of the package

# Type and range of what `_in_words` cannot derive.
_WORDS: tuple[tuple[Any, tuple[str, str]], ...] = (
    (bool, ("yes/no", "true | false")),
    (int, ("integer", "")),
    (float, ("number", "")),
    (str, ("text", "")),
    (Path, ("path", "")),
    (ImageFolder, ("folder of images", "")),
    (ProfileFile, ("file", "")),
    (UniversalFile, ("file", "")),
    (ModelOption, ("model", "as in --model")),
)


def check_task(attack: str, function: Callable[..., object]) -> None:
    """InputError for what cannot be called with a task and options by name."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise InputError(f"attack '{attack}': its parameters are unknown: {error}") from None
    positional = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
    if not parameters or parameters[0].kind not in (*positional, Parameter.VAR_POSITIONAL):
        raise InputError(
            f"attack '{attack}' takes no task; expected a function (task, option=default, …)"
        )
    for parameter in parameters[1:]:
        if parameter.kind is Parameter.POSITIONAL_ONLY and parameter.default is REQUIRED:
            raise InputError(
                f"attack '{attack}': '{parameter.name}' cannot be given by name; give it a default "
                "or move it behind the /"
            )


@dataclass(frozen=True)
class Form:
    """How an option is given, in words. default: None where it must be given."""

    name: str
    type: str
    default: str | None
    range: str


def forms(function: Callable[..., object], supplied: Collection[str] = ()) -> list[Form]:
    """The options of an attack; one whose annotation does not evaluate has no type.

    supplied: as in `parameters_of`.
    """
    return [_form(function, parameter) for parameter in parameters_of(function, supplied).values()]


def _form(function: Callable[..., object], parameter: Parameter) -> Form:
    default = None if parameter.default is REQUIRED else as_text(parameter.default)
    try:
        hint = annotation_of(function, parameter)
    except Exception:  # an annotation is code: it may raise anything
        return Form(parameter.name, "", default, "")
    kind, span = _in_words(hint)
    return Form(parameter.name, kind, default, span)


def _in_words(hint: Any) -> tuple[str, str]:
    """Type and range of an annotation: ('number', '0 < x ≤ 1'), ('choice', 'linf | l2')."""
    for known, words in _WORDS:
        if hint == known:
            return words
    inside = get_args(hint)
    if NoneType in inside:
        kind, span = _in_words(next(part for part in inside if part is not NoneType))
        return f"{kind} or none", span
    if get_origin(hint) is Literal:
        return "choice", " | ".join(map(str, inside))
    if get_origin(hint) in (tuple, list) and inside:
        kind, span = _in_words(inside[0])
        return f"{kind}s, joined with +", span
    if get_origin(hint) is Annotated:
        kind, span = _in_words(inside[0])
        bounds = [bound for part in inside[1:] for bound in getattr(part, "metadata", ())]
        return kind, _span(bounds) or span
    return getattr(hint, "__name__", str(hint)), ""


def _span(bounds: Collection[object]) -> str:
    """A range from pydantic's bounds, as text."""
    ends = {}
    for bound in bounds:
        for end in ("gt", "ge", "lt", "le"):
            if (value := getattr(bound, end, None)) is not None:
                ends[end] = f"{value:g}"
    low = f"{ends['gt']} < " if "gt" in ends else f"{ends['ge']} ≤ " if "ge" in ends else ""
    high = f" < {ends['lt']}" if "lt" in ends else f" ≤ {ends['le']}" if "le" in ends else ""
    if low and high:
        return f"{low}x{high}"
    if low:
        return f"> {ends['gt']}" if "gt" in ends else f"≥ {ends['ge']}"
    return high.strip()


def as_text(value: object) -> str:
    """A default as the command line would take it; of a file of the package, that it is one."""
    if isinstance(value, tuple | list):
        return "+".join(map(as_text, value))
    if isinstance(value, Path):
        return BUILT_IN
    if value is None or isinstance(value, bool):
        return str(value).lower()
    return text(value) if isinstance(value, float) else str(value)


def takes_gradients(function: Callable[..., object]) -> set[str]:
    """The options of an attack that are models whose gradients it takes."""
    hints = {
        name: annotation_of(function, option) for name, option in parameters_of(function).items()
    }
    return {name for name, hint in hints.items() if ModelOption in (hint, *get_args(hint))}
