"""Audits: a fixed suite of attacks on one model, its card, and what a policy says of that."""

from iqattack.auditing.audit import CARD, Steps, audit, plan, read_card
from iqattack.auditing.card import WORST, Card, Line, Value, card_of, shown
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
from iqattack.auditing.published import Beside, beside
from iqattack.auditing.suite import Attempt, Published, Suite, bundled, read_suite

__all__ = [
    "CARD",
    "WORST",
    "Attempt",
    "Beside",
    "Card",
    "Line",
    "Outcome",
    "Policy",
    "Published",
    "Rule",
    "Steps",
    "Suite",
    "Value",
    "audit",
    "beside",
    "bundled",
    "card_of",
    "exit_status",
    "judged",
    "junit",
    "markdown",
    "plan",
    "read_card",
    "read_policy",
    "read_suite",
    "shown",
]
