"""`iqattack survey`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.catalogue import defaults
from iqattack.cli.attack import end_with_failed
from iqattack.cli.options import (
    RUN,
    WHAT,
    Address,
    Autocast,
    Batch,
    Check,
    Compile,
    Concurrency,
    Convert,
    Defence,
    Device,
    Engine,
    GpusPerWorker,
    Input,
    Limit,
    LowerBetter,
    MaxCost,
    MaxRequests,
    Resize,
    Retries,
    ScoreRange,
    Timeout,
    Workers,
    parse_batch,
    parse_range,
    parse_workers,
)
from iqattack.cli.progress import display
from iqattack.cli.signals import interruptible

# Options of this command alone: where it writes, and the limits of its own requests.
ITS_OWN = ("images", "model", "out", "resume", "max_requests", "max_cost")


def survey(
    context: typer.Context,
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="All images of the later attack: folders, files, patterns or lists.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="The model: a spec that [bold]iqattack models[/bold] lists.", rich_help_panel=WHAT
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="FILE",
            help="File that keeps the scores, such as survey.json; it must be new.",
            rich_help_panel=RUN,
        ),
    ],
    defence: Defence = None,
    input: Input = None,  # noqa: A002 - as the option is called
    score_range: ScoreRange = None,
    lower_better: LowerBetter = None,
    compile: Compile = False,  # noqa: A002 - as the option is called
    autocast: Autocast = None,
    limit: Limit = None,
    convert: Convert = False,
    resize: Resize = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue an earlier survey; its scores are read from its log, which lies beside "
            "--out. A finished survey is left unchanged.",
            rich_help_panel=RUN,
        ),
    ] = False,
    device: Device = "cpu",
    batch: Batch = "auto",
    workers: Workers = None,
    engine: Engine = "local",
    address: Address = None,
    gpus_per_worker: GpusPerWorker = None,
    concurrency: Concurrency = None,
    retries: Retries = defaults.RETRIES,
    timeout: Timeout = None,
    max_requests: MaxRequests = None,
    max_cost: MaxCost = None,
    check: Check = True,
) -> None:
    """Score all clean images once, for attacks on parts of them (--shard).

    With the objective rank, the direction of each score depends on the scores of all images, and
    the check of the model uses two of them. Give the file to each shard with --survey: its scores
    count as the first queries of each image, and are not repeated.
    """
    wanted_range, wanted_batch = parse_range(score_range), parse_batch(batch)
    wanted_workers = parse_workers(workers, engine)
    from iqattack.runs.surveying import log_of  # noqa: PLC0415 - loads torch

    log = log_of(out)
    with interruptible(log, "--resume") as stop, display(stop) as shown:
        found = iqattack.survey(
            images,
            model,
            out=out,
            limit=limit,
            convert=convert,
            resize=resize,
            batch=wanted_batch,
            workers=wanted_workers,
            engine=engine,
            address=address,
            gpus_per_worker=gpus_per_worker,
            concurrency=concurrency,
            retry=iqattack.Retry(retries),
            defence=defence,
            input=input,
            timeout=timeout,
            max_requests=max_requests,
            max_cost=max_cost,
            check=check,
            resume=resume,
            score_range=wanted_range,
            lower_better=lower_better,
            device=device,
            compile=compile,
            autocast=autocast,
            callbacks=shown.callbacks,
        )
    if resume and not shown.asked:
        print("nothing left to do: the model was not queried", file=sys.stderr)
    scores = sorted(found.known.values())
    typer.echo(
        f"survey  {out}: {len(scores)} of {len(found.images)} images, clean scores "
        f"{scores[0]:.4g} to {scores[-1]:.4g}"
    )
    given = ["iqattack", "attack", *images, "--model", model, *_options(context)]
    given += ["--survey", str(out), "--shard", "1/2", "--out", "shards/1"]
    typer.echo(f"next: {shlex.join(given)}")
    end_with_failed(len(found.images) - len(scores), f"failed in {out}")


def _options(context: typer.Context) -> list[str]:
    """Return the given options that the attack needs, too."""
    texts = []
    for option in context.command.params:
        value = context.params.get(option.name or "")
        if option.name in ITS_OWN or value is None or value == option.default:
            continue
        if isinstance(value, bool):
            texts.append((option.opts if value else option.secondary_opts)[0])
        else:
            texts += [option.opts[0], str(value)]
    return texts
