"""`iqattack attacks` and `iqattack models`."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

import iqattack
from iqattack.errors import InputError


def attacks() -> None:
    """What attacks there are, with their papers and the names of their options."""
    table = Table("attack", "what it does", "paper", "options")
    for kind in iqattack.api.ATTACKS.values():
        table.add_row(kind.name, kind.summary, kind.paper, ", ".join(kind.options))
    Console().print(table)


def models(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="builtin: show its model card.", show_default=False),
    ] = None,
) -> None:
    """What models there are and the form of their specs, or the card of the built-in one."""
    if name is not None:
        if name != "builtin":
            raise InputError(f"no model card of '{name}': there is one of builtin alone")
        typer.echo(iqattack.api.builtin_card(), nl=False)
        return
    table = Table("model", "what it is")
    for form, description in iqattack.api.model_kinds():
        # Text, not markup: pyiqa's options are in brackets.
        table.add_row(form.replace("[", r"\["), description)
    Console().print(table)
