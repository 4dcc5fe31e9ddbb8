"""`iqattack attacks` and `iqattack models`."""

from __future__ import annotations

import inspect
import sys
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import iqattack
from iqattack import plugins
from iqattack.errors import InputError, unknown

if TYPE_CHECKING:
    from iqattack.attacks import AttackKind


def attacks(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Show one in full; FILE.py:name and package.module:name, too.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """What attacks there are, with their papers and the names of their options; or one in full."""
    if name is not None:
        _show_attack(iqattack.api.find(name).kind)
        return
    from iqattack.attacks.specs import broken_attacks  # noqa: PLC0415 - imports torch
    from iqattack.attacks.table import ATTACKS  # noqa: PLC0415 - likewise

    table = Table("attack", "what it does", "paper", "options")
    for kind in iqattack.api.all_attacks().values():
        table.add_row(*map(Text, (kind.name, kind.summary, kind.paper, ", ".join(kind.options))))
    for broken, reason in broken_attacks().items():
        table.add_row(Text(broken), Text(reason))
    Console().print(table)
    for phrase in plugins.hidden("iqattack.attacks", ATTACKS):
        typer.echo(f"note: {phrase}")


def _show_attack(kind: AttackKind) -> None:
    """How it works and what its options are, as its file says."""
    from iqattack.attacks.options import code_of  # noqa: PLC0415 - imports torch

    module = sys.modules.get(code_of(kind.function).__module__)
    described = (inspect.getdoc(module) if module else None, inspect.getdoc(kind.function))
    for text in dict.fromkeys(text or kind.summary for text in described):
        typer.echo(f"{text}\n")
    table = Table("option", "default")
    for option, default in kind.options.items():
        table.add_row(option, Text(_as_text(default)))
    Console().print(table)
    typer.echo(f"for example: --attack {kind.name}" + _example(kind))


def _as_text(value: object) -> str:
    """A default as the command line would take it."""
    if value is inspect.Parameter.empty:
        return "VALUE"  # to be given
    if isinstance(value, tuple):
        return "+".join(map(str, value))
    if isinstance(value, Path):
        return "what comes along"  # images of the package
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def _example(kind: AttackKind) -> str:
    option = next(iter(kind.options), None)
    return "" if option is None else f":{option}={_as_text(kind.options[option])}"


TEMPLATES = files("iqattack") / "models" / "templates"


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[builtin|template]",
            help="builtin: show its model card. template: print a file to start from.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Of the template.", show_default=False),
    ] = None,
) -> None:
    """What models there are and the form of their specs.

    With builtin, its model card; with template NAME, a file to start from: torch, numpy, pil,
    command, service, or attack, for an attack of your own.
    """
    match name, template:
        case None, None:
            _list_models()
        case "builtin", None:
            typer.echo(iqattack.api.builtin_card(), nl=False)
        case "template", _:
            typer.echo(_template(template), nl=False)
        case _, None:
            raise InputError(f"no model card of '{name}': there is one of builtin alone")
        case _:
            raise InputError(f"'{template}': expected models template NAME")


def _template(name: str | None) -> str:
    known = {file.name.partition(".")[0]: file for file in TEMPLATES.iterdir() if file.is_file()}
    if name is None:
        raise InputError(f"template: expected the name of one, of {', '.join(sorted(known))}")
    if name not in known:
        raise unknown("template", name, known)
    return known[name].read_text(encoding="utf-8")


def _list_models() -> None:
    from iqattack.models.loading import NAMED  # noqa: PLC0415 - imports torch

    table = Table("model", "what it is")
    for form, description in iqattack.api.model_kinds():
        table.add_row(Text(form), Text(description))  # no markup: options are in brackets
    Console().print(table)
    for phrase in plugins.hidden("iqattack.models", NAMED):
        typer.echo(f"note: {phrase}")
