"""Output to a terminal of texts from a run, a model or a service, which may be untrusted.

They are not interpreted as markup, and characters that move the cursor or reverse a line are
escaped.
"""

from __future__ import annotations

import shlex

import typer
from rich.console import Console
from rich.text import Text

from iqattack.specs import printable


def say(text: str, console: Console | None = None, *, fold: bool = False) -> None:
    """Print a line unchanged. fold: wrap it at spaces if it is wider than the terminal."""
    line = printable(text)
    (console or Console()).print(line, markup=False, highlight=False, soft_wrap=not fold)


def cell(text: str, style: str = "") -> Text:
    """Return a text for a table cell."""
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
    """Print the command that attacks other images with the same settings."""
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
