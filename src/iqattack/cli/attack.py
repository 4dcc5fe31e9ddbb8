"""`iqattack attack`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.catalogue import constraints, defaults
from iqattack.cli.options import (
    HOW,
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
    MosColumns,
    Resize,
    Retries,
    ScoreRange,
    Seed,
    Shard,
    Survey,
    Timeout,
    Workers,
    parse_batch,
    parse_range,
    parse_workers,
)
from iqattack.cli.progress import display
from iqattack.cli.signals import interruptible
from iqattack.cli.tables import All, show_summary
from iqattack.errors import InputError


def attack(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Folders, files, 'patterns/**/*', or .txt lists with one path per line.",
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
        typer.Option(help="Folder that keeps the run; it must be new.", rich_help_panel=RUN),
    ],
    mos: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="Opinion scores: a CSV with image,mos, or a published database's table or folder.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    mos_columns: MosColumns = None,
    defence: Defence = None,
    input: Input = None,  # noqa: A002 - as the option is called
    score_range: ScoreRange = None,
    lower_better: LowerBetter = None,
    compile: Compile = False,  # noqa: A002 - as the option is called
    autocast: Autocast = None,
    limit: Limit = None,
    convert: Convert = False,
    resize: Resize = None,
    name: Annotated[
        str,
        typer.Option(
            "--attack",
            metavar="NAME[:option=value,...]",
            help="An attack that [bold]iqattack attacks[/bold] lists.",
            rich_help_panel=HOW,
        ),
    ] = defaults.ATTACK,
    constraint: Annotated[
        str,
        typer.Option(
            help=constraints.HELP,
            rich_help_panel=HOW,
        ),
    ] = defaults.CONSTRAINT,
    floor: Annotated[
        str | None,
        typer.Option(
            help="A similarity to keep. ssim:0.95: no candidate falls below it, at no query. "
            "jod:9.5: the result is brought back to it, at one query (extra: visibility).",
            rich_help_panel=HOW,
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            metavar="rank|up|down|farther|srocc|top:K",
            help="rank makes good images look worse to the model and bad ones better, which breaks "
            "the ranking; up makes all look better, down worse; farther moves each score to "
            "the more distant end of the range. With --budget-total: srocc minimises the "
            "SROCC of clean and attacked scores; top:3,into=a.png moves a.png into the first "
            "three (out=b.png: out of them), and top:3 replaces all three.",
            rich_help_panel=HOW,
        ),
    ] = defaults.OBJECTIVE,
    queries: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Queries per image, the clean image included.",
            rich_help_panel=HOW,
        ),
    ] = defaults.QUERIES,
    budget_total: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Queries for all images together, with srocc and top:K; they go where they change "
            "the ranking most.",
            rich_help_panel=HOW,
        ),
    ] = None,
    seed: Seed = defaults.SEED,
    shard: Shard = None,
    survey: Survey = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the run in --out, or start one if there is none. Earlier scores are "
            "read from its log; only queries in flight when a session was killed are "
            "repeated.",
            rich_help_panel=RUN,
        ),
    ] = False,
    accept_changed_model: Annotated[
        bool,
        typer.Option(
            "--accept-changed-model",
            help="With --resume: continue although the model's files have changed; the run records "
            "since when.",
            rich_help_panel=RUN,
        ),
    ] = False,
    accept_lost_log: Annotated[
        bool,
        typer.Option(
            "--accept-lost-log",
            help="With --resume: repeat, and pay again for, the queries that the log has lost.",
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
    every: All = False,
) -> None:
    """Move the scores of images as far as a constraint and a budget of queries allow.

    Writes the attacked images as PNG, results.csv with a row per image, and summary.json to the
    folder --out. Ctrl-C stops after the batch in flight; --resume continues, and repeats no query
    that is in the log.
    """
    wanted_range, wanted_batch = parse_range(score_range), parse_batch(batch)
    wanted_workers = parse_workers(workers, engine)
    for option, given in (
        ("--accept-changed-model", accept_changed_model),
        ("--accept-lost-log", accept_lost_log),
    ):
        if given and not resume:
            raise InputError(
                f"{option} applies to a run that is resumed; add --resume, or leave it out"
            )
    with interruptible(out / "run.toml", "--resume") as stop, display(stop) as shown:
        run = iqattack.attack(
            images,
            model,
            out=out,
            attack=name,
            constraint=constraint,
            objective=objective,
            queries=queries,
            budget_total=budget_total,
            seed=seed,
            floor=floor,
            mos=mos,
            mos_columns=mos_columns,
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
            shard=shard,
            survey=survey,
            resume=resume,
            accept_changed_model=accept_changed_model,
            accept_lost_log=accept_lost_log,
            score_range=wanted_range,
            lower_better=lower_better,
            device=device,
            compile=compile,
            autocast=autocast,
            callbacks=shown.callbacks,
        )
    if resume and not shown.asked:
        print("nothing left to do: the model was not queried", file=sys.stderr)
    summary = run.summary()
    show_summary(summary, out, every=every)
    for command in ("report", "verify"):
        typer.echo(f"next: {shlex.join(['iqattack', command, str(out)])}")
    end_with_failed(summary.failed)


def end_with_failed(images: int, where: str = "status in results.csv") -> None:
    """Exit with 1 where images failed, and say so."""
    if images:
        line = f"{images} image{'s' if images > 1 else ''} failed; see {where}"
        typer.echo(line, err=True)
        raise typer.Exit(1)
