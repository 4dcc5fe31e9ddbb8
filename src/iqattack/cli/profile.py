"""`iqattack profile`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import iqattack
from iqattack.cli.attack import parse_batch, parse_range
from iqattack.cli.progress import display
from iqattack.cli.signals import interruptible

if TYPE_CHECKING:
    from iqattack.api import Profile


def profile(
    model: Annotated[
        str, typer.Argument(help="The model, as [bold]iqattack models[/bold] lists them.")
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...", help="Folders, files, patterns or lists; a dozen will do."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder that keeps the profile; it must be new.")],
    constraint: Annotated[
        str, typer.Option(help="As the attack will have it: linf:3, jnd:0.38, …")
    ] = "jnd:0.38",
    objective: Annotated[
        str, typer.Option(metavar="rank|up|down", help="As the attack will have it.")
    ] = "rank",
    queries: Annotated[
        int,
        typer.Option(
            metavar="N", help="For the search on one image; trying all finds on all costs more."
        ),
    ] = 500,
    strokes: Annotated[int, typer.Option(min=1, metavar="N", help="Of the profile, at most.")] = 16,
    seed: Annotated[int, typer.Option(metavar="S", help="Of all randomness.")] = 0,
    score_range: Annotated[
        str | None,
        typer.Option(
            metavar="LO,HI", help="Range of the model's scores, where it declares none or another."
        ),
    ] = None,
    lower_better: Annotated[
        bool | None,
        typer.Option(
            "--lower-better/--no-lower-better",
            help="Whether a low score means good quality, likewise.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(metavar="N", help="Only the first N images.")] = None,
    convert: Annotated[
        bool,
        typer.Option("--convert", help="Take 16-bit, CMYK and transparent images too."),
    ] = False,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with the one in --out; nothing is scored twice."),
    ] = False,
    device: Annotated[
        str, typer.Option(metavar="D", help="Where the model runs: cpu, cuda, …")
    ] = "cpu",
    batch: Annotated[str, typer.Option(metavar="N|auto", help="Images per forward pass.")] = "auto",
) -> None:
    """Learn from some images what moves a model's scores, and use it on others.

    On each image filter-search looks for the filter that moves its score most; each one and all
    fixed directions are then tried on all images, and put into the order in which they are worth
    trying. The attack takes the file in place of its fixed directions. The queries are counted
    apart: they are told here and kept in the file.
    """
    wanted_range, wanted_batch = parse_range(score_range), parse_batch(batch)
    with interruptible(out / "profile.toml", "--resume") as stop, display(stop) as shown:
        learnt = iqattack.profile(
            images,
            model,
            out=out,
            constraint=constraint,
            objective=objective,
            queries=queries,
            seed=seed,
            strokes=strokes,
            limit=limit,
            convert=convert,
            batch=wanted_batch,
            resume=resume,
            score_range=wanted_range,
            lower_better=lower_better,
            device=device,
            callbacks=shown.callbacks,
        )
    _show(learnt)
    file = out / "profile.json"
    typer.echo(f"profile  {file}")
    chosen = ["--model", model, "--attack", f"filter-search:profile={file}"]
    typer.echo(
        "next: "
        + shlex.join(["iqattack", "attack", "OTHER_IMAGES", *chosen])
        + f" --constraint {constraint} --queries 100 --out runs/profiled"
    )


def _show(learnt: Profile) -> None:
    console = Console()
    table = Table(
        title=Text(
            f"{learnt.model}: what {len(learnt.images)} images teach, in {learnt.queries} queries"
        ),
        title_justify="left",
    )
    table.add_column("try", justify="right")
    table.add_column("direction of the bank")
    table.add_column("filter")
    table.add_column("gain alone", justify="right")
    table.add_column("gain so far", justify="right")
    for number, stroke in enumerate(learnt.strokes, 1):
        side = "" if stroke.filter is None else f"{round(len(stroke.filter) ** 0.5)}"
        table.add_row(
            str(number),
            stroke.direction,
            f"{side}×{side}" if side else "",
            f"{stroke.gain:.3f}",
            f"{stroke.together:.3f}",
        )
    console.print(table)
