"""`iqattack universal`."""

from __future__ import annotations

import shlex
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
    from iqattack.api import Perturbation


def universal(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Folders, files, patterns or lists; with more images it generalises better.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="The model: a spec that [bold]iqattack models[/bold] lists.", rich_help_panel=HOW
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder that keeps the perturbation; it must be new.", rich_help_panel=RUN
        ),
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
            metavar="rank|up|down",
            help="rank learns both directions, each on the images that it applies to.",
            rich_help_panel=HOW,
        ),
    ] = defaults.OBJECTIVE,
    queries: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Queries for all images together, the clean images included.",
            rich_help_panel=HOW,
        ),
    ] = 5000,
    way: Annotated[
        str,
        typer.Option(
            metavar="filter|nes|evolution|square",
            help="What to search for: a filter of each image's own detail beside a direction or a "
            "tile (ours), or a fixed tile, as in the literature.",
            rich_help_panel=HOW,
        ),
    ] = "filter",
    k: Annotated[
        int,
        typer.Option(
            "--k",
            min=1,
            metavar="K",
            help="Most patterns to keep for each direction.",
            rich_help_panel=HOW,
        ),
    ] = 8,
    minibatch: Annotated[
        int,
        typer.Option(
            min=1,
            metavar="N",
            help="Images on which a candidate is tried.",
            rich_help_panel=HOW,
        ),
    ] = 4,
    jpeg: Annotated[
        int | None,
        typer.Option(
            metavar="QUALITY",
            help="Score every image after JPEG at this quality (1 to 100), so that the "
            "perturbation survives a service that recompresses uploads.",
            rich_help_panel=HOW,
        ),
    ] = None,
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
            help="Continue the perturbation in --out; earlier scores are read from its log. Only "
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
    """Learn one change that moves the score of any image, and apply it to others without queries.

    Candidates are tried on a few of the images at a time and judged by their mean gain. The best
    are tried on all images and sorted by how much each is worth. The queries are counted and
    recorded in the file, and never exceed --queries.
    """
    wanted_range, wanted_batch = parse_range(score_range), parse_batch(batch)
    wanted_workers = parse_workers(workers)
    with interruptible(out / "universal.toml", "--resume") as stop, display(stop) as shown:
        learnt = iqattack.universal(
            images,
            model,
            out=out,
            constraint=constraint,
            objective=objective,
            queries=queries,
            seed=seed,
            way=way,
            k=k,
            minibatch=minibatch,
            jpeg=jpeg,
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
    file = out / "perturbation.safetensors"
    typer.echo(f"perturbation  {file}")
    say_attack(
        f"universal:file={file}",
        queries=2,
        out="runs/universal",
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
    ways = ["--direction", "up"] if learnt.learnt.up and learnt.learnt.down else []
    laid = ["iqattack", "apply", str(out), "OTHER_IMAGES", *ways, "--out", "changed"]
    typer.echo(f"or without queries: {shlex.join(laid)}")


def _show(perturbation: Perturbation) -> None:
    learnt = perturbation.learnt
    console = Console()
    table = Table(
        title=Text(
            f"{learnt.model}: {len(learnt.images)} images, {learnt.queries:,} queries"
            + ("" if learnt.jpeg is None else f", scored after JPEG {learnt.jpeg}")
        ),
        title_justify="left",
    )
    for name in ("scores", "try", "pattern"):
        table.add_column(name)
    table.add_column("gain alone", justify="right")
    table.add_column("gain so far", justify="right")
    for way, known in (("up", learnt.up), ("down", learnt.down)):
        for number, pattern in enumerate(known, 1):
            table.add_row(
                way,
                str(number),
                pattern.text(perturbation.tiles),
                f"{pattern.gain:.3f}",
                f"{pattern.together:.3f}",
            )
    console.print(table)
