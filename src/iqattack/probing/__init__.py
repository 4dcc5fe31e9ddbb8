"""Find a model's quirks before they spoil a result."""

from iqattack.probing.check import (
    EACH,
    Check,
    Elsewhere,
    ask,
    evaluated,
    findings,
    is_constant,
)
from iqattack.probing.finding import Finding, Probe, Verdict
from iqattack.probing.probe import QUERIES, probe

__all__ = [
    "EACH",
    "QUERIES",
    "Check",
    "Elsewhere",
    "Finding",
    "Probe",
    "Verdict",
    "ask",
    "evaluated",
    "findings",
    "is_constant",
    "probe",
]
