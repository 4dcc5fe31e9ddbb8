"""Policies: what a model has to withstand, so that a build fails if it does not.

```toml
[[rules]]
measure = "gain"
queries = 500
at_most = 0.15

[[rules]]
measure = "srocc"
at_least = 0.6
bound = "lower"
```
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from xml.etree import ElementTree

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from iqattack.attacks import canonical_attack
from iqattack.auditing.card import WORST, Card, Value, or_least
from iqattack.auditing.parsing import parsed
from iqattack.auditing.suite import Measure, Suite
from iqattack.constraints import parse_constraint
from iqattack.errors import InputError
from iqattack.runs.numbers import without_folders

Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
State = Literal["passed", "failed", "not measured"]
FRESH = "gain_fresh"  # of runs rather than lines
MOS = ("srocc_mos", "srocc_drop", "plcc_drop", "krocc_drop")  # that need opinion scores
MOST = {"gain": 10.0, FRESH: 10.0, "srocc": 1.0, "plcc": 1.0, "krocc": 1.0, "srocc_mos": 1.0}


class Rule(BaseModel):
    """One requirement.

    measure: of a card's lines, or `gain_fresh`: the largest gain of a run's fresh scores, which
    have no selection bias. attack: its spec, by default the worst case. constraint: by default
    all of the card's. queries: by default the card's largest budget. at_most, at_least: exactly one
    of them. bound: whether the measure itself counts, or an end of its 95 % interval.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    measure: Measure | Literal["gain_fresh"]
    attack: str = WORST
    constraint: str | None = None
    queries: int | None = Field(default=None, ge=1)
    at_most: Number | None = None
    at_least: Number | None = None
    bound: Literal["value", "lower", "upper"] = "value"

    @field_validator("attack")
    @classmethod
    def _attack(cls, spec: str) -> str:
        return spec if spec == WORST else canonical_attack(spec)

    @field_validator("constraint")
    @classmethod
    def _constraint(cls, spec: str | None) -> str | None:
        return None if spec is None else parse_constraint(spec).spec

    @model_validator(mode="after")
    def _one_bound(self) -> Rule:
        if (self.at_most is None) == (self.at_least is None):
            raise ValueError("expected either at_most or at_least")
        if self.measure == FRESH and self.queries is not None:
            raise ValueError("gain_fresh belongs to the largest budget; leave out queries")
        most = MOST.get(self.measure)
        if most is not None and abs(self.limit) > most:
            percent = " (gains are fractions of the score range)" if most > 1.0 else ""
            raise ValueError(
                f"{self.measure} of {self.limit:g}: expected a number from {-most:g} to "
                f"{most:g}{percent}"
            )
        return self

    @property
    def label(self) -> str:
        """The attack as in the lines of a card."""
        return WORST if self.attack == WORST else without_folders(self.attack)

    @property
    def limit(self) -> float:
        """The given limit."""
        return float(self.at_most if self.at_least is None else self.at_least)  # type: ignore[arg-type]

    def of(self, value: Value) -> float | None:
        """The number that counts of a value."""
        return {"value": value.value, "lower": value.low, "upper": value.high}[self.bound]

    def holds(self, found: float) -> bool:
        """Whether the rule holds."""
        return found <= self.limit if self.at_least is None else found >= self.limit

    @property
    def text(self) -> str:
        """The rule in words: `gain after 500 queries is at most 0.15`."""
        what = {"value": "", "lower": "lower end of ", "upper": "upper end of "}[self.bound]
        when = "" if self.queries is None else f" after {self.queries:,} queries"
        whose = "" if self.attack == WORST else f" of {self.label}"
        where = "" if self.constraint is None else f" in {self.constraint}"
        side = "at most" if self.at_least is None else "at least"
        return f"{what}{self.measure}{whose}{where}{when} is {side} {self.limit:g}"


class Policy(BaseModel):
    """All rules, which must hold together."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: tuple[Rule, ...] = Field(min_length=1)

    def check(self, suite: Suite, *, mos: bool, fresh: bool) -> None:
        """Raise InputError for a rule without a line on any card of this suite. mos, fresh: whether
        there are opinion scores, and fresh scores.
        """
        attacks = {WORST, *(attempt.attack for attempt in suite.attempts)}
        for rule in self.rules:
            for name, value, there in (
                ("attack", rule.attack, sorted(attacks)),
                ("constraint", rule.constraint, list(suite.constraints)),
                ("queries", rule.queries, list(suite.budgets)),
            ):
                if value is not None and value not in there:
                    raise InputError(
                        f"policy: {rule.text}: {name} {value} is not in suite {suite.id}; "
                        f"available: {', '.join(map(str, there))}"
                    )
            if rule.measure in MOS and not mos:
                raise InputError(f"policy: {rule.text}: needs opinion scores; add --mos")
            if rule.measure == FRESH and not fresh:
                raise InputError(f"policy: {rule.text}: needs fresh scores; add --rescore 8")


@dataclass(frozen=True)
class Outcome:
    """The outcome of one rule for one constraint. text: in words, with the value."""

    rule: Rule
    constraint: str
    state: State
    text: str


def read_policy(path: str | Path) -> Policy:
    """Read a policy from a TOML file; InputError if that fails."""
    try:
        text = Path(path).read_bytes()
    except OSError as error:
        raise InputError(f"policy {path}: cannot be read ({error.strerror}); check it") from None
    return parsed(Policy, text, f"policy {path}")


def judged(policy: Policy, card: Card) -> list[Outcome]:
    """Every rule for every constraint to which it applies.

    A missing line or value on the card was not measured, and does not pass; neither does any of a
    card from which nothing follows about robustness, such as that of a constant model.

    >>> from iqattack.auditing import Policy, Rule, exit_status, judged, read_card
    >>> policy = Policy(rules=(Rule(measure="gain", at_most=0.5),))
    >>> outcomes = judged(policy, read_card("audits/mine"))
    >>> outcomes[0].state, exit_status(outcomes)
    ('passed', 0)
    """
    found = []
    for rule in policy.rules:
        constraints = card.constraints if rule.constraint is None else [rule.constraint]
        queries = card.budgets[-1] if rule.queries is None else rule.queries
        found += [_outcome(rule, constraint, queries, card) for constraint in constraints]
    return found


def _outcome(rule: Rule, constraint: str, queries: int, card: Card) -> Outcome:
    text = rule.text if rule.constraint is not None else f"{rule.text} in {constraint}"

    def outcome(state: State, what: str) -> Outcome:
        return Outcome(rule, constraint, state, f"{text}: {what}")

    why = card.silence
    if why is not None and rule.measure != FRESH:  # which noise does not flatter
        return outcome("not measured", f"nothing can be said about the model's robustness: {why}")
    if rule.measure == FRESH:
        value = _fresh(rule, constraint, card)
    else:
        line = card.line(rule.label, constraint, queries)
        if line is None:
            return outcome("not measured", "the card has no such line")
        value = line.measures.get(rule.measure, Value(value=None))
    number = rule.of(value)
    if number is None or math.isnan(number):
        return outcome("not measured", "it has no value")
    return outcome("passed" if rule.holds(number) else "failed", f"it is {_exactly(value)}")


def _fresh(rule: Rule, constraint: str, card: Card) -> Value:
    """Of the runs to which a rule applies, the gain of fresh scores that is largest as the rule
    counts; none if a run that moved scores has no fresh ones.
    """
    runs = [run for run in card.runs if run.constraint == constraint]
    found = []
    for run in [run for run in runs if rule.label in (WORST, run.attack)]:
        line = card.line(run.attack, constraint, card.budgets[-1])
        gain = None if line is None else line.measures["gain"].value
        if run.fresh is not None:
            found.append(Value(value=run.fresh.gain, low=run.fresh.low, high=run.fresh.high))
        elif gain is None or gain > 0.0:
            return Value(value=None)
    return max(found, key=lambda value: or_least(rule.of(value)), default=Value(value=None))


def exit_status(outcomes: Sequence[Outcome]) -> int:
    """0 if all hold, 1 if one does not, 2 if none fails but one could not be measured."""
    states = {outcome.state for outcome in outcomes}
    return 1 if "failed" in states else 2 if "not measured" in states else 0


def junit(outcomes: Sequence[Outcome], card: Card) -> str:
    """JUnit XML with one test per outcome, and one for the audit itself; an unmeasured outcome, or
    an audit that is not sound, is an error.
    """
    counts = {
        state: sum(o.state == state for o in outcomes) for state in ("failed", "not measured")
    }
    troubles = card.troubles
    suite = ElementTree.Element(
        "testsuite",
        name=f"iqattack {card.suite.id}",
        tests=str(len(outcomes) + 1),
        failures=str(counts["failed"]),
        errors=str(counts["not measured"] + bool(troubles)),
    )
    audit = ElementTree.SubElement(
        suite, "testcase", classname=card.model.name, name="the audit is sound"
    )
    if troubles:
        ElementTree.SubElement(audit, "error", message="; ".join(troubles))
    for outcome in outcomes:
        case = ElementTree.SubElement(
            suite,
            "testcase",
            classname=card.model.name,
            name=f"{outcome.rule.text} ({outcome.constraint})",
        )
        kind = {"failed": "failure", "not measured": "error"}.get(outcome.state)
        if kind is not None:
            ElementTree.SubElement(case, kind, message=outcome.text)
    ElementTree.indent(suite)
    text = ElementTree.tostring(suite, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n"


def markdown(outcomes: Sequence[Outcome], card: Card) -> str:
    """A paragraph and a list, for a pull request."""
    marks = {"passed": "✅", "failed": "❌", "not measured": "⚠️"}
    status = ("holds", "does not hold", "could not be measured")[exit_status(outcomes)]
    troubles = card.troubles
    sound = " **But the audit is not sound.**" if troubles else ""
    lines = [f"**The policy {status}.**{sound} {_code(card.verdict)}", ""]
    lines += [f"- ⚠️ {_code(trouble)}" for trouble in troubles]
    lines += [f"- {marks[outcome.state]} {_code(outcome.text)}" for outcome in outcomes]
    return "\n".join(lines) + "\n"


def _exactly(value: Value) -> str:
    """A value and its interval with enough digits to compare with a limit."""
    if value.value is None or value.low is None or value.high is None:
        return f"{value.value:.6g}"
    return f"{value.value:.6g} [{value.low:.6g}, {value.high:.6g}]"


def _code(text: str) -> str:
    """Markdown code, so that no name becomes a link, an image or a mention."""
    return f"`{text.replace('`', chr(39))}`"
