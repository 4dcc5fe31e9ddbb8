"""Loading of models from specs such as `cnniqa:weights.pth`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from torch import Tensor

from iqattack import plugins
from iqattack.catalogue.models import MODELS, ModelText
from iqattack.defences import parse_defence
from iqattack.errors import InputError, unknown
from iqattack.imports import Imported, file_of
from iqattack.isolation import guest
from iqattack.models.base import Loaded, Traits
from iqattack.models.builtin import Builtin
from iqattack.models.callable import load_callable, make_callable
from iqattack.models.checked import Model, check_range
from iqattack.models.cnniqa import Cnniqa
from iqattack.models.defended import defend, spec_of, split_spec
from iqattack.models.inference import EAGER, Inference
from iqattack.models.inputs import Input
from iqattack.models.pyiqa import Pyiqa
from iqattack.models.suggesting import suggestion
from iqattack.models.time_limit import TimeLimited, check_timeout


@dataclass(frozen=True)
class Given:
    """Arguments of a kind's loader besides the spec.

    device: as torch names it. convention: input convention. timeout: seconds per call, None for the
    kind's own. inference: how torch runs it.
    """

    device: str
    convention: Input
    timeout: float | None
    inference: Inference = EAGER


@dataclass(frozen=True)
class Kind:
    """One kind of black box.

    text: from the catalogue. load: from the part after the kind's colon or, if the form has none,
    from the whole spec. keeps_time: whether it handles time limits itself. torch: whether it may be
    a torch module.
    """

    text: ModelText
    load: Callable[[str, Given], Loaded]
    keeps_time: bool = False
    torch: bool = False

    @property
    def form(self) -> str:
        """Of its specs."""
        return self.text.form

    @property
    def needs_argument(self) -> bool:
        """Whether something must stand after the colon."""
        return ":" in self.form

    def check(self, inference: Inference) -> None:
        """InputError for options of torch with another kind."""
        if not self.torch:
            inference.refuse(self.text.name)


class Pictures:
    """One of our models with pictures of another size, channel order, or in grey."""

    def __init__(self, model: Loaded, convention: Input) -> None:
        self.name, self.score_range = model.name, model.score_range
        self.lower_better, self.min_size = model.lower_better, model.min_size
        self.convention = convention
        self.function = model
        if convention.size is not None or convention.crop is not None:
            self.min_size = 1
        self.traits = Traits.of(model)

    def __call__(self, images: Tensor) -> object:
        """Scores of images (N, 3, H, W) uint8."""
        return self.function(self._coloured(self.convention.pictures(images)))

    @property
    def differentiable(self) -> Callable[[Tensor], Tensor]:
        """Scores with their graph; AttributeError for a model without."""
        score: Callable[[Tensor], Tensor] = self.function.differentiable  # type: ignore[attr-defined]
        return lambda images: score(self._coloured(self.convention.tensor(images)))

    def _coloured(self, images: Tensor) -> Tensor:
        return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images


def _of_pictures(model: Loaded, kind: str, given: Given) -> Loaded:
    convention = given.convention.of_pictures(kind)
    return model if convention.text is None else Pictures(model, convention)


def _builtin(_: str, given: Given) -> Loaded:
    return _of_pictures(Builtin(given.device, given.inference), "builtin", given)


def _cnniqa(weights: str, given: Given) -> Loaded:
    return _of_pictures(Cnniqa(Path(weights), given.device, given.inference), "cnniqa", given)


def _pyiqa(metric: str, given: Given) -> Loaded:
    return _of_pictures(Pyiqa(metric, given.device, given.inference), "pyiqa", given)


def _later(module: str, name: str) -> Callable[[str, Given], Loaded]:
    """A loader that is imported on first use, since it needs an extra."""

    def load(argument: str, given: Given) -> Loaded:
        loader = getattr(importlib.import_module(f"iqattack.models.{module}"), name)
        loaded: Loaded = loader(
            argument, device=given.device, convention=given.convention, timeout=given.timeout
        )
        return loaded

    return load


def _factory(spec: str, given: Given) -> Loaded:
    source, _, factory = spec.rpartition(":")
    return load_callable(source, factory, given.device, given.convention, given.inference)


HTTP = Kind(MODELS["http"], _later("services.http", "load_http"), True)
TOML = Kind(MODELS["toml"], _later("services.described", "load_toml"), True)
FILE = Kind(MODELS["file"], _factory, torch=True)
MODULE = Kind(MODELS["module"], _factory, torch=True)
NAMED = {
    "builtin": Kind(MODELS["builtin"], _builtin, torch=True),
    "cnniqa": Kind(MODELS["cnniqa"], _cnniqa, torch=True),
    "pyiqa": Kind(MODELS["pyiqa"], _pyiqa, torch=True),
    "onnx": Kind(MODELS["onnx"], _later("onnx", "load_onnx")),
    "command": Kind(MODELS["command"], _later("services.command", "load_command"), True),
}


def load_model(
    spec: str,
    *,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    device: str = "cpu",
    input: str | None = None,  # noqa: A002 - as the command line calls it
    timeout: float | None = None,
    compile: bool = False,  # noqa: A002 - likewise
    autocast: str | None = None,
    declared: bool = True,
    defence: str | None = None,
) -> Model:
    """Load the model that a spec names.

    spec: in one of the forms that `iqattack models` lists, such as `builtin`, `pyiqa:brisque` or
        `my_model.py:load`.
    score_range, lower_better: override, or supply if missing, the model's declarations.
    device: where a network runs, as torch names it.
    input: the model's input convention, such as `float01` or `numpy,nhwc,single`.
    timeout: seconds that a call may take.
    compile: run a torch module through `torch.compile`; autocast: to `bfloat16` or `float16`. Both
        change scores.
    declared: whether range and direction must be known; if not, they may be None.
    defence: defences before the model, such as `jpeg:75+median:3` or `mine.py:purify`;
        `defended(jpeg:75):builtin` is the spec of such a model.

    Raises InputError for an unknown kind, a model that cannot be loaded, one whose range or
    direction is neither declared nor given, and torch options with anything but a torch module.

    >>> import iqattack
    >>> model = iqattack.load_model("builtin")
    >>> model.score_range, model.lower_better, model.min_size
    ((0.0, 100.0), False, 64)
    >>> from iqattack.images import read_image
    >>> scores = model(read_image("photos/01_astronaut_clean.png").pixels[None])
    >>> scores.shape, round(scores.item())
    (torch.Size([1]), 83)
    """
    if not isinstance(spec, str):
        raise InputError(
            f"model: {type(spec).__name__} is not a spec; expected text such as 'mine.py:load', or "
            "wrap(function, score_range=(0, 100), lower_better=False) for an object"
        )
    if defence is not None:
        spec = spec_of(defence, spec)
    if (parts := split_spec(spec)) is not None:
        chain = parse_defence(parts[0])  # errors in it are found before a model is loaded
        model_behind = load_model(
            parts[1],
            score_range=score_range,
            lower_better=lower_better,
            device=device,
            input=input,
            timeout=timeout,
            compile=compile,
            autocast=autocast,
            declared=declared,
        )
        return defend(model_behind, chain)
    limit = None if timeout is None else check_timeout(timeout)
    given = Given(device, Input.parse(input), limit, Inference(compile, autocast))
    with guest():
        kind, model = _load(spec, given)
    name, traits = model.name, Traits.of(model)
    known = model.score_range if score_range is None else check_range(score_range, name)
    direction = model.lower_better if lower_better is None else lower_better
    if declared and (known is None or direction is None):
        raise InputError(_undeclared(model, known is None, direction is None))
    if timeout is not None and not kind.keeps_time:
        model = cast(Loaded, TimeLimited(model, timeout))
    return Model(
        model,
        name,
        cast(tuple[float, float], known),
        cast(bool, direction),
        model.min_size,
        given.convention.text,
        replace(traits, spec=traits.spec or spec, notes=(*traits.notes, *given.inference.notes)),
        given.inference,
        device,
    )


def _load(spec: str, given: Given) -> tuple[Kind, Loaded]:
    name, colon, argument = spec.partition(":")
    if name in NAMED:
        kind = NAMED[name]
        if not argument if kind.needs_argument else colon:
            alone = "" if kind.needs_argument else " alone"
            raise InputError(f"model '{spec}': expected {kind.form}{alone}")
        kind.check(given.inference)
        return kind, kind.load(argument, given)
    for kind, fits in (
        (HTTP, name in ("http", "https") and argument.startswith("//")),
        (TOML, spec.endswith(".toml")),
    ):
        if fits:
            kind.check(given.inference)
            return kind, kind.load(spec, given)
    points = plugins.installed("iqattack.models")
    if spec in points:
        factory = plugins.load(points[spec])
        where = Imported(factory, spec, file_of(factory))
        return MODULE, make_callable(spec, where, given.device, given.convention, given.inference)
    if name in points:
        raise InputError(f"model '{spec}': expected only {name}, which takes no options")
    if spec.endswith(".onnx"):
        raise InputError(f"model '{spec}': expected onnx:{spec}")
    if spec.endswith(".py"):
        raise InputError(f"model '{spec}': expected {FILE.form}, the function that returns it")
    source, _, factory = spec.rpartition(":")
    if not (source and factory) or _is_mistyped(source):
        raise unknown(
            "model", name, [*NAMED, *points, *(k.form for k in (HTTP, TOML, FILE, MODULE))]
        )
    kind = FILE if source.endswith(".py") else MODULE
    return kind, kind.load(spec, given)


def _is_mistyped(source: str) -> bool:
    """Whether it is probably a mistyped kind: neither a file, nor a dotted name, nor an existing
    module."""
    if source.endswith(".py") or "." in source:
        return False
    here = Path(f"{source}.py").exists() or Path(source).is_dir() or source in sys.modules
    return not here and (not source.isidentifier() or importlib.util.find_spec(source) is None)


def _undeclared(model: Loaded, no_range: bool, no_direction: bool) -> str:
    """All missing declarations at once, and whether the model accepts its images at all."""
    what, give = [], []
    if no_range:
        what.append("score range")
        give.append("--score-range LO,HI")
    if no_direction:
        what.append("direction")
        give.append("--lower-better or --no-lower-better")
    text = (
        f"model '{model.name}' does not declare its {' and '.join(what)}: give {' and '.join(give)}"
    )
    return f"{text}{suggestion(model)}"
