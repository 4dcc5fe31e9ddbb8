"""Anything callable as a black box: `FILE.py:factory`, `package.module:factory`, or `wrap`.

A factory is called once, with `device=` where it takes one, and returns a function of images
(N, 3, H, W) uint8 RGB that returns N scores: a list, an array, a tensor, or a number for one image.
What the function carries as `name`, `score_range`, `lower_better` and `min_size` is read, and so is
a method `differentiable`, if attacks that take gradients are to have them (models/gradients.py).
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from torch import Tensor

from iqattack.errors import InputError, unknown
from iqattack.models.checked import Model, check_range, one_line


@dataclass(frozen=True)
class UserModel:
    """A user's function with what it declares."""

    function: Callable[[Tensor], object]
    name: str
    score_range: tuple[float, float] | None
    lower_better: bool | None
    min_size: int

    def __call__(self, images: Tensor) -> object:
        """Score a copy: what the function does to its input must not reach the attack's images."""
        return self.function(images.clone())

    @property
    def differentiable(self) -> Callable[[Tensor], Tensor]:
        """What the function's object declares of that name; AttributeError where it does not."""
        method: Callable[[Tensor], Tensor] = self.function.differentiable  # type: ignore[attr-defined]
        return method


def wrap(
    function: Callable[[Tensor], object],
    *,
    name: str | None = None,
    score_range: tuple[float, float],
    lower_better: bool,
    min_size: int = 1,
) -> Model:
    """A function of images (N, 3, H, W) uint8 RGB that returns N scores, as a `Scorer`.

    name: as runs and tables call it; the function's own by default.
    score_range: (lowest, highest) raw score. lower_better: True where low means good quality.
    min_size: smallest height and width in pixels. Raises InputError for an empty range.
    """
    if name is None:
        name = getattr(function, "__name__", type(function).__name__)
    user = UserModel(function, name, check_range(score_range, name), lower_better, min_size)
    return Model(user, name, check_range(score_range, name), lower_better, min_size)


def load_callable(source: str, factory: str, device: str) -> UserModel:
    """What `factory` of a file or module makes, with what it declares.

    Raises InputError for a file or module that is not there or does not import, a factory that does
    not exist, cannot be called or raises, and declarations that make no sense.
    """
    from_file = source.endswith(".py")
    spec = f"{source}:{factory}"
    module = _import_file(Path(source)) if from_file else _import_module(source)
    if not hasattr(module, factory):
        names = [name for name, value in vars(module).items() if _is_factory(name, value)]
        if names:
            raise unknown(f"factory in '{source}'", factory, names)
        raise InputError(f"'{source}' has no '{factory}', nor anything else that can be called")
    make = getattr(module, factory)
    if not callable(make):
        raise InputError(
            f"'{spec}' is {type(make).__name__}; expected a function that makes the model"
        )
    try:
        function = make(device=device) if _takes_device(make) else make()
    except (Exception, SystemExit) as error:
        raise InputError(f"'{spec}' failed to make the model: {one_line(error)}") from error
    if not callable(function):
        raise InputError(
            f"'{spec}' returned {type(function).__name__};"
            " expected a function of images (N, 3, H, W) uint8 that returns N scores"
        )
    return _declared(function, f"{Path(source).name}:{factory}" if from_file else spec)


def _declared(function: Callable[[Tensor], object], spec: str) -> UserModel:
    score_range = getattr(function, "score_range", None)
    lower_better = getattr(function, "lower_better", None)
    min_size = getattr(function, "min_size", 1)
    if lower_better is not None and not isinstance(lower_better, bool):
        raise InputError(f"model '{spec}': lower_better {lower_better!r}: expected True or False")
    if isinstance(min_size, bool) or not isinstance(min_size, int) or min_size < 1:
        raise InputError(f"model '{spec}': min_size {min_size!r}: expected pixels, at least 1")
    return UserModel(
        function,
        str(getattr(function, "name", spec)),
        None if score_range is None else check_range(score_range, spec),
        lower_better,
        min_size,
    )


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"model file '{path}': no such file; expected FILE.py:factory")
    path = path.resolve()
    # Its neighbours can be imported, as when Python runs the file.
    _search(path.parent)
    name = f"iqattack_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"model file '{path}': not a Python file; expected FILE.py:factory")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise InputError(f"model file '{path}' does not import: {one_line(error)}") from error
    return module


def _import_module(name: str) -> ModuleType:
    _search(Path.cwd())
    try:
        return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"model module '{name}' does not import: {one_line(error)};"
            " expected package.module:factory or FILE.py:factory"
        ) from error


def _search(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _takes_device(make: Callable[..., object]) -> bool:
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # some functions written in C do not tell
        return False
    return "device" in parameters or any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
    )


def _is_factory(name: str, value: object) -> bool:
    return callable(value) and not name.startswith("_")
