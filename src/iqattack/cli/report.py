"""`iqattack report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.cli.options import Distance, Screen
from iqattack.cli.progress import display
from iqattack.cli.tables import say_unmeasured


def report(
    run: Annotated[
        Path, typer.Argument(help="Folder of a run, finished or under way, or of an audit.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder for the page; by default RUN/report, or the audit's own folder.",
        ),
    ] = None,
    screen: Screen = None,
    distance: Distance = None,
) -> None:
    """Write a page with the results of a run: verdict, measures, charts and every image.

    For an audit, write the page of its card again.

    The page opens in a browser from disk, without a network. The folder can be moved, zipped and
    sent: the page needs nothing outside it, and names no folder of this machine. An earlier page is
    replaced.
    """
    with display() as shown:
        page = iqattack.report(
            run, out, display=screen, distance=distance, callbacks=shown.callbacks
        )
    typer.echo(f"the page         {page}")
    say_unmeasured()
