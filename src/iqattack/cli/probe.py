"""`iqattack probe`."""

from __future__ import annotations

import json as json_text
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import iqattack
from iqattack.cli.options import (
    RUN,
    Convert,
    Defence,
    Device,
    Input,
    LowerBetter,
    Resize,
    ScoreRange,
    Timeout,
    parse_range,
)
from iqattack.cli.output import cell
from iqattack.cli.progress import display

if TYPE_CHECKING:
    from iqattack.probing import Probe

STYLES = {"ok": "green", "note": "yellow", "problem": "bold red"}


def probe(
    model: Annotated[
        str, typer.Argument(help="The model: a spec that [bold]iqattack models[/bold] lists.")
    ],
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGES...]",
            help="Folders, files, patterns or .txt lists, of which 24 pictures are used; by "
            "default those of [bold]iqattack samples[/bold].",
        ),
    ] = None,
    defence: Defence = None,
    input: Input = None,  # noqa: A002 - as the option is called
    score_range: ScoreRange = None,
    lower_better: LowerBetter = None,
    convert: Convert = False,
    resize: Resize = None,
    queries: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Send at most N images to the model; checks that this leaves out are listed.",
            rich_help_panel=RUN,
        ),
    ] = 400,
    device: Device = "cpu",
    timeout: Timeout = None,
    json: Annotated[
        bool,
        typer.Option("--json", help="Print JSON instead of a table.", rich_help_panel=RUN),
    ] = False,
) -> None:
    """Find a model's quirks before they spoil a result.

    Tests for noise, dependence on the batch, accepted sizes, RGB or BGR, range, direction and
    resolution of the scores, failures and speed, and prints the options of iqattack attack that
    deal with them. The exit status is 1 if there is a problem.
    """
    wanted_range = parse_range(score_range)
    with display() as shown:
        found = iqattack.probe(
            model,
            images or None,
            queries=queries,
            score_range=wanted_range,
            lower_better=lower_better,
            defence=defence,
            input=input,
            timeout=timeout,
            convert=convert,
            resize=resize,
            device=device,
            callbacks=shown.callbacks,
        )
    if json:
        typer.echo(json_text.dumps(found.as_dict(), indent=2, ensure_ascii=False))
    else:
        show_probe(found)
    if not found.ok:
        raise typer.Exit(1)


def show_probe(found: Probe, console: Console | None = None) -> None:
    """Print a row for each finding, the verdict, and the options to pass on."""
    console = console or Console()
    title = f"{found.model}: {found.queries} images sent, {found.ceiling} allowed"
    table = Table(title=cell(title), title_justify="left")
    for heading in ("topic", "finding", "verdict", "what to do"):
        table.add_column(heading)
    for row in found.findings:
        verdict = Text(row.verdict, style=STYLES[row.verdict])
        table.add_row(row.topic, cell(row.value), verdict, cell(row.remedy))
    console.print(table)
    typer.echo(f"verdict: {found.text}")
    if found.unasked:
        typer.echo(
            f"not checked, too few queries left (raise --queries): {', '.join(found.unasked)}"
        )
    if found.options:
        typer.echo(f"options for iqattack attack: {' '.join(found.options)}")
