"""Anything callable as a black box: `FILE.py:factory`, `package.module:factory`, or `wrap`.

A factory is called once, with `device=` if it has that parameter. It returns a function of images
(N, 3, H, W) uint8 RGB, or of images in its input convention (models/inputs.py), that returns N
scores: a list, an array, a tensor, or a number for one image. The attributes `name`, `score_range`,
`lower_better`, `min_size` and those of `Traits` are read, and a method `differentiable` provides
gradients for attacks that need them (models/gradients.py).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from iqattack.errors import DeviceError, InputError, one_line
from iqattack.imports import Imported, import_named
from iqattack.models.base import Traits
from iqattack.models.checked import Model, as_scores, check_range
from iqattack.models.device import sent
from iqattack.models.inference import EAGER, Inference
from iqattack.models.inputs import UINT8, Input
from iqattack.models.time_limit import TimeLimited


class UserModel:
    """A user's function with its declarations and its input convention."""

    def __init__(
        self,
        function: Callable[[Any], object],
        spec: str,
        convention: Input,
        where: Imported | None,
        inference: Inference = EAGER,
    ) -> None:
        """where: its origin.

        Raises InputError for invalid declarations, and for torch options with anything but a
        module.
        """
        self.function = function
        self.convention = convention
        self.inference = inference
        self.name = str(getattr(function, "name", spec))
        score_range = getattr(function, "score_range", None)
        self.score_range = None if score_range is None else check_range(score_range, spec)
        self.lower_better: bool | None = getattr(function, "lower_better", None)
        if self.lower_better is not None and not isinstance(self.lower_better, bool):
            raise InputError(
                f"model '{spec}': lower_better {self.lower_better!r}: expected True or False"
            )
        self.min_size: int = getattr(function, "min_size", 1)
        if isinstance(self.min_size, bool) or not isinstance(self.min_size, int):
            self.min_size = 0
        if self.min_size < 1:
            raise InputError(
                f"model '{spec}': min_size {function.min_size!r}: expected pixels, at least 1"  # type: ignore[attr-defined]
            )
        self.traits = _traits(function, where)
        if isinstance(function, torch.nn.Module):
            function.eval()  # scores with dropout or batch statistics are never intended
            inference.compiled(function, spec)
        else:
            inference.refuse(spec, f"a {type(function).__name__}")

    def __call__(self, images: Tensor) -> object:
        """Score a copy, so that the function cannot change the attack's images."""
        return self._ask(self.convention, images)

    def _ask(self, convention: Input, images: Tensor) -> object:
        device = self.device
        if device.type == "cuda" and convention.container in (None, "tensor"):
            images = sent(images, device)  # as bytes, a quarter of what floats take
        return convention.asks(self._on_its_device())(images)

    @property
    def device(self) -> torch.device:
        """The device of a torch module's weights; other functions handle devices themselves."""
        if not isinstance(self.function, torch.nn.Module):
            return torch.device("cpu")
        devices = (weight.device for weight in self.function.parameters())
        return next(devices, torch.device("cpu"))

    def _on_its_device(self) -> Callable[[Any], object]:
        """The function, with inputs moved to the device of a torch module's weights."""
        function, device = self.function, self.device
        if device.type == "cpu" and self.inference.autocast is None:
            return function

        def ask(batch: Any) -> object:
            with self.inference.context(device):
                return function(batch.to(device) if isinstance(batch, Tensor) else batch)

        return ask

    @property
    def differentiable(self) -> Callable[[Tensor], Tensor]:
        """The function that returns scores with the autograd graph; AttributeError without one.

        Its method of that name, or the function itself if it takes float tensors or is a torch
        module, which then receives grey levels as floats.
        """
        own = getattr(self.function, "differentiable", None)
        if own is None and (self.convention.floating or isinstance(self.function, torch.nn.Module)):
            own = self._on_its_device()
        if own is None:
            raise AttributeError("differentiable")
        return self.convention.differentiable(own)

    def works_with(self, convention: Input, images: Tensor) -> bool:
        """Whether it returns finite scores for images (N, 3, H, W) uint8 in this convention."""
        try:
            with torch.no_grad():
                found = self._ask(convention, images)
            return bool(as_scores(found, self.name, len(images)).isfinite().all())
        except Exception:  # of any kind: that it fails is what is asked
            return False


def _traits(function: object, where: Imported | None) -> Traits:
    """What a function declares, and the file that it was imported from."""
    declared = Traits.of(function)
    folder = Path.cwd() if where is None or where.file is None else where.file.parent
    files = tuple(folder / file for file in declared.files)
    if where is None:
        return replace(declared, files=files, spec=None)
    mine = () if where.file is None else (where.file,)
    return replace(declared, files=mine + files, spec=where.spec)


def wrap(
    function: Callable[[Any], object],
    *,
    name: str | None = None,
    score_range: tuple[float, float],
    lower_better: bool,
    min_size: int = 1,
    input: str | None = None,  # noqa: A002 - as the command line calls it
    timeout: float | None = None,
    compile: bool = False,  # noqa: A002
    autocast: str | None = None,
) -> Model:
    """Make a model of a function of images (N, 3, H, W) uint8 RGB that returns N scores.

    function: the model, such as a torch module. name: shown in runs and tables; by default the
    function's own. score_range: (lowest, highest) raw score. lower_better: True if low means good
    quality. min_size: smallest height and width in pixels. input: its input convention, such as
    `float01` or `numpy,nhwc,single`. timeout: seconds that a call may take. compile, autocast: of a
    torch module, as in `load_model`.

    Raises InputError for an empty range, an invalid input convention, and torch options with
    anything but a torch module.

    >>> import iqattack
    >>> import torch
    >>> model = iqattack.wrap(
    ...     lambda images: images.float().mean((1, 2, 3)),
    ...     name="brightness", score_range=(0, 255), lower_better=False,
    ... )
    >>> model(torch.full((2, 3, 32, 32), 100, dtype=torch.uint8)).tolist()
    [100.0, 100.0]
    """
    if name is None:
        name = str(getattr(function, "__name__", type(function).__name__))
    convention = Input.parse(input)
    inference = Inference(compile, autocast)
    user = UserModel(function, name, convention, None, inference)
    found = check_range(score_range, name)
    limited = user if timeout is None else TimeLimited(user, timeout)
    traits = replace(user.traits, notes=(*user.traits.notes, *inference.notes))
    return Model(
        limited, name, found, lower_better, min_size, convention.text, traits, inference,
        str(user.device),
    )  # fmt: skip


def load_callable(
    source: str, factory: str, device: str, convention: Input, inference: Inference = EAGER
) -> UserModel:
    """Call the `factory` of a file or module, and read the declarations of its result.

    Raises InputError for a file or module that does not exist or cannot be imported, a factory that
    does not exist, cannot be called or raises, and invalid declarations.
    """
    where = import_named("model", source, factory)
    name = f"{Path(source).name}:{factory}" if source.endswith(".py") else where.spec
    return make_callable(name, where, device, convention, inference)


def make_callable(
    spec: str, where: Imported, device: str, convention: Input, inference: Inference = EAGER
) -> UserModel:
    """Call an imported factory; InputError as in `load_callable`."""
    make = where.value
    takes_device = _takes_device(make)
    if device != "cpu" and not takes_device:
        raise DeviceError(
            f"'{spec}': device {device}: the factory has no parameter device; leave it out, or add "
            "that parameter"
        )
    _check_factory(spec, make, {"device": device} if takes_device else {})
    try:
        function = make(device=device) if takes_device else make()
    except (Exception, SystemExit) as error:
        raise InputError(f"'{spec}' failed to create the model: {one_line(error)}") from error
    if not callable(function):
        raise InputError(
            f"'{spec}' returned {type(function).__name__}, which cannot be called; expected a "
            "function of images that returns their scores, or a class with __call__"
        )
    if isinstance(function, Model):
        return _of_loaded(function, spec, convention, where, inference)
    return UserModel(function, spec, convention, where, inference)


def _of_loaded(
    model: Model, spec: str, convention: Input, where: Imported, inference: Inference
) -> UserModel:
    """A model that the factory wrapped itself; a given convention takes precedence over its own."""
    inner = model.function
    if isinstance(inner, UserModel):
        own = inference if inference.options else inner.inference
        made = UserModel(inner.function, spec, convention.over(inner.convention), where, own)
    elif convention == UINT8:
        made = UserModel(model, spec, convention, where, inference)
    else:
        raise InputError(
            f"'{spec}' returned a loaded model, to which --input {convention.text} cannot be "
            "added; pass it where the model is loaded"
        )
    made.name, made.min_size = model.name, model.min_size
    made.score_range, made.lower_better = model.score_range, model.lower_better
    made.traits = _traits(model, where)
    return made


def _check_factory(spec: str, make: object, given: dict[str, str]) -> None:
    """Raise InputError for the model itself, or anything else that is not a factory."""
    name = spec.rpartition(":")[2]
    hint = f"expected a function that returns the model: def load(): return {name}"
    if isinstance(make, torch.nn.Module):
        raise InputError(f"'{spec}' is the model itself ({type(make).__name__}); {hint}")
    if not callable(make):
        raise InputError(
            f"'{spec}' is {type(make).__name__}; expected a function that returns the model "
            "(iqattack models template torch prints one)"
        )
    try:
        inspect.signature(make).bind(**given)
    except TypeError as error:
        raise InputError(f"'{spec}' cannot be called without arguments ({error}); {hint}") from None
    except ValueError:
        pass  # some C functions have no signature


def _takes_device(make: object) -> bool:
    if not callable(make):
        return False
    try:
        parameters = inspect.signature(make).parameters
    except (TypeError, ValueError):  # some C functions have no signature
        return False
    # A class passes on what it does not name, and nobody knows to whom.
    anything = not inspect.isclass(make) and any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()
    )
    return "device" in parameters or anything
