"""`iqattack attacks` and `iqattack models`."""

from __future__ import annotations

import inspect
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import iqattack
from iqattack.errors import InputError, unknown

if TYPE_CHECKING:
    from iqattack.attacks import AttackKind


def attacks(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Show one in full.", show_default=False),
    ] = None,
) -> None:
    """What attacks there are, with their papers and the names of their options; or one in full."""
    known = iqattack.api.ATTACKS
    if name is not None:
        if name not in known:
            raise unknown("attack", name, known)
        _show_attack(known[name])
        return
    table = Table("attack", "what it does", "paper", "options")
    for kind in known.values():
        table.add_row(kind.name, kind.summary, kind.paper, ", ".join(kind.options))
    Console().print(table)


def _show_attack(kind: AttackKind) -> None:
    """How it works and what its options are, as its file says."""
    module = sys.modules[kind.function.__module__]
    for text in (module, kind.function):
        typer.echo(f"{inspect.getdoc(text) or kind.summary}\n")
    table = Table("option", "default")
    for option, default in kind.options.items():
        table.add_row(option, Text(_as_text(default)))
    Console().print(table)
    typer.echo(f"for example: --attack {kind.name}" + _example(kind))


def _as_text(value: object) -> str:
    """A default as the command line would take it."""
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    if isinstance(value, Path):
        return "what comes along"  # images of the package
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _example(kind: AttackKind) -> str:
    option = next(iter(kind.options), None)
    return "" if option is None else f":{option}={_as_text(kind.options[option])}"


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
