"""Black-box models: everything that scores an image, behind one contract."""

from __future__ import annotations

from iqattack.catalogue.models import model_kinds
from iqattack.models.base import Loaded, Scorer, Traits
from iqattack.models.builtin import card as builtin_card
from iqattack.models.callable import wrap
from iqattack.models.checked import (
    Model,
    ModelFailedError,
    WrongAnswerError,
    answers,
    as_failure,
    score_checked,
)
from iqattack.models.defended import (
    BY,
    bare_spec,
    defend,
    foreign_defences,
    fresh,
    judges,
    spec_of,
    split_spec,
)
from iqattack.models.device import dealt, in_turn
from iqattack.models.gradients import MODEL_LOCK, gradient_of
from iqattack.models.inference import EAGER, Inference
from iqattack.models.inputs import Input
from iqattack.models.loading import load_model
from iqattack.models.pyiqa import PyiqaReference
from iqattack.models.suggesting import suggestion
from iqattack.models.time_limit import TimeLimited

__all__ = [
    "BY",
    "EAGER",
    "MODEL_LOCK",
    "Inference",
    "Input",
    "Loaded",
    "Model",
    "ModelFailedError",
    "PyiqaReference",
    "Scorer",
    "TimeLimited",
    "Traits",
    "WrongAnswerError",
    "answers",
    "as_failure",
    "bare_spec",
    "builtin_card",
    "dealt",
    "defend",
    "foreign_defences",
    "fresh",
    "gradient_of",
    "in_turn",
    "judges",
    "load_model",
    "model_kinds",
    "score_checked",
    "spec_of",
    "split_spec",
    "suggestion",
    "wrap",
]
