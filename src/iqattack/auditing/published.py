"""Published figures beside measured ones, for suites that follow a paper."""

from __future__ import annotations

from dataclasses import dataclass

from iqattack.auditing.card import Card, Value
from iqattack.auditing.suite import Published, Suite, bundled, read_suite

PYIQA = "pyiqa:"


@dataclass(frozen=True)
class Beside:
    """A published figure, and the card's for the same attack, constraint and budget.

    measured: None if the card has no such line or measure, as without opinion scores. same: whether
    the card's model is the published one, by its name or as pyiqa's of that name; the images may
    still differ.
    """

    published: Published
    measured: Value | None
    same: bool


def beside(suite: Suite, card: Card) -> list[Beside]:
    """All figures that the suite's paper published, in the suite's order."""
    found = []
    for figure in suite.published:
        line = card.line(figure.attack, figure.constraint, figure.queries)
        measured = None if line is None else line.measures.get(figure.measure)
        found.append(Beside(figure, measured, _same(card.model.name, figure.model)))
    return found


def beside_known(card: Card) -> list[Beside]:
    """The same for a card whose suite is in the package; otherwise empty."""
    name, _, version = card.suite.id.rpartition("-v")
    if version not in map(str, bundled().get(name, [])):
        return []
    suite = read_suite(card.suite.id)
    return beside(suite, card) if suite.digest == card.suite.digest else []


def _same(name: str, published: str) -> bool:
    """`pyiqa:topiq_nr` and `TOPIQ-NR` name one model; `mine.py:topiq_nr` may be anything."""
    of_pyiqa = name.startswith(PYIQA) and _plain(name.removeprefix(PYIQA)) == _plain(published)
    return of_pyiqa or name == published


def _plain(name: str) -> str:
    """The same text for `topiq_nr` and `TOPIQ-NR`."""
    return name.lower().replace("-", "").replace("_", "")
