"""Options of the commands that ask a model, and what their texts mean."""

from __future__ import annotations

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
Seed = Annotated[int, typer.Option(metavar="S", help="Of all randomness.", rich_help_panel=HOW)]
Device = Annotated[
    str, typer.Option(metavar="D", help="Where the model runs: cpu, cuda, …", rich_help_panel=RUN)
]
Batch = Annotated[
    str,
    typer.Option(
        metavar="N|auto",
        help="Images per forward pass; does not change results.",
        rich_help_panel=RUN,
    ),
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
