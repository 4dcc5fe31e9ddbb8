"""The reference of the command line has all of it."""

import re

import typer

from docs_site.commands import as_markdown, prose
from iqattack.cli.app import app


def test_every_command_and_every_option_is_there():
    page = as_markdown()
    commands = typer.main.get_group(app).commands
    assert len(commands) > 20
    for name, command in commands.items():
        text = page.partition(f"### iqattack {name}\n")[2].partition("\n### ")[0]
        assert text, name
        for item in command.params:
            if item.param_type_name == "option":
                assert all(f"`{option}" in text or f" {option}" in text for option in item.opts)
        assert "```sh\niqattack" in text, name
    assert "[bold]" not in page
    anchors = re.findall(r"\{ #(\S+) \}", page)
    assert len(anchors) == len(set(anchors)) > 100
    assert "attack-queries" in anchors


def test_commands_options_and_patterns_in_prose_are_code():
    reported = "As [bold]iqattack models[/bold] lists; 'patterns/**/*' and --mos a_b <x> well-kept"
    assert prose(reported) == (
        r"As `iqattack models` lists; `patterns/**/*` and `--mos` a\_b \<x\> well-kept"
    )
