"""Find a model's quirks before they spoil a result."""

from iqattack.probing.check import Check, check, findings
from iqattack.probing.finding import Finding, Probe, Verdict
from iqattack.probing.loading import load
from iqattack.probing.probe import QUERIES, probe

__all__ = [
    "QUERIES",
    "Check",
    "Finding",
    "Probe",
    "Verdict",
    "check",
    "findings",
    "load",
    "probe",
]
