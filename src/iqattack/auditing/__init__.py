"""Audits: a fixed suite of attacks on one model, its card, its policy, and the check of a card."""

from iqattack.auditing.audit import CARD, Steps, audit, plan, read_card
from iqattack.auditing.card import WORST, Card, Line, Value, card_of, shown
from iqattack.auditing.checking import (
    Asking,
    CardCheck,
    CardChecks,
    Finding,
    check_card,
    read_checks,
)
from iqattack.auditing.policy import (
    Outcome,
    Policy,
    Rule,
    exit_status,
    judged,
    junit,
    markdown,
    read_policy,
)
from iqattack.auditing.suite import Attempt, Suite, bundled, read_suite

__all__ = [
    "CARD",
    "WORST",
    "Asking",
    "Attempt",
    "Card",
    "CardCheck",
    "CardChecks",
    "Finding",
    "Line",
    "Outcome",
    "Policy",
    "Rule",
    "Steps",
    "Suite",
    "Value",
    "audit",
    "bundled",
    "card_of",
    "check_card",
    "exit_status",
    "judged",
    "junit",
    "markdown",
    "plan",
    "read_card",
    "read_checks",
    "read_policy",
    "read_suite",
    "shown",
]
