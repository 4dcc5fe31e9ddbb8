"""What goes to a terminal: texts of a run, a model or a service, which may be anybody's.

They are no markup, and what would move the cursor or turn the line around is written as an escape.
"""

from __future__ import annotations

import shlex

import typer
from rich.console import Console
from rich.text import Text

from iqattack.specs import printable


def say(text: str, console: Console | None = None, *, fold: bool = False) -> None:
    """Print a line as it is. fold: at spaces, where it is longer than the terminal is wide."""
    line = printable(text)
    (console or Console()).print(line, markup=False, highlight=False, soft_wrap=not fold)


def cell(text: str, style: str = "") -> Text:
    """A text for a table."""
    return Text(printable(text), style=style)


def say_attack(
    attack: str,
    *,
    queries: int,
    out: str,
    model: str,
    input: str | None,  # noqa: A002 - as the option is called
    score_range: str | None,
    lower_better: bool | None,
    constraint: str,
    objective: str,
    convert: bool,
    resize: int | None,
    timeout: float | None,
    concurrency: int | None,
    device: str,
) -> None:
    """Print the command that attacks other images, as these were learnt from."""
    options = {
        "--model": model,
        "--input": input,
        "--score-range": score_range,
        "--attack": attack,
        "--constraint": constraint,
        "--objective": objective,
        "--resize": None if resize is None else str(resize),
        "--timeout": None if timeout is None else f"{timeout:g}",
        "--concurrency": None if concurrency is None else str(concurrency),
        "--device": None if device == "cpu" else device,
        "--queries": str(queries),
        "--out": out,
    }
    flags = {None: [], True: ["--lower-better"], False: ["--no-lower-better"]}[lower_better]
    flags += ["--convert"] if convert else []
    given = [part for name, value in options.items() if value is not None for part in (name, value)]
    typer.echo("next: " + shlex.join(["iqattack", "attack", "OTHER_IMAGES", *given, *flags]))
