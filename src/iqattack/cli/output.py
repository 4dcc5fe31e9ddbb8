"""What goes to a terminal: texts of a run, a model or a service, which may be anybody's.

They are no markup, and what would move the cursor or turn the line around is written as an escape.
"""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from iqattack.specs import printable


def say(text: str, console: Console | None = None, *, fold: bool = False) -> None:
    """Print a line as it is. fold: at spaces, where it is longer than the terminal is wide."""
    line = printable(text)
    (console or Console()).print(line, markup=False, highlight=False, soft_wrap=not fold)


def cell(text: str, style: str = "") -> Text:
    """A text for a table."""
    return Text(printable(text), style=style)
