"""Defences that other people write: `FILE.py:name`, `package.module:name`, or one of a package.

A name is that of a function of an image's pixels, or of a class derived from `Purifier`,
`Randomised`, `Reshaping` or `Defence`. Whatever it gives is checked here, image by image.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ConfigDict, TypeAdapter, ValidationError
from torch import Tensor

from iqattack.catalogue.defences import DEFENCES
from iqattack.defences.base import (
    TOGETHER,
    Answers,
    Ask,
    Behind,
    Chain,
    Defence,
    Passes,
    Pixels,
    Purifier,
    Randomised,
    Reshaping,
)
from iqattack.defences.naming import label_of, parts_of, with_options
from iqattack.defences.returned import (
    WrongReturnError,
    checked_answers,
    checked_images,
    checked_pixels,
    checked_score,
    not_finite,
)
from iqattack.errors import InputError, first_fault, one_line, unknown
from iqattack.foreign import Named, find_named
from iqattack.imports import absolute, option_texts, split
from iqattack.isolation import guest
from iqattack.options import REQUIRED, check_given, code_of, parameters_of, parse_options

RNG = "rng"  # the parameter by which a function is random
PASSES = "passes"  # the option that every random function has
KINDS_OF_CLASS = "Purifier, Randomised, Reshaping or Defence of iqattack.defences"
T = TypeVar("T")


@dataclass(frozen=True)
class Lent(Behind):
    """What a defence of somebody else's knows of the model behind it.

    label: that its random choices hang on, whatever it calls itself.
    """

    label: str = ""

    def chance(self, image: Tensor, spec: str) -> np.random.Generator:  # noqa: ARG002
        """See `Behind`."""
        return super().chance(image, self.label)


class FunctionPurifier(Purifier):
    """A function of pixels (H, W, 3) uint8 that returns pixels."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: ClassVar[str] = "function"
    function: Callable[..., Any]
    options: dict[str, Any]

    def purified(self, pixels: Pixels) -> NDArray[np.generic]:
        """See `Purifier`."""
        found: NDArray[np.generic] = self.function(pixels, **self.options)
        return found


class RandomFunction(Randomised):
    """A function of pixels (H, W, 3) uint8 and a generator `rng` that returns pixels."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    name: ClassVar[str] = "function"
    function: Callable[..., Any]
    options: dict[str, Any]

    def version(self, image: Tensor, rng: np.random.Generator) -> Tensor:
        """See `Randomised`."""
        found = self.function(_array(image), rng=rng, **self.options)
        return _tensor(checked_pixels(found, image))


class Own(Defence):
    """A defence that somebody else wrote, and the check of what it gives.

    inner: it. written: its spec, with absolute paths. files: that it depends on. What fails on an
    image is an InputError in the place of that image's score.
    """

    name: ClassVar[str] = "own"
    inner: Defence
    written: str
    files: tuple[Path, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        return load_own, (self.written,)  # its code is no module that another process can import

    @property
    def label(self) -> str:
        """What it is called in names of models."""
        return label_of(self.written)

    @property
    def spec(self) -> str:
        """See `Defence`."""
        return self.written

    @property
    def random(self) -> bool:  # type: ignore[override]
        """See `Defence`."""
        return self.inner.random

    @property
    def tells(self) -> bool:  # type: ignore[override]
        """See `Defence`."""
        return self.inner.tells

    @property
    def scored(self) -> int:
        """See `Defence`."""
        return self._whole_number("scored", lambda: self.inner.scored)

    def smallest(self, min_size: int) -> int:
        """See `Defence`."""
        return self._whole_number("smallest", lambda: self.inner.smallest(min_size))

    def __call__(self, images: Tensor, ask: Ask, behind: Behind) -> Answers:
        """See `Defence`."""
        lent = Lent(behind.score_range, behind.key, behind.place, self.label)
        inner = self.inner
        if isinstance(inner, Purifier) and _is_usual(inner, Purifier.__call__):
            return self._purified(inner, images, ask)
        if isinstance(inner, Randomised) and _is_usual(inner, Randomised.__call__):
            return [self._averaged(inner, image, ask, lent) for image in images]
        if isinstance(inner, Reshaping) and _is_usual(inner, Reshaping.__call__):
            pairs = zip(images, ask(images), strict=True)
            return [self._reshaped(inner, image, answer, lent) for image, answer in pairs]
        return self._whole(images, ask, lent)

    def _purified(self, inner: Purifier, images: Tensor, ask: Ask) -> Answers:
        """Each image purified by itself; those of one size are asked about together."""
        found: Answers = [0.0] * len(images)
        of_size: dict[tuple[int, ...], list[tuple[int, Tensor]]] = {}
        for number, image in enumerate(images):
            changed = self._tried(partial(_purified_by, inner, image))
            if isinstance(changed, Exception):
                found[number] = changed
            else:
                of_size.setdefault(tuple(changed.shape), []).append((number, changed))
        for pairs in of_size.values():
            answers = ask(torch.stack([changed for _, changed in pairs]))
            for (number, _), answer in zip(pairs, answers, strict=True):
                found[number] = answer
        return found

    def _averaged(
        self, inner: Randomised, image: Tensor, ask: Ask, lent: Lent
    ) -> float | Exception:
        """The score of an image by its random versions."""
        rng = lent.chance(image, self.label)
        scores: list[float] = []
        for first in range(0, inner.passes, TOGETHER):
            number = min(TOGETHER, inner.passes - first)
            versions = self._tried(partial(_versions, inner, image, rng, number))
            if isinstance(versions, Exception):
                return versions
            for answer in ask(versions):
                if isinstance(answer, Exception):
                    return answer
                scores.append(answer)
        if not np.isfinite(scores).all():
            return math.nan  # as the model has it
        return self._tried(lambda: checked_score(inner.together(scores), "scores that are finite"))

    def _reshaped(
        self, inner: Reshaping, image: Tensor, answer: float | Exception, lent: Lent
    ) -> float | Exception:
        """What is reported in place of a model's answer about an image."""
        if isinstance(answer, Exception) or not math.isfinite(answer):
            return answer
        return self._tried(
            lambda: checked_score(
                inner.reshaped(answer, image.clone(), lent), f"the score {answer:g}"
            )
        )

    def _whole(self, images: Tensor, ask: Ask, lent: Lent) -> Answers:
        """Answers of a class with a way of its own, as it gives them."""
        failures: list[Exception] = []  # of what is behind it, which is not its fault
        finite = True

        def asked(shown: Tensor) -> Answers:
            nonlocal finite
            checked_images(shown)
            try:
                answers = ask(shown)
            except Exception as error:
                failures.append(error)
                raise
            finite &= all(isinstance(a, Exception) or math.isfinite(a) for a in answers)
            return answers

        found = self._tried(
            lambda: checked_answers(self.inner(images.clone(), asked, lent), len(images))
        )
        if failures:
            raise failures[0]
        if isinstance(found, Exception):
            raise found
        for number, answer in enumerate(found):
            if finite and isinstance(answer, float) and not math.isfinite(answer):
                found[number] = self._failure(not_finite(answer, "scores that are finite"))
        return found

    def _tried(self, call: Callable[[], T]) -> T | InputError:
        """What a call of somebody else's code gives, or the error that it is instead."""
        try:
            with guest():
                return call()
        except (MemoryError, torch.OutOfMemoryError):
            raise  # a smaller batch may do
        except (Exception, SystemExit) as error:  # a defence must not end the program
            return self._failure(error)

    def _failure(self, error: BaseException) -> InputError:
        what = str(error) if isinstance(error, WrongReturnError) else f"failed: {one_line(error)}"
        failure = InputError(f"defence '{self.written}' {what}")
        failure.__cause__ = error
        return failure

    def _whole_number(self, name: str, call: Callable[[], Any]) -> int:
        """A number of images or pixels that a class says; InputError for anything else."""
        found = self._tried(call)
        if isinstance(found, InputError):
            raise found
        if isinstance(found, bool) or not isinstance(found, int) or found < 1:
            raise InputError(
                f"defence '{self.written}': {name} is {found!r}; expected a whole number, at "
                "least 1"
            )
        return found


def _is_usual(inner: Defence, way: Callable[..., Answers]) -> bool:
    """Whether a class leaves the way of its kind as it is."""
    return type(inner).__call__ is way


def _array(image: Tensor) -> Pixels:
    """A copy (H, W, 3) of an image (3, H, W), which its owner may change."""
    return image.permute(1, 2, 0).numpy().copy()


def _purified_by(inner: Purifier, image: Tensor) -> Tensor:
    return _tensor(checked_pixels(inner.purified(_array(image)), image))


def _versions(inner: Randomised, image: Tensor, rng: np.random.Generator, number: int) -> Tensor:
    versions = []
    for _ in range(number):
        version = inner.version(image.clone(), rng)
        if isinstance(version, Tensor):
            checked_images(version[None])
        else:
            raise WrongReturnError(
                f"made a version that is {type(version).__name__}; expected a tensor (3, H, W) "
                "uint8"
            )
        versions.append(version)
    sizes = {tuple(version.shape) for version in versions}
    if len(sizes) > 1:
        raise WrongReturnError(
            f"made versions of several sizes of an image, {' and '.join(map(str, sorted(sizes)))}; "
            "expected one size for all versions of an image"
        )
    return torch.stack(versions)


def _tensor(pixels: Pixels) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


# -- what a spec names ----------------------------------------------------------------------------


def find_own(spec: str) -> Named:
    """What a spec of one defence that is not built in names; it is imported.

    InputError for one that does not exist, or that is not a defence.
    """
    found = find_named("defence", spec, DEFENCES, "its function or class")
    _check_kind(found)
    return found


def _check_kind(found: Named) -> None:
    value = found.value
    if inspect.isclass(value):
        if not issubclass(value, Defence):
            raise InputError(
                f"defence '{found.name}' is a class that derives from none of {KINDS_OF_CLASS}; "
                "derive it from one, or give a function of pixels (H, W, 3)"
            )
        return
    if isinstance(value, Defence):
        raise InputError(f"defence '{found.name}' is an object; give its class, or a function")
    if not callable(value) or inspect.iscoroutinefunction(code_of(value)):
        what = "an async function" if callable(value) else type(value).__name__
        raise InputError(
            f"defence '{found.name}' is {what}; expected a function of pixels (H, W, 3) uint8 that "
            f"returns pixels, or a class derived from {KINDS_OF_CLASS}"
        )
    try:
        parameters = list(inspect.signature(value).parameters.values())
    except (TypeError, ValueError) as error:
        raise InputError(f"defence '{found.name}': its parameters are unknown: {error}") from None
    if not parameters or parameters[0].kind not in (
        inspect.Parameter.POSITIONAL_ONLY,
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        inspect.Parameter.VAR_POSITIONAL,
    ):
        raise InputError(
            f"defence '{found.name}' takes no pixels; expected a function (pixels, option=default, "
            "…)"
        )


def is_random(function: Callable[..., Any]) -> bool:
    """Whether a function is called with a generator of random numbers."""
    return RNG in list(inspect.signature(function).parameters)[1:]


def has_passes(function: Callable[..., Any]) -> bool:
    """Whether a function has the option `passes` from us, and not of its own."""
    return is_random(function) and PASSES not in inspect.signature(function).parameters


def load_own(spec: str) -> Own:
    """The defence of a spec that is not built in; InputError for one that there is not."""
    found = find_own(spec)
    texts = option_texts(found.given)
    options: dict[str, Any]
    if inspect.isclass(found.value):
        inner = _of_class(found, texts)
        options = {name: getattr(inner, name) for name in texts}
        paths = {name: str(absolute(v)) for name, v in options.items() if isinstance(v, Path)}
        if paths.items() - texts.items():
            texts |= paths
            inner = _of_class(found, texts)
        options = {name: getattr(inner, name) for name in type(inner).model_fields}
    else:
        inner, options = _of_function(found, texts)
        texts |= {
            name: str(v) for name, v in options.items() if name in texts and isinstance(v, Path)
        }
    written = with_options(found.name, texts)
    _check_written(written, found.name, texts)
    files = () if found.file is None else (found.file,)
    taken = (value for value in options.values() if isinstance(value, Path))
    return Own(inner=inner, written=written, files=(*files, *_files_in(taken)))


def _of_class(found: Named, texts: dict[str, str]) -> Defence:
    kind = found.value
    for name in texts:
        if name not in kind.model_fields:
            raise unknown(f"option of {found.name}", name, kind.model_fields)
    for part in filter(None, found.given.split(",")):
        if "=" not in part:
            raise InputError(f"{found.name}: option '{part}' has no value, expected {part}=VALUE")
    if not hasattr(kind, "name"):
        kind.name = kind.__name__
    try:
        with guest():
            made: Defence = kind.model_validate(texts)
    except ValidationError as error:
        option, reason = first_fault(error)
        if error.errors()[0]["type"] == "missing":
            raise InputError(
                f"defence '{found.name}': option '{option}' has no default; give "
                f"{found.name}:{option}=VALUE"
            ) from None
        value = f"={texts[option]}" if option in texts else ""
        raise InputError(f"{found.name}: option {option}{value}: {reason}") from None
    except (Exception, SystemExit) as error:
        raise InputError(f"defence '{found.name}' does not load: {one_line(error)}") from error
    return made


def _of_function(found: Named, texts: dict[str, str]) -> tuple[Defence, dict[str, Any]]:
    function, given = found.value, found.given
    supplied, passes = (RNG,) if is_random(function) else (), 1
    if has_passes(function) and PASSES in texts:
        try:
            passes = TypeAdapter(Passes).validate_python(texts[PASSES])
        except ValidationError as error:
            _, reason = first_fault(error)
            raise InputError(f"{found.name}: option {PASSES}={texts[PASSES]}: {reason}") from None
        parts = given.split(",")
        given = ",".join(part for part in parts if not part.startswith(f"{PASSES}="))
    with guest():  # annotations are code
        options = parse_options(found.name, function, given, supplied)
    check_given(found.name, function, options, kind="defence", supplied=supplied)
    options = {k: absolute(v) if isinstance(v, Path) else v for k, v in options.items()}
    if is_random(function):
        return RandomFunction(function=function, options=options, passes=passes), options
    return FunctionPurifier(function=function, options=options), options


def _check_written(written: str, name: str, texts: dict[str, str]) -> None:
    """InputError for a spec with paths that could not be read again, as a run has to."""
    again, given = split(written)
    readable = parts_of(written) == [written] and "):" not in written
    if not readable or again != name or option_texts(given) != texts:
        raise InputError(
            f"defence '{written}': its spec cannot be read again, as a path or a value in it has a "
            "colon, a comma or a '+'; rename what has one"
        )


def _files_in(paths: Any) -> list[Path]:
    """The files that options name, and those of folders."""
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += sorted(file for file in path.rglob("*") if file.is_file())
        elif path.is_file():
            found.append(absolute(path))
    return found


def files_of(chain: Chain) -> tuple[Path, ...]:
    """The files that defences depend on which are not built in, each once."""
    files = (file for one in chain.defences if isinstance(one, Own) for file in one.files)
    return tuple(dict.fromkeys(files))


def options_of(spec: str) -> tuple[Named, Callable[..., Any]]:
    """What a spec names, and a stand-in whose parameters after the first are its options.

    InputError as in `find_own`.
    """
    found = find_own(spec)

    def stand_in() -> None: ...

    fields = getattr(found.value, "model_fields", None)
    if fields is not None:
        options = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=REQUIRED if field.is_required() else field.get_default(),
                annotation=Annotated[field.annotation, field],
            )
            for name, field in fields.items()
        ]
    else:
        supplied = (RNG,) if is_random(found.value) else ()
        named = parameters_of(found.value, supplied).values()
        options = [option.replace(kind=inspect.Parameter.KEYWORD_ONLY) for option in named]
        if has_passes(found.value):
            options.append(
                inspect.Parameter(
                    PASSES, inspect.Parameter.KEYWORD_ONLY, default=1, annotation=Passes
                )
            )
        stand_in.__wrapped__ = found.value  # type: ignore[attr-defined] # for its annotations
    first = inspect.Parameter("pixels", inspect.Parameter.POSITIONAL_ONLY)
    stand_in.__signature__ = inspect.Signature([first, *options])  # type: ignore[attr-defined]
    return found, stand_in
