"""The reference of the command line, as Markdown, from the program itself."""

from __future__ import annotations

import re
from itertools import groupby
from typing import Any

import typer

from iqattack.cli.app import app

INTRODUCTION = """# Command line

`iqattack COMMAND --help` prints the same in a terminal. Exit status 0 means success; 1, that some
images failed, or that a check, a policy or a verification found something; 2, wrong usage or input;
130, that you interrupted it.
"""
SPECIAL = re.compile(r"([\\*_<>\[\]|#])")
BOLD = re.compile(r"\[bold\](.*?)\[/bold\]")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
CODE = re.compile(rf"{BOLD.pattern}|({OPTION.pattern})|'([^']*[*/][^']*)'")
SUFFIX = re.compile(r"(?:  |^)\[((?:default|required|env var|x?<?=?[\d.]+)[^\n]*)\]$")


def as_markdown() -> str:
    """The whole page: the commands by their panels, in the order of `iqattack --help`."""
    root: Any = typer.main.get_command(app)
    commands = list(root.commands.items())
    panels = list(dict.fromkeys(command.rich_help_panel for _, command in commands))
    parts = [INTRODUCTION]
    for panel in panels:
        parts.append(f"## {panel}\n")
        parts += [
            _command(name, command)
            for name, command in commands
            if command.rich_help_panel == panel
        ]
    return "\n".join(parts)


def _command(name: str, command: Any) -> str:
    """A command's section: what it does, its usage, its arguments and options, its examples."""
    called = f"iqattack {name}"
    context = command.context_class(command, info_name=called)
    usage = " ".join([called, *command.collect_usage_pieces(context)])
    lines = [f"### {called}\n", prose(command.help or ""), "", "```text", usage, "```", ""]
    shown = [item for item in command.params if not getattr(item, "hidden", False)]
    for panel, items in groupby(sorted(shown, key=_panel_order(shown)), key=_panel):
        lines += [f"**{panel}**", ""]
        for item in items:
            lines += _parameter(name, item, context)
    examples = [line for line in (command.epilog or "").split("\n\n")[1:] if line]
    if examples:
        lines += ["**Examples**", "", "```sh", *examples, "```", ""]
    return "\n".join(lines)


def _panel(item: Any) -> str:
    """The heading that the help shows an argument or an option under."""
    named = getattr(item, "rich_help_panel", None)
    return str(named or ("Arguments" if item.param_type_name == "argument" else "Options"))


def _panel_order(items: list[Any]) -> Any:
    """A key that brings the items of a panel together, panels in the order of their first one."""
    order = list(dict.fromkeys(map(_panel, items)))
    return lambda item: order.index(_panel(item))


def _parameter(command: str, item: Any, context: Any) -> list[str]:
    """A definition: the option with its value, and what it does."""
    form, text = item.get_help_record(context)
    found = SUFFIX.search(text)
    rest = f" *{escaped(found[1])}*" if found else ""
    text = text[: found.start()] if found else text
    name = str(item.opts[0]).strip("-").replace("_", "-").lower()
    return [f"`{form}`{{ #{command}-{name} }}", f":   {prose(text)}{rest}", ""]


def prose(text: str) -> str:
    """A help text as Markdown: commands, options and patterns in it as code."""
    parts, end = [], 0
    for found in CODE.finditer(text):
        code = next(group for group in found.groups() if group)
        parts += [escaped(text[end : found.start()]), f"`{code}`"]
        end = found.end()
    return "".join([*parts, escaped(text[end:])])


def escaped(text: str) -> str:
    """Text without any mark that Markdown would take for one of its own."""
    return SPECIAL.sub(r"\\\1", text)
