"""Findings of a probe, with remedies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from iqattack.models import Input
from iqattack.notebook import block, items, lines, table

INPUT = "--input "


class Verdict(StrEnum):
    """ok: as expected. note: worth knowing. problem: would spoil a result."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Finding:
    """The result of one test.

    topic: what was tested. value: the result, in words and numbers. remedy: what to do, or empty.
    option: an option of `iqattack attack` that does it, as typed, or empty.
    """

    topic: str
    value: str
    verdict: Verdict = Verdict.OK
    remedy: str = ""
    option: str = ""


@dataclass(frozen=True)
class Probe:
    """All findings.

    model: its name. queries: images sent to it, including failed ones; ceiling: the limit. unasked:
    topics for which no queries were left.
    """

    model: str
    findings: tuple[Finding, ...]
    queries: int
    ceiling: int
    unasked: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """Options to pass to `iqattack attack`, each once; all terms of `--input` in one."""
        given = unique(finding.option for finding in self.findings if finding.option)
        terms = Input()
        for option in given:
            if option.startswith(INPUT):
                terms = Input.parse(option.removeprefix(INPUT)).over(terms)
        return unique(f"{INPUT}{terms.text}" if o.startswith(INPUT) else o for o in given)

    @property
    def problems(self) -> tuple[Finding, ...]:
        """The findings that are problems."""
        return tuple(f for f in self.findings if f.verdict is Verdict.PROBLEM)

    @property
    def ok(self) -> bool:
        """Whether there are no problems."""
        return not self.problems

    @property
    def text(self) -> str:
        """The numbers of problems and notes."""
        notes = sum(finding.verdict is Verdict.NOTE for finding in self.findings)
        return f"{_several(len(self.problems), 'problem')}, {_several(notes, 'note')}"

    @property
    def _sentence(self) -> str:
        return f"{self.model}: {self.text}, in {_several(self.queries, 'query', 'queries')}."

    def _rest(self) -> list[str]:
        unasked, options = ", ".join(self.unasked), " ".join(self.options)
        said = [f"not checked, too few queries left: {unasked}"] if unasked else []
        return said + ([f"options for iqattack attack: {options}"] if options else [])

    def __repr__(self) -> str:
        rows = [
            (
                f"{found.topic} ({found.verdict})",
                "; ".join(filter(None, (found.value, found.remedy))),
            )
            for found in self.findings
        ]
        return lines(self._sentence, rows, self._rest())

    def _repr_html_(self) -> str:
        rows = [(found.topic, found.value, found.verdict, found.remedy) for found in self.findings]
        columns = ("topic", "finding", "verdict", "what to do")
        return block(self._sentence, table(columns, rows, columns), items(self._rest()))

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values, for JSON."""
        return {**asdict(self), "options": list(self.options), "ok": self.ok}


def _several(n: int, what: str, plural: str | None = None) -> str:
    return f"{n or 'no'} {what if n == 1 else plural or f'{what}s'}"


def unique(texts: Iterable[str]) -> tuple[str, ...]:
    """The texts without duplicates, in order."""
    return tuple(dict.fromkeys(texts))
