"""Options of the commands that query a model, and the parsers of their values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from iqattack.errors import InputError

WHAT, HOW, RUN = "What to attack", "How", "The run"

ScoreRange = Annotated[
    str | None,
    typer.Option(
        metavar="LO,HI",
        help="Range of the model's scores, if it declares none or a different one.",
        rich_help_panel=WHAT,
    ),
]
LowerBetter = Annotated[
    bool | None,
    typer.Option(
        "--lower-better/--no-lower-better",
        help="Whether a low score means good quality, if the model does not declare it.",
        rich_help_panel=WHAT,
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        metavar="TERMS",
        help="How the model takes its images, if not as uint8 tensors (N, 3, H, W): float01, "
        "imagenet, mean=…, std=…, bgr, grey, nhwc, numpy, pil, path, single, size=224, "
        "resample=bicubic, crop=224; separated by commas.",
        rich_help_panel=WHAT,
    ),
]
Defence = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:VALUE[+…]",
        help="Defences before the model, as [bold]iqattack defences[/bold] lists them, such as "
        "jpeg:75+median:3, or FILE.py:name[:option=value,…]; every query passes through them.",
        rich_help_panel=WHAT,
    ),
]
MosColumns = Annotated[
    str | None,
    typer.Option(
        "--mos-columns",
        metavar="image=NAME,mos=NAME",
        help="Columns of the --mos table, if they are not recognised; dmos=NAME if low means good "
        "quality. Columns may also be given by number, from 1.",
        rich_help_panel=WHAT,
    ),
]
Limit = Annotated[
    int | None, typer.Option(metavar="N", help="Use only the first N images.", rich_help_panel=WHAT)
]
Convert = Annotated[
    bool,
    typer.Option(
        "--convert",
        help="Also accept 16-bit, CMYK and transparent images, and convert them to 8-bit RGB.",
        rich_help_panel=WHAT,
    ),
]
Resize = Annotated[
    int | None,
    typer.Option(
        metavar="LONG_SIDE",
        help="Shrink larger images to this long side, in pixels, as they are read; the attacked "
        "image has that size.",
        rich_help_panel=WHAT,
    ),
]
Seed = Annotated[
    int, typer.Option(metavar="S", help="Seed of all randomness.", rich_help_panel=HOW)
]
Device = Annotated[
    str,
    typer.Option(
        metavar="D",
        help="Where the model runs: cpu, cuda:1, …; cuda spreads workers over all GPUs.",
        rich_help_panel=RUN,
    ),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile",
        help="Run a torch module through torch.compile. Changes scores slightly.",
        rich_help_panel=WHAT,
    ),
]
Autocast = Annotated[
    str | None,
    typer.Option(
        metavar="bfloat16|float16",
        help="Run a torch module under autocast to this dtype. Changes scores.",
        rich_help_panel=WHAT,
    ),
]
Batch = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Images per call; does not change results.",
        rich_help_panel=RUN,
    ),
]
Workers = Annotated[
    str | None,
    typer.Option(
        metavar="N|auto",
        help="Worker processes, each with its own model and a share of the images; auto: one per "
        "core, or as many as the cluster has room for. Does not change results.",
        rich_help_panel=RUN,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="local|ray",
        help="Where workers run: on this machine, or on a Ray cluster (extra: ray). Does not "
        "change results.",
        rich_help_panel=RUN,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT|ray://HOST:PORT",
        help="Address of the Ray cluster; by default RAY_ADDRESS, or else a local Ray that lasts "
        "as long as the run.",
        rich_help_panel=RUN,
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        metavar="SHARE",
        help="With --engine ray: GPUs per worker, such as 0.25; by default 1 with --device cuda.",
        rich_help_panel=RUN,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Concurrent calls, from threads, for a model that waits for a service.",
        rich_help_panel=RUN,
    ),
]
Retries = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Retries per image after a timeout or a lost connection, with a pause that doubles.",
        rich_help_panel=RUN,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Time limit of a call; a call that takes longer is retried.",
        rich_help_panel=RUN,
    ),
]
MaxRequests = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Send at most N images to the model, retries included, over all sessions.",
        rich_help_panel=RUN,
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        metavar="MONEY",
        help="Spend at most this much, at the price given in the model's description.",
        rich_help_panel=RUN,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="K/N",
        help="Attack only the K-th of N equal parts of the images; [bold]iqattack merge[/bold] "
        "joins all parts into one run. rank needs --survey.",
        rich_help_panel=RUN,
    ),
]
Survey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Clean scores from [bold]iqattack survey[/bold], which all shards share; they count "
        "as the first queries.",
        rich_help_panel=RUN,
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check/--no-check",
        help="Whether to score two clean images again before the search (four queries of each "
        "one's budget), which detects a stochastic model and one whose scores depend on the "
        "batch.",
        rich_help_panel=RUN,
    ),
]

# Options of the commands that examine a run.
Screen = Annotated[
    str | None,
    typer.Option(
        "--display",
        metavar="NAME",
        help="The display for which JOD and FLIP are measured: by default standard_fhd (24 inches, "
        "seen from 0.6 m); standard_4k, standard_phone or another from ColorVideoVDP's table.",
    ),
]
Distance = Annotated[
    float | None,
    typer.Option(metavar="METRES", help="Viewing distance; by default the display's own."),
]


def parse_range(text: str | None) -> tuple[float, float] | None:
    """Parse LO,HI as two numbers; InputError if it is anything else."""
    if text is None:
        return None
    try:
        low, high = (float(end) for end in text.split(","))
    except ValueError:
        raise InputError(f"--score-range {text}: expected LO,HI, such as 0,100") from None
    return low, high


def parse_batch(text: str) -> int | None:
    """Parse a batch size, None for `auto`; InputError if it is anything else."""
    if text == "auto":
        return None
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--batch {text}: expected at least 1, or auto")
    return int(text)


def usable_cores() -> int:
    """Return the number of cores that this process may use, or of all if the system does not
    say."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_workers(text: str | None, engine: str = "local") -> int | None:
    """Parse a number of processes, `auto` being one per core; InputError if it is anything else.

    engine: with `ray`, `auto` is left to the cluster, which knows its capacity.
    """
    if text is None:
        return None
    if text == "auto":
        return None if engine == "ray" else usable_cores()
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--workers {text}: expected at least 1, or auto")
    return int(text)
