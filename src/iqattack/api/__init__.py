"""The Python interface, one line per step::

import iqattack

images = iqattack.ImageSet.from_folder("photos")
model = iqattack.load_model("cnniqa:weights.pth")
run = iqattack.attack(images, model, queries=2000, out="runs/photos")
print(iqattack.evaluate(run).mean_gain)
print(iqattack.verify(run, model).differences)
print(iqattack.report(run))
"""

from __future__ import annotations

from iqattack.api.attacking import attack, merge, survey
from iqattack.api.auditing import audit, check_card, leaderboard
from iqattack.api.checking import rescore, verify
from iqattack.api.learning import apply, profile, universal
from iqattack.api.probing import probe
from iqattack.api.results import compare, defended, detect, evaluate, export, open_run, plot, report
from iqattack.attacks import ATTACKS, Answer, BudgetSpent, Task, all_attacks, find
from iqattack.auditing import CardCheck
from iqattack.directions import Perturbation, Profile
from iqattack.errors import TransientError
from iqattack.images import ImageSet
from iqattack.models import Scorer, builtin_card, defend, load_model, model_kinds, wrap
from iqattack.probing import Probe
from iqattack.runs import (
    Callbacks,
    Comparison,
    DefenceMeasures,
    Detection,
    Rescoring,
    Result,
    Run,
    Settings,
    Summary,
    Survey,
    UntrustedError,
    VerifyResult,
)
from iqattack.scoring import (
    CeilingReached,
    Executor,
    InProcess,
    Processes,
    Retry,
    ScorePool,
    Threads,
)

__all__ = [
    "ATTACKS",
    "Answer",
    "BudgetSpent",
    "Callbacks",
    "CardCheck",
    "CeilingReached",
    "Comparison",
    "DefenceMeasures",
    "Detection",
    "Executor",
    "ImageSet",
    "InProcess",
    "Perturbation",
    "Probe",
    "Processes",
    "Profile",
    "Rescoring",
    "Result",
    "Retry",
    "Run",
    "ScorePool",
    "Scorer",
    "Settings",
    "Summary",
    "Survey",
    "Task",
    "Threads",
    "TransientError",
    "UntrustedError",
    "VerifyResult",
    "all_attacks",
    "apply",
    "attack",
    "audit",
    "builtin_card",
    "check_card",
    "compare",
    "defend",
    "defended",
    "detect",
    "evaluate",
    "export",
    "find",
    "leaderboard",
    "load_model",
    "merge",
    "model_kinds",
    "open_run",
    "plot",
    "probe",
    "profile",
    "report",
    "rescore",
    "survey",
    "universal",
    "verify",
    "wrap",
]
