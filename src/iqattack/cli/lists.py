"""`iqattack attacks` and `iqattack models`."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

import iqattack


def attacks() -> None:
    """What attacks there are, with their papers and the names of their options."""
    table = Table("attack", "what it does", "paper", "options")
    for kind in iqattack.api.ATTACKS.values():
        table.add_row(kind.name, kind.summary, kind.paper, ", ".join(kind.options))
    Console().print(table)


def models() -> None:
    """What models there are, and the form of their specs."""
    table = Table("model", "what it is")
    for form, description in iqattack.api.model_kinds():
        # Text, not markup: pyiqa's options are in brackets.
        table.add_row(form.replace("[", r"\["), description)
    Console().print(table)
