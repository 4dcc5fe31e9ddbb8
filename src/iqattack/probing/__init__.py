"""Find a model's quirks before they spoil a result."""

from iqattack.probing.check import EACH, Asked, Check, ask, findings, is_constant
from iqattack.probing.finding import Finding, Probe, Verdict
from iqattack.probing.loading import load
from iqattack.probing.probe import QUERIES, probe

__all__ = [
    "EACH",
    "QUERIES",
    "Asked",
    "Check",
    "Finding",
    "Probe",
    "Verdict",
    "ask",
    "findings",
    "is_constant",
    "load",
    "probe",
]
