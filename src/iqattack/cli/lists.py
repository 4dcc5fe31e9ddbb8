"""`iqattack attacks`, `models` and `defences`: lists, printed without importing PyTorch."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from importlib.resources import files
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from iqattack import plugins
from iqattack.catalogue.attacks import ATTACKS
from iqattack.catalogue.defences import DEFENCES
from iqattack.catalogue.models import MODELS, NAMED, ModelText, model_kinds
from iqattack.errors import InputError, unknown

if TYPE_CHECKING:
    from iqattack.attacks import AttackKind

PACKAGE = files("iqattack")
TEMPLATES = PACKAGE / "models" / "templates"


def attacks(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Explain one attack; also FILE.py:name or package.module:name.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the attacks, with their papers and options; or explain one, with an example."""
    if name is not None:
        from iqattack.attacks import find  # noqa: PLC0415 - imports PyTorch

        _show_attack(find(name).kind)
        return
    table = Table("attack", "what it does", "paper", "options")
    for text in ATTACKS.values():
        table.add_row(*map(Text, (text.name, text.summary, text.paper, ", ".join(text.options))))
    if plugins.installed("iqattack.attacks").keys() - ATTACKS.keys():
        from iqattack.attacks.specs import installed_attacks  # noqa: PLC0415 - imports PyTorch

        found, broken = installed_attacks()
        for kind in found.values():
            options = ", ".join(kind.options)
            table.add_row(*map(Text, (kind.name, kind.summary, kind.paper, options)))
        for broken_name, reason in broken.items():
            table.add_row(Text(broken_name), Text(reason))
    Console().print(table)
    _note_hidden(plugins.hidden("iqattack.attacks", ATTACKS))


def _note_hidden(phrases: list[str]) -> None:
    for phrase in phrases:
        typer.echo(f"note: {phrase}")


def _show_attack(kind: AttackKind) -> None:
    """Print what an attack does, its threat model and its options; of an external one, its
    docstring."""
    from iqattack.attacks.options import BUILT_IN, forms  # noqa: PLC0415 - imports PyTorch

    text = kind.text
    _echo_paragraph(f"{kind.name}: {kind.summary}")
    for paragraph in [text.about] if text else _described_by(kind.function):
        _echo_paragraph(paragraph)
    facts = {"paper" if text else "source": kind.paper}
    if text:
        facts["threat model"] = text.access
    _echo_facts(facts)
    options = forms(kind.function)
    meanings = text.options if text else {}
    table = Table("option", "type", "default", "range", *(["meaning"] if meanings else []))
    for form in options:
        cells = [form.name, form.type, form.default or "required", form.range]
        table.add_row(*map(Text, [*cells, meanings[form.name]] if meanings else cells))
    if options:
        Console().print(table)
    else:
        typer.echo("It has no options.\n")
    shown = (o for o in options if o.default != BUILT_IN)
    given = next((f"{o.name}={o.default or 'VALUE'}" for o in shown), None)
    spec = ":".join(filter(None, (kind.name, given)))
    constraint = text.constraint if text else None
    _echo_example("--model", "builtin", "--attack", spec, constraint=constraint)


def _described_by(function: Callable[..., object]) -> list[str]:
    """Describe an external attack: its file, and its docstring after the summary."""
    module = inspect.getdoc(inspect.getmodule(function)) or ""
    _, _, rest = (inspect.getdoc(function) or "").partition("\n")
    return [module.strip(), rest.strip()]


def _echo_paragraph(text: str) -> None:
    """Print a text, wrapped on a terminal and on one line elsewhere; nothing if it is empty."""
    if text:
        console = Console()
        console.print(Text(text), soft_wrap=not console.is_terminal, highlight=False, markup=False)
        console.print()


def _echo_facts(facts: dict[str, str]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        typer.echo(f"{name:{width}}  {value}")
    typer.echo()


def _echo_example(*options: str, more: str = "", constraint: str | None = None) -> None:
    """Print a whole command on one line, to be copied."""
    boxed = () if constraint is None else ("--constraint", constraint)
    command = shlex.join(["iqattack", "attack", "photos", *options, *boxed])
    typer.echo(f"example: {' '.join(filter(None, (command, more, '--out runs/photos')))}")


def models(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help=f"Explain one kind: {', '.join(MODELS)}. template: print a template.",
            show_default=False,
        ),
    ] = None,
    template: Annotated[
        str | None,
        typer.Argument(metavar="TEMPLATE", help="Which template to print.", show_default=False),
    ] = None,
) -> None:
    """List the kinds of models and the form of their specs; or explain one, with an example.

    builtin prints the model card. template TEMPLATE prints a file to start from: torch, numpy, pil,
    command, service, or attack, for your own attack.
    """
    match name, template:
        case None, None:
            _list_models()
        case "builtin", None:
            _show_card()
        case "template", _:
            typer.echo(_template(template), nl=False)
        case str(), None:
            _show_model(name)
        case _:
            raise InputError(
                f"models {name} {template}: unexpected argument '{template}'; to print a template, "
                "run iqattack models template NAME"
            )


def defences(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME",
            help="Explain one defence; FILE.py:name and package.module:name, too.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """List the defences that can stand before a model, with their papers; or explain one.

    Join several with +; they are applied from left to right. `defended(jpeg:75):builtin` is the
    spec of a model behind a defence, for commands without --defence.
    """
    if name is None:
        table = Table("defence", "what it does", "paper")
        for text in DEFENCES.values():
            table.add_row(*map(Text, (text.form, text.summary, text.paper)))
        for point in plugins.installed("iqattack.defences").values():
            if point.name not in DEFENCES:  # none is imported: it may take long, and print
                table.add_row(*map(Text, (point.name, f"{point.value}, installed", "")))
        Console().print(table)
        _note_hidden(plugins.hidden("iqattack.defences", DEFENCES))
        return
    found = DEFENCES.get(name.partition(":")[0])
    if found is None:
        _show_own_defence(name)
        return
    _echo_paragraph(f"{found.name}: {found.summary}")
    _echo_facts({"form": found.form, "values": found.limits, "paper": found.paper})
    _echo_example("--model", "builtin", "--defence", found.spec)


def _show_own_defence(spec: str) -> None:
    """What somebody else's defence does, and its options."""
    from iqattack.attacks.options import forms  # noqa: PLC0415 - imports PyTorch
    from iqattack.defences.own import options_of  # noqa: PLC0415

    found, options = options_of(spec)
    described, *rest = (inspect.getdoc(found.value) or "no description").splitlines()
    _echo_paragraph(f"{found.name}: {described}")
    _echo_paragraph("\n".join(rest).strip())
    _echo_facts({"source": found.name if found.file is None else str(found.file)})
    table = Table("option", "type", "default", "range")
    shown = forms(options)
    for form in shown:
        table.add_row(*map(Text, (form.name, form.type, form.default or "to be given", form.range)))
    if shown:
        Console().print(table)
    else:
        typer.echo("It has no options.\n")
    first = next((f"{form.name}={form.default or 'VALUE'}" for form in shown), None)
    defence = ":".join(filter(None, (found.name, first)))
    _echo_example("--model", "builtin", "--defence", defence)


def _template(name: str | None) -> str:
    known = {file.name.partition(".")[0]: file for file in TEMPLATES.iterdir() if file.is_file()}
    if name is None:
        raise InputError(f"models template: expected one of {', '.join(sorted(known))} after it")
    if name not in known:
        raise unknown("template", name, known)
    return known[name].read_text(encoding="utf-8")


def _list_models() -> None:
    table = Table("model", "what it is")
    for form, description in model_kinds():
        table.add_row(Text(form), Text(description))  # no markup: options are in brackets
    Console().print(table)
    _note_hidden(plugins.hidden("iqattack.models", NAMED))


def _show_card() -> None:
    """Print the model card, rendered on a terminal and as Markdown elsewhere."""
    card = (PACKAGE / "models" / "builtin.md").read_text(encoding="utf-8")
    console = Console()
    if console.is_terminal:
        console.print(Markdown(card))
    else:
        typer.echo(card, nl=False)


def _show_model(name: str) -> None:
    kind = _kind(name)
    if kind is None:
        points = plugins.installed("iqattack.models")
        if name not in points:
            raise unknown("model", name, [*MODELS, *points])
        from iqattack.isolation import guest  # noqa: PLC0415 - imports PyTorch

        with guest():  # keeps its output off standard output
            plugins.load(points[name])
        _echo_facts({"model": name, "package": plugins.package(points[name])})
        _echo_example("--model", name)
        return
    _echo_paragraph(f"{kind.name}: {kind.summary}")
    _echo_paragraph(kind.about)
    facts = {"form": kind.form}
    if kind.template:
        facts["to start from"] = f"iqattack models template {kind.template}"
    _echo_facts(facts)
    if kind.options:
        table = Table("option", "meaning")
        for option, meaning in kind.options.items():
            table.add_row(Text(option), Text(meaning))
        Console().print(table)
    _echo_example("--model", kind.spec, more=kind.given)


def _kind(name: str) -> ModelText | None:
    """Find a kind by its name, or by the form that the list shows."""
    by_form = {kind.form: kind for kind in MODELS.values()}
    return MODELS.get(name) or by_form.get(name)
