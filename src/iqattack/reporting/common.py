"""What the pages of audits and of runs have in common: the headline, tables and numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass

from iqattack.runs.numbers import NONE
from iqattack.runs.numbers import percent as _percent

PERCENT = "\N{NO-BREAK SPACE}%"
LOOK = {"up": "better", "down": "worse"}  # by direction of the quality


@dataclass(frozen=True)
class Headline:
    """The verdict in one sentence; strong: the part to emphasise, or None."""

    before: str
    strong: str | None = None
    after: str = ""

    @property
    def text(self) -> str:
        """All of it."""
        return f"{self.before}{self.strong or ''}{self.after}"


@dataclass(frozen=True)
class Table:
    """Cells as text; the first of each row names it."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def percent(value: float | None, digits: int = 1) -> str:
    """A fraction as a percentage without a line break."""
    return _percent(value, digits).replace(" %", PERCENT)


def fixed(value: float | None, digits: int) -> str:
    """A number with a fixed number of digits, so that columns align; a dash for None."""
    if value is None:
        return NONE
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")  # no −0.00


def score_digits(score_range: tuple[float, float]) -> int:
    """The number of digits that show a thousandth of a score range."""
    return max(0, 3 - math.ceil(math.log10(score_range[1] - score_range[0])))


def flaw(share: float, *, measured: bool) -> str:
    """Noise, or dependence on the batch, as a fraction of the score range; 0 if there is none."""
    if not measured:
        return "not measured"
    return f"{percent(share, 2)} of the range" if share else "none found"
