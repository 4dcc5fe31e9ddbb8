"""`iqattack merge`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.cli.attack import end_with_failed
from iqattack.cli.progress import display
from iqattack.cli.tables import All, show_summary


def merge(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Folders of all shards, in any order."),
    ],
    out: Annotated[Path, typer.Option(help="Folder that keeps the run; it must be new.")],
    every: All = False,
) -> None:
    """Merge all shards of a set into one run, as if one process had attacked it.

    Each log is checked as it is read. The shards must have one set, attack and model in common, and
    each must be given once. They are not changed. Images that a shard has not finished are not
    finished in the run either: to finish them, repeat the shard's command without --shard, with
    --resume and this --out.
    """
    with display() as shown:
        run = iqattack.merge(*runs, out=out, callbacks=shown.callbacks)
    if not (out / "summary.json").exists():
        typer.echo("no image is finished yet", err=True)
        end_with_failed(sum(result.failed for result in run.results))
        return
    summary = run.summary()
    show_summary(summary, out, every=every)
    for command in ("report", "verify"):
        typer.echo(f"next: {shlex.join(['iqattack', command, str(out)])}")
    end_with_failed(summary.failed)
