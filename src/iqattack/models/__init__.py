"""Black boxes: everything that gives an image a score, behind one contract."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from iqattack.errors import InputError, unknown
from iqattack.models.base import Loaded, Scorer
from iqattack.models.builtin import Builtin
from iqattack.models.builtin import card as builtin_card
from iqattack.models.callable import load_callable, wrap
from iqattack.models.checked import (
    Model,
    ModelFailedError,
    WrongAnswerError,
    answers,
    as_failure,
    check_range,
    score_checked,
)
from iqattack.models.cnniqa import Cnniqa
from iqattack.models.gradients import MODEL_LOCK, gradient_of
from iqattack.models.pyiqa import Pyiqa, PyiqaReference

__all__ = [
    "MODEL_LOCK",
    "Model",
    "ModelFailedError",
    "PyiqaReference",
    "Scorer",
    "WrongAnswerError",
    "answers",
    "as_failure",
    "builtin_card",
    "gradient_of",
    "load_model",
    "model_kinds",
    "score_checked",
    "wrap",
]

# Spec form and description; the part before the colon chooses the kind.
KINDS = (
    ("builtin", "a small network trained on pseudo-MOS, in the package; iqattack models builtin"),
    ("cnniqa:WEIGHTS", "CNNIQA (Kang et al., CVPR 2014), weights as a PyTorch state dict"),
    ("pyiqa:NAME[,option=value]", "a no-reference metric of pyiqa (Chen & Mo, IQA-PyTorch)"),
    ("FILE.py:factory", "what a function in a Python file makes"),
    ("package.module:factory", "what a function in an importable module makes"),
)
# What a spec may begin with; factories as a whole.
_NAMES = [f if f.endswith(":factory") else f.partition(":")[0] for f, _ in KINDS]


def model_kinds() -> list[tuple[str, str]]:
    """(form of the spec, description on one line) of every kind of model."""
    return list(KINDS)


def load_model(
    spec: str,
    *,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    device: str = "cpu",
) -> Scorer:
    """The black box that spec names, in one of the forms of `model_kinds`.

    score_range, lower_better: override or supply what the model does not declare.
    device: where a network runs, as torch names it.

    Raises InputError for an unknown kind, a model that cannot be loaded, and one whose range or
    direction is neither declared nor given.
    """
    model = _load(spec, device)
    name = model.name
    declared = model.score_range if score_range is None else check_range(score_range, name)
    if declared is None:
        raise InputError(
            f"model '{name}' does not declare its score range: give it with --score-range LO,HI"
        )
    direction = model.lower_better if lower_better is None else lower_better
    if direction is None:
        raise InputError(
            f"model '{name}' does not declare its direction:"
            " give it with --lower-better or --no-lower-better"
        )
    return Model(model, name, declared, direction, model.min_size)


def _load(spec: str, device: str) -> Loaded:
    kind, colon, argument = spec.partition(":")
    match kind:
        case "builtin":
            if colon:
                raise InputError(f"model '{spec}': expected 'builtin' alone")
            return Builtin(device)
        case "cnniqa":
            if not argument:
                raise InputError(f"model '{spec}': expected cnniqa:WEIGHTS, a state dict's file")
            return Cnniqa(Path(argument), device)
        case "pyiqa":
            if not argument:
                raise InputError(f"model '{spec}': expected pyiqa:NAME, such as pyiqa:brisque")
            return Pyiqa(argument, device)
    source, _, factory = spec.rpartition(":")
    if spec.endswith(".py"):
        raise InputError(f"model '{spec}': expected FILE.py:factory, the function that makes it")
    if not (source and factory) or _is_mistyped(source):
        raise unknown("model", kind, _NAMES)
    return load_callable(source, factory, device)


def _is_mistyped(source: str) -> bool:
    """Neither a file nor a dotted name nor a module that is there: rather a kind's name."""
    if source.endswith(".py") or "." in source:
        return False
    here = Path(f"{source}.py").exists() or Path(source).is_dir()
    return not here and (not source.isidentifier() or importlib.util.find_spec(source) is None)
