"""`iqattack export`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.cli.progress import display


def export(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or under way.")],
    webdataset: Annotated[
        Path,
        typer.Option(metavar="DIR", help="New folder for the tar files: 000000.tar, 000001.tar, …"),
    ],
    shard_size: Annotated[int, typer.Option(metavar="N", help="Images in each tar file.")] = 1000,
) -> None:
    """Write the attacked images as WebDataset shards, for training code that streams them.

    Each image is NUMBER.png, with NUMBER.json: name, both scores, gain, queries, opinion score, and
    the SHA-256 of the clean pixels. The same run gives the same bytes.
    """
    with display() as shown:
        notify = iqattack.Callbacks(checked=partial(shown.counted, "images"))
        images = iqattack.export(run, webdataset, shard_size=shard_size, callbacks=notify)
    typer.echo(f"{images:,} images in {-(-images // shard_size):,} tar files: {webdataset}")
