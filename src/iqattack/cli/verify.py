"""`iqattack verify`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import iqattack
from iqattack.catalogue import defaults
from iqattack.cli.options import Retries, Timeout
from iqattack.cli.progress import display
from iqattack.errors import InputError
from iqattack.specs import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iqattack.api import VerifyResult
    from iqattack.runs import Difference


def verify(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or under way.")],
    model: Annotated[
        str | None,
        typer.Option(help="The model, if its file has moved; by default the run's own."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="D", help="Where the model runs.")] = "cpu",
    tolerance: Annotated[
        float,
        typer.Option(
            help="Tolerance of scores, as a fraction of the score range, at most 0.1; for models "
            "whose scores depend on the batch. The last line of the output then says so."
        ),
    ] = 1e-6,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Load the run's model although it is code from somebody else: you have read it.",
        ),
    ] = False,
    accept_changed_model: Annotated[
        bool,
        typer.Option(
            "--accept-changed-model",
            help="Continue although the model's files have changed since the run.",
        ),
    ] = False,
    timeout: Timeout = None,
    retries: Retries = defaults.RETRIES,
) -> None:
    """Read every saved image again, score it, and compare with what the run reports.

    Also checks that each image satisfies the constraint, that it and its score are in the log, that
    no budget was exceeded, that the log is complete, and results.csv. The exit status is 1 if
    anything differs.

    A run from somebody else runs none of their code without your consent: if its model is code,
    everything that needs no model is checked first, and then you are asked.
    """

    if trust and model is not None:
        raise InputError("--trust applies to the run's own model; leave it out with --model")

    def verified(trusted: bool) -> VerifyResult:
        with display() as shown:
            return iqattack.verify(
                run,
                model,
                trust=trusted,
                accept_changed_model=accept_changed_model,
                tolerance=tolerance,
                timeout=timeout,
                retry=iqattack.Retry(retries),
                device=device,
                callbacks=shown.callbacks,
            )

    printed: tuple[Difference, ...] = ()
    try:
        result = verified(trust)
    except iqattack.api.UntrustedError as error:
        printed = error.differences
        for difference in printed:
            typer.echo(printable(str(difference)))
        if not (_asks() and typer.confirm(printable(error.question), default=False, err=True)):
            raise
        result = verified(True)
    show_verified(result, printed)
    if not result.ok:
        raise typer.Exit(1)


def _asks() -> bool:
    """Return whether somebody can answer a question."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()


def show_verified(result: VerifyResult, printed: Sequence[Difference] = ()) -> None:
    """Print every difference that was not printed yet, and how many images were checked."""
    for difference in result.differences:
        if difference not in printed:
            typer.echo(printable(str(difference)))
    for note in result.notes:
        typer.echo(f"note: {printable(note)}")
    typer.echo(result.text)
