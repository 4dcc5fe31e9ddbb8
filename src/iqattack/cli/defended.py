"""`iqattack defended`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

import iqattack
from iqattack.catalogue import defaults
from iqattack.cli.options import Retries, Timeout
from iqattack.cli.output import cell, say
from iqattack.cli.progress import display
from iqattack.cli.tables import number

if TYPE_CHECKING:
    from iqattack.api import DefenceMeasures
    from iqattack.runs.summary import Measured


def defended(
    run: Annotated[Path, typer.Argument(help="Folder of a run on the undefended model.")],
    defence: Annotated[
        str,
        typer.Option(
            metavar="NAME:VALUE[+…]",
            help="The defence, as [bold]iqattack defences[/bold] lists it, such as "
            "jpeg:75+median:3, or FILE.py:name[:option=value,…].",
        ),
    ],
    adaptive: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN",
            help="A run with the same settings and this --defence, shown for comparison.",
        ),
    ] = None,
    keys: Annotated[
        int, typer.Option(metavar="N", help="Draws of a random defence, which no run has seen.")
    ] = 8,
    model: Annotated[
        str | None,
        typer.Option(help="The model, if its file has moved; by default the run's own."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="D", help="Where the model runs.")] = "cpu",
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Load the run's model although it is code from somebody else: you have read it.",
        ),
    ] = False,
    timeout: Timeout = None,
    retries: Retries = defaults.RETRIES,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write a row for each image.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print how much of an attack a defence leaves, and what the defence costs.

    Clean and attacked pictures of the run are scored behind the defence, that is, for an attack
    that does not know of it. --adaptive adds an attack that does, and the worst of both. An image
    takes two queries, three with --adaptive; with a random defence, 2·keys + 1, or 3·keys + 1. No
    run is changed.
    """
    with display() as shown:
        notify = iqattack.Callbacks(
            loading=shown.loading, checked=partial(shown.counted, "defended")
        )
        found = iqattack.defended(
            run,
            defence,
            model,
            adaptive=adaptive,
            keys=keys,
            trust=trust,
            timeout=timeout,
            retry=iqattack.Retry(retries),
            device=device,
            out=out,
            callbacks=notify,
        )
    if json:
        typer.echo(found.model_dump_json(indent=2))
        return
    Console().print(_table(found))
    if found.note is not None:
        say(f"note: {found.note}", fold=True)
    if out is not None:
        say(f"one row each     {out}")


def _table(found: DefenceMeasures) -> Table:
    table = Table(title=cell(f"{found.defence} against {found.attack}"), title_justify="left")
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")

    def add(label: str, value: Measured | float | None) -> None:
        if value is None:
            return
        if isinstance(value, float):
            table.add_row(label, number(value))
            return
        ends = " … ".join(number(end) for end in value.interval)
        table.add_row(label, number(value.value), ends)

    add("mean gain without the defence", found.gain)
    add("mean gain behind it, not adaptive", found.gain_not_adaptive)
    add("share of the gain left, not adaptive", found.left_not_adaptive)
    add("mean gain behind it, adaptive", found.gain_adaptive)
    add("share of the gain left, adaptive", found.left_adaptive)
    add("mean gain as the adaptive run reports it", found.gain_adaptive_reported)
    add("mean gain behind it, worst of both by image", found.gain_worst)
    add("share of the gain left, worst of both", found.left_worst)
    table.add_section()
    add("mean change of clean scores, of the range", found.clean_change)
    add("mean absolute change of clean scores", found.clean_distance)
    add("SROCC of clean scores with and without", found.srocc_clean)
    add("SROCC clean–MOS without", found.srocc_mos)
    add("SROCC clean–MOS behind it", found.srocc_mos_defended)
    table.add_section()
    add("SSIM of clean and attacked", found.ssim)
    add("SSIM of clean and defended clean image", found.ssim_clean_defended)
    add("SSIM of defended clean and defended attacked", found.ssim_defended)
    table.add_section()
    table.add_row("images", str(len(found.images)))
    table.add_row("queries", str(found.queries))
    return table
