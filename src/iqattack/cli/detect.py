"""`iqattack detect`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

import iqattack
from iqattack.cli.output import cell, say
from iqattack.cli.progress import display
from iqattack.cli.tables import number
from iqattack.errors import InputError

if TYPE_CHECKING:
    from iqattack.api import Detection
    from iqattack.runs.detect import Median
    from iqattack.runs.summary import Measured


def detect(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or under way.")],
    detector: Annotated[
        str,
        typer.Option(
            metavar="NAME[:constant=value,…]",
            help="blacklight, with the constants window, quantisation, keep, matches and stride.",
        ),
    ] = "blacklight",
    accounts: Annotated[
        str,
        typer.Option(
            metavar="N|image",
            help="Accounts between which the queries alternate, each with its own state; image: "
            "one account per image.",
        ),
    ] = "1",
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Load the run's attack although it is code from somebody else: you have read it.",
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write a row for each image.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Print at which query a detector of similar queries would have blocked an attack.

    The searches are replayed from the log: the model is neither loaded nor queried, and the run is
    not changed. A replay takes as long as the attack did, without the model's share.
    """
    chosen = _accounts(accounts)
    with display() as shown:
        found = iqattack.detect(
            run,
            detector,
            accounts=chosen,
            trust=trust,
            out=out,
            callbacks=iqattack.Callbacks(checked=partial(shown.counted, "detect")),
        )
    if json:
        typer.echo(found.model_dump_json(indent=2))
        return
    Console().print(_table(found))
    if found.left_out:
        say(f"left out: {found.left_out} images that are not finished")
    if out is not None:
        say(f"one row each     {out}")


def _accounts(text: str) -> int | Literal["image"]:
    if text == "image":
        return "image"
    from iqattack.runs.detect import MOST_ACCOUNTS  # noqa: PLC0415 - loads torch

    if not (text.isascii() and text.isdecimal() and 1 <= len(text) <= len(str(MOST_ACCOUNTS))
            and 1 <= int(text) <= MOST_ACCOUNTS):  # fmt: skip
        raise InputError(
            f"--accounts {text[:40]}: expected 1 to {MOST_ACCOUNTS:,}, or image for an account for "
            "each image"
        )
    return int(text)


def _table(found: Detection) -> Table:
    accounts = (
        "an account for each image"
        if found.accounts == "image"
        else (f"{found.accounts} account{'' if found.accounts == 1 else 's'}")
    )
    table = Table(
        title=cell(f"{found.detector} against {found.attack}, {accounts}"), title_justify="left"
    )
    table.add_column("measure")
    table.add_column("value", justify="right")
    table.add_column("95 % interval", justify="right")
    first: Median = found.first
    table.add_row("query of the first detection, median", _query(first.value), _queries(first))
    table.add_row("share of images never detected", *_measured(found.never))
    table.add_row("share of queries flagged", number(found.flagged))
    table.add_row("mean gain", *_measured(found.gain))
    table.add_row("mean gain before the first detection", *_measured(found.gain_before))
    table.add_row("share of clean images flagged", number(found.false_positives))
    table.add_row("images", str(len(found.images)))
    return table


def _query(value: int | None) -> str:
    return "never" if value is None else str(value)


def _queries(median: Median) -> str:
    return " … ".join(map(_query, median.interval))


def _measured(measured: Measured) -> tuple[str, str]:
    return number(measured.value), " … ".join(number(end) for end in measured.interval)
