"""Options of the commands that ask a model, and what their texts mean."""

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
        help="Range of the model's scores, where it declares none or another.",
        rich_help_panel=WHAT,
    ),
]
LowerBetter = Annotated[
    bool | None,
    typer.Option(
        "--lower-better/--no-lower-better",
        help="Whether a low score means good quality, likewise.",
        rich_help_panel=WHAT,
    ),
]
Input = Annotated[
    str | None,
    typer.Option(
        metavar="TERMS",
        help="How the model wants its images, where not as uint8 tensors (N, 3, H, W): float01, "
        "imagenet, mean=…, std=…, bgr, grey, nhwc, numpy, pil, path, single, size=224, "
        "resample=bicubic, crop=224; joined by commas.",
        rich_help_panel=WHAT,
    ),
]
Defence = Annotated[
    str | None,
    typer.Option(
        metavar="NAME:VALUE[+…]",
        help="What stands before the model, as [bold]iqattack defences[/bold] lists it, such as "
        "jpeg:75+median:3, or FILE.py:name[:option=value,…]; every query goes through it.",
        rich_help_panel=WHAT,
    ),
]
MosColumns = Annotated[
    str | None,
    typer.Option(
        "--mos-columns",
        metavar="image=NAME,mos=NAME",
        help="Columns of the --mos table where its header does not say them; dmos=NAME where low "
        "means good quality. Numbers count from 1.",
        rich_help_panel=WHAT,
    ),
]
Limit = Annotated[
    int | None, typer.Option(metavar="N", help="Only the first N images.", rich_help_panel=WHAT)
]
Convert = Annotated[
    bool,
    typer.Option(
        "--convert",
        help="Take 16-bit, CMYK and transparent images too, converted to 8-bit RGB.",
        rich_help_panel=WHAT,
    ),
]
Resize = Annotated[
    int | None,
    typer.Option(
        metavar="LONG_SIDE",
        help="Shrink images whose long side is longer to that many pixels as they are read; the "
        "attacked image has that size.",
        rich_help_panel=WHAT,
    ),
]
Seed = Annotated[int, typer.Option(metavar="S", help="Of all randomness.", rich_help_panel=HOW)]
Device = Annotated[
    str,
    typer.Option(
        metavar="D",
        help="Where the model runs: cpu, cuda:1, …; cuda deals workers over all GPUs.",
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
        help="Processes with a model each and a share of the images; auto: one for each core, or "
        "as many as a cluster has room for. Does not change results.",
        rich_help_panel=RUN,
    ),
]
Engine = Annotated[
    str,
    typer.Option(
        metavar="local|ray",
        help="Who runs workers: this machine, or a Ray cluster (extra: ray). Does not change "
        "results.",
        rich_help_panel=RUN,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        metavar="auto|HOST:PORT|ray://HOST:PORT",
        help="Of the Ray cluster; by default that of RAY_ADDRESS, or else a Ray that is started "
        "here and ended with the run.",
        rich_help_panel=RUN,
    ),
]
GpusPerWorker = Annotated[
    float | None,
    typer.Option(
        "--gpus-per-worker",
        metavar="SHARE",
        help="With --engine ray: GPUs of a worker, such as 0.25; by default 1 with --device cuda.",
        rich_help_panel=RUN,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Calls at once, from threads, for a model that waits on a service.",
        rich_help_panel=RUN,
    ),
]
Retries = Annotated[
    int,
    typer.Option(
        metavar="N",
        help="Tries after the first for an image whose score timed out or whose connection was "
        "lost, with a pause that doubles.",
        rich_help_panel=RUN,
    ),
]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        help="Time limit of a call; what takes longer is tried again.",
        rich_help_panel=RUN,
    ),
]
MaxRequests = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        help="Send no more than N images to the model, every retry counted, all sessions together.",
        rich_help_panel=RUN,
    ),
]
MaxCost = Annotated[
    float | None,
    typer.Option(
        metavar="MONEY",
        help="Spend no more, at the price that the model's description names.",
        rich_help_panel=RUN,
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        metavar="K/N",
        help="Attack the K-th of N equal parts of the images, here alone; [bold]iqattack "
        "merge[/bold] makes one run of all parts. rank needs --survey.",
        rich_help_panel=RUN,
    ),
]
Survey = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Clean scores that [bold]iqattack survey[/bold] asked for, which shards share; they "
        "count as the first queries.",
        rich_help_panel=RUN,
    ),
]
Check = Annotated[
    bool,
    typer.Option(
        "--check/--no-check",
        help="Whether two clean images are scored again before the search, four queries of each "
        "one's budget, to find a stochastic model and one whose scores depend on the batch.",
        rich_help_panel=RUN,
    ),
]

# Of the commands that look at a run.
Screen = Annotated[
    str | None,
    typer.Option(
        "--display",
        metavar="NAME",
        help="The display that JOD and FLIP are measured for: standard_fhd (24 inches, seen from "
        "0.6 m) by default, standard_4k, standard_phone or another of ColorVideoVDP's table.",
    ),
]
Distance = Annotated[
    float | None,
    typer.Option(metavar="METRES", help="How far the eye is from it; by default as it is used."),
]


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


def usable_cores() -> int:
    """Cores that this process may use, where the system tells, or else all."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def parse_workers(text: str | None, engine: str = "local") -> int | None:
    """A number of processes, one for each core with `auto`; InputError if it is something else.

    engine: `ray` sees by itself for how many it has room.
    """
    if text is None:
        return None
    if text == "auto":
        return None if engine == "ray" else usable_cores()
    if not text.isdecimal() or int(text) < 1:
        raise InputError(f"--workers {text}: expected at least 1, or auto")
    return int(text)
