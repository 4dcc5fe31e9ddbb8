"""Audits: a fixed suite of attacks on one model, its card, its policy, and the check of a card."""

from iqattack.auditing.audit import AUDIT, CARD, POLICY, Steps, audit, parse_card, plan, read_card
from iqattack.auditing.card import WORST, Card, Curve, Line, Value, shown
from iqattack.auditing.checking import (
    Asking,
    CardCheck,
    CardChecks,
    Finding,
    check_card,
    read_checks,
)
from iqattack.auditing.from_runs import card_of
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
from iqattack.auditing.published import Beside, beside, beside_known
from iqattack.auditing.reference import reference_cards, references_for
from iqattack.auditing.suite import Attempt, Published, Suite, bundled, read_suite

__all__ = [
    "AUDIT",
    "CARD",
    "POLICY",
    "WORST",
    "Asking",
    "Attempt",
    "Beside",
    "Card",
    "CardCheck",
    "CardChecks",
    "Curve",
    "Finding",
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
    "beside_known",
    "bundled",
    "card_of",
    "check_card",
    "exit_status",
    "judged",
    "junit",
    "markdown",
    "parse_card",
    "plan",
    "read_card",
    "read_checks",
    "read_policy",
    "read_suite",
    "reference_cards",
    "references_for",
    "shown",
]
