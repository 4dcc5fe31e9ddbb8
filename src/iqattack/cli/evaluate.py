"""`iqattack evaluate`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.cli.options import Distance, Screen
from iqattack.cli.progress import display
from iqattack.cli.tables import All, show_summary
from iqattack.errors import InputError


def evaluate(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or under way.")],
    queries: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Evaluate as if the budget had been N, from the log; visibility is left out.",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Also compute a full-reference metric of pyiqa, such as lpips or dists; may be "
            "repeated.",
        ),
    ] = None,
    device: Annotated[
        str | None, typer.Option(metavar="D", help="Where these metrics run: cpu, cuda, …")
    ] = None,
    screen: Screen = None,
    distance: Distance = None,
    every: All = False,
    json: Annotated[
        bool, typer.Option("--json", help="Print the contents of summary.json instead of a table.")
    ] = False,
) -> None:
    """Print the verdict and the measures of a run; it may be under way, and is not changed.

    Visibility (JOD and FLIP) is measured once and kept in visibility.json.
    """
    if device is not None and not metric:
        raise InputError(f"--device {device} applies to metrics; add --metric, or leave it out")
    with display() as shown:
        callbacks = iqattack.Callbacks(
            checked=partial(shown.counted, "metrics"), measured=shown.callbacks.measured
        )
        summary = iqattack.evaluate(
            run,
            queries=queries,
            metrics=metric or (),
            display=screen,
            distance=distance,
            device=device or "cpu",
            callbacks=callbacks,
        )
    if json:
        typer.echo(summary.model_dump_json(indent=2))
    else:
        show_summary(summary, run, every=every)
