"""`iqattack profile`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

import iqattack
from iqattack.catalogue import defaults
from iqattack.cli.options import (
    HOW,
    RUN,
    Batch,
    Concurrency,
    Convert,
    Device,
    Input,
    Limit,
    LowerBetter,
    MaxCost,
    MaxRequests,
    Resize,
    Retries,
    ScoreRange,
    Seed,
    Timeout,
    Workers,
    parse_batch,
    parse_range,
    parse_workers,
)
from iqattack.cli.output import say_attack
from iqattack.cli.progress import display
from iqattack.cli.signals import interruptible

if TYPE_CHECKING:
    from iqattack.api import Profile


def profile(
    model: Annotated[
        str, typer.Argument(help="The model: a spec that [bold]iqattack models[/bold] lists.")
    ],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...", help="Folders, files, patterns or lists; a dozen images suffice."
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder that keeps the profile; it must be new.", rich_help_panel=RUN),
    ],
    constraint: Annotated[
        str,
        typer.Option(
            help="The constraint of the later attack: bands:2.5, linf:3, …", rich_help_panel=HOW
        ),
    ] = defaults.CONSTRAINT,
    objective: Annotated[
        str,
        typer.Option(
            metavar="rank|up|down|farther",
            help="The objective of the later attack.",
            rich_help_panel=HOW,
        ),
    ] = defaults.OBJECTIVE,
    queries: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Queries for the search on one image; trying all filters on all images costs "
            "more.",
            rich_help_panel=HOW,
        ),
    ] = 500,
    strokes: Annotated[
        int,
        typer.Option(
            min=1, metavar="N", help="Most directions in the profile.", rich_help_panel=HOW
        ),
    ] = 16,
    students: Annotated[
        int,
        typer.Option(
            min=0,
            metavar="N",
            help="Total queries to train students of the model: small networks whose gradients the "
            "attack then tries first. Training on 20,000 takes minutes. 0: no students.",
            rich_help_panel=HOW,
        ),
    ] = 0,
    seed: Seed = defaults.SEED,
    input: Input = None,  # noqa: A002 - as the option is called
    score_range: ScoreRange = None,
    lower_better: LowerBetter = None,
    limit: Limit = None,
    convert: Convert = False,
    resize: Resize = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the profile in --out; earlier scores are read from its log. Only "
            "queries in flight when a session was killed are repeated.",
            rich_help_panel=RUN,
        ),
    ] = False,
    device: Device = "cpu",
    batch: Batch = "auto",
    workers: Workers = None,
    concurrency: Concurrency = None,
    retries: Retries = defaults.RETRIES,
    timeout: Timeout = None,
    max_requests: MaxRequests = None,
    max_cost: MaxCost = None,
) -> None:
    """Learn from some images what moves a model's scores, and use it on others.

    On each image, filter-search looks for the filter that moves its score most. These filters and
    all fixed directions are then tried on all images, and sorted by how much each is worth. The
    attack uses the file in place of its fixed directions. The queries are counted separately; they
    are printed here and recorded in the file.
    """
    wanted_range, wanted_batch = parse_range(score_range), parse_batch(batch)
    wanted_workers = parse_workers(workers)
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
            students=students,
            limit=limit,
            convert=convert,
            resize=resize,
            batch=wanted_batch,
            workers=wanted_workers,
            concurrency=concurrency,
            retry=iqattack.Retry(retries),
            input=input,
            timeout=timeout,
            max_requests=max_requests,
            max_cost=max_cost,
            resume=resume,
            score_range=wanted_range,
            lower_better=lower_better,
            device=device,
            callbacks=shown.callbacks,
        )
    _show(learnt)
    file = out / "profile.json"
    typer.echo(f"profile  {file}")
    say_attack(
        f"filter-search:profile={file}",
        queries=100,
        out="runs/profiled",
        model=model,
        input=input,
        score_range=score_range,
        lower_better=lower_better,
        constraint=constraint,
        objective=objective,
        convert=convert,
        resize=resize,
        timeout=timeout,
        concurrency=concurrency,
        device=device,
    )


def _show(learnt: Profile) -> None:
    console = Console()
    table = Table(
        title=Text(
            f"{learnt.model}: learnt from {len(learnt.images)} images, in {learnt.queries} queries"
        ),
        title_justify="left",
    )
    table.add_column("try", justify="right")
    table.add_column("direction")
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
