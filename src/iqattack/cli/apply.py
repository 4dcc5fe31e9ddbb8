"""`iqattack apply`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

import iqattack
from iqattack.catalogue import defaults
from iqattack.cli.options import HOW, RUN, Convert, Limit, Resize, Seed
from iqattack.cli.progress import display
from iqattack.errors import InputError


def apply(
    perturbation: Annotated[
        Path, typer.Argument(help="Folder of [bold]iqattack universal[/bold], or the file in it.")
    ],
    images: Annotated[
        list[str],
        typer.Argument(metavar="IMAGES...", help="Folders, files, patterns or lists, of any size."),
    ],
    out: Annotated[Path, typer.Option(help="New folder for the pictures.", rich_help_panel=RUN)],
    direction: Annotated[
        Literal["up", "down"] | None,
        typer.Option(help="Direction of raw scores, if both were learnt.", rich_help_panel=HOW),
    ] = None,
    number: Annotated[
        int, typer.Option(metavar="N", help="Which of its patterns to apply.", rich_help_panel=HOW)
    ] = 1,
    constraint: Annotated[
        str | None,
        typer.Option(
            help="Constraint on the pictures; by default the one it was learnt with.",
            rich_help_panel=HOW,
        ),
    ] = None,
    seed: Seed = defaults.SEED,
    limit: Limit = None,
    convert: Convert = False,
    resize: Resize = None,
) -> None:
    """Apply a universal perturbation to images, without queries and without a model.

    The pictures equal, byte for byte, those that an attack with universal:file=… scores.
    """
    written = failed = 0
    with display() as shown:
        notify = iqattack.Callbacks(
            checked=partial(shown.counted, "images"), note=shown.callbacks.note
        )
        for item in iqattack.apply(
            perturbation,
            images,
            out=out,
            direction=direction,
            number=number,
            constraint=constraint,
            seed=seed,
            limit=limit,
            convert=convert,
            resize=resize,
            callbacks=notify,
        ):
            if isinstance(item, InputError):
                failed += 1
                typer.echo(f"{item}", err=True)
            else:
                written += 1
    typer.echo(f"{written:,} images: {out}" + (f"; {failed:,} failed" if failed else ""))
    if failed:
        raise typer.Exit(1)
