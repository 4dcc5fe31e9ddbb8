"""`iqattack plot`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.cli.progress import display
from iqattack.errors import InputError


def plot(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...", help="Folders of runs, or of audits, which stand for all their runs."
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="File of the figure: .pdf, .svg, .png or .pgf; not needed with --data.",
        ),
    ] = None,
    kind: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="gain-queries: mean gain against queries. scatter: attacked against clean scores. "
            "crossing: share of images across a score boundary against queries. ssim: gain against "
            "visibility.",
        ),
    ] = "gain-queries",
    label: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="Label of a run, once for each, in their order; by default what differs between "
            "them.",
        ),
    ] = None,
    columns: Annotated[
        int, typer.Option(metavar="1|2", help="Width in columns of a page: 3.5 or 7.16 inches.")
    ] = 1,
    height: Annotated[
        float | None, typer.Option(metavar="INCHES", help="Height; by default what fits.")
    ] = None,
    boundary: Annotated[
        list[float] | None,
        typer.Option(
            metavar="B",
            help="With --kind crossing: a score boundary, as a fraction of the way to the end of "
            "the score range; may be repeated. By default the objective's, or else 0.1, 0.2 "
            "and 0.5 for one run and 0.2 for several.",
        ),
    ] = None,
    visibility: Annotated[
        str,
        typer.Option(
            metavar="ssim|jod", help="With --kind ssim: the measure on the horizontal axis."
        ),
    ] = "ssim",
    style: Annotated[
        Path | None,
        typer.Option(metavar="FILE.mplstyle", help="A matplotlib style, which takes precedence."),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(metavar="FILE.csv", help="Write the plotted numbers as a table."),
    ] = None,
) -> None:
    """Plot runs in one figure for a paper, with 95 % intervals over images.

    Colours are safe for colour-blind readers, lines and markers also differ in grey, and fonts are
    embedded as TrueType. The same runs give the same bytes. Needs matplotlib (extra: plot).
    """
    if out is None and data is None:
        raise InputError("plot: nothing to write; give --out FILE.pdf, --data FILE.csv, or both")
    with display() as shown:
        iqattack.plot(
            runs,
            kind,
            out=out,
            labels=label or (),
            columns=columns,
            height=height,
            boundaries=boundary or (),
            visibility=visibility,
            style=style,
            data=data,
            callbacks=shown.callbacks,
        )
    if out is not None:
        typer.echo(f"the figure       {out}")
    if data is not None:
        typer.echo(f"{'the' if out is None else 'its'} numbers      {data}")
