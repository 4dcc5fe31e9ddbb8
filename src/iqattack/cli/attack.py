"""`iqattack attack`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.cli.progress import display
from iqattack.cli.signals import interruptible
from iqattack.cli.tables import show_summary
from iqattack.errors import InputError

WHAT, HOW, RUN = "What to attack", "How", "The run"


def parse_range(text: str | None) -> tuple[float, float] | None:
    """LO,HI as two numbers; InputError if it is something else."""
    if text is None:
        return None
    try:
        low, high = (float(end) for end in text.split(","))
    except ValueError:
        raise InputError(f"--score-range {text}: expected LO,HI, such as 0,100") from None
    return low, high


def parse_batch(text: str) -> int | None:
    """A batch size, None for `auto`; InputError if it is something else."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--batch {text}: expected at least 1, or auto")
    return int(text)


def attack(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGES...",
            help="Folders, files, 'patterns/**/*', or .txt lists with a path per line.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(
            help="The model, as [bold]iqattack models[/bold] lists them.", rich_help_panel=WHAT
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(help="Folder that keeps the run; it must be new.", rich_help_panel=RUN),
    ],
    mos: Annotated[
        str | None,
        typer.Option(
            metavar="CSV",
            help="Opinion scores: a CSV with image,mos, or a published database's table.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    score_range: Annotated[
        str | None,
        typer.Option(
            metavar="LO,HI",
            help="Range of the model's scores, where it declares none or another.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    lower_better: Annotated[
        bool | None,
        typer.Option(
            "--lower-better/--no-lower-better",
            help="Whether a low score means good quality, likewise.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(metavar="N", help="Only the first N images.", rich_help_panel=WHAT),
    ] = None,
    convert: Annotated[
        bool,
        typer.Option(
            "--convert",
            help="Take 16-bit, CMYK and transparent images too, converted to 8-bit RGB.",
            rich_help_panel=WHAT,
        ),
    ] = False,
    name: Annotated[
        str,
        typer.Option(
            "--attack",
            metavar="NAME[:option=value,...]",
            help="As [bold]iqattack attacks[/bold] lists them.",
            rich_help_panel=HOW,
        ),
    ] = "filter-search",
    constraint: Annotated[
        str,
        typer.Option(
            help="linf:3 is 3 grey levels, jnd:0.38 that share of the just-noticeable difference, "
            "l0:500 so many pixels, none anything.",
            rich_help_panel=HOW,
        ),
    ] = "jnd:0.38",
    floor: Annotated[
        str | None,
        typer.Option(
            help="A similarity that no image may fall below, such as ssim:0.95; costs no query.",
            rich_help_panel=HOW,
        ),
    ] = None,
    objective: Annotated[
        str,
        typer.Option(
            metavar="rank|up|down",
            help="rank pulls good images down and bad ones up, so that the ranking breaks.",
            rich_help_panel=HOW,
        ),
    ] = "rank",
    queries: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Images that the model may score for each image, the clean one included.",
            rich_help_panel=HOW,
        ),
    ] = 2000,
    seed: Annotated[
        int, typer.Option(metavar="S", help="Of all randomness.", rich_help_panel=HOW)
    ] = 0,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out; nothing is scored twice.",
            rich_help_panel=RUN,
        ),
    ] = False,
    device: Annotated[
        str,
        typer.Option(metavar="D", help="Where the model runs: cpu, cuda, …", rich_help_panel=RUN),
    ] = "cpu",
    batch: Annotated[
        str,
        typer.Option(
            metavar="N|auto",
            help="Images per forward pass; does not change results.",
            rich_help_panel=RUN,
        ),
    ] = "auto",
) -> None:
    """Move the scores of images as far as a constraint and a budget of queries allow.

    The folder --out gets the attacked images as PNG, results.csv with a row per image, and
    summary.json. Ctrl-C stops after the batch in flight; --resume goes on, and never pays twice.
    """
    wanted_range, wanted_batch = parse_range(score_range), parse_batch(batch)
    with interruptible(out / "run.toml", "--resume") as stop, display(stop) as shown:
        run = iqattack.attack(
            images,
            model,
            out=out,
            attack=name,
            constraint=constraint,
            objective=objective,
            queries=queries,
            seed=seed,
            floor=floor,
            mos=mos,
            limit=limit,
            convert=convert,
            batch=wanted_batch,
            resume=resume,
            score_range=wanted_range,
            lower_better=lower_better,
            device=device,
            callbacks=shown.callbacks,
        )
    if resume and not shown.queries:
        print("nothing was left to do: the model was not asked", file=sys.stderr)
    summary = run.summary()
    show_summary(summary, out)
    for command in ("report", "verify"):
        typer.echo(f"next: {shlex.join(['iqattack', command, str(out)])}")
    if summary.failed:
        typer.echo(f"{failed_images(summary.failed)}; see status in results.csv", err=True)
        raise typer.Exit(1)


def failed_images(n: int) -> str:
    """For example `1 image failed`."""
    return f"{n} image{'s' if n > 1 else ''} failed"
