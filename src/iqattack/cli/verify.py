"""`iqattack verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import iqattack
from iqattack.cli.options import Retries, Timeout
from iqattack.cli.progress import display

if TYPE_CHECKING:
    from iqattack.api import VerifyResult


def verify(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or under way.")],
    model: Annotated[
        str | None,
        typer.Option(help="The model, where its file has moved; by default as the run has it."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="D", help="Where the model runs.")] = "cpu",
    tolerance: Annotated[
        float,
        typer.Option(
            help="By how much scores may differ, as a fraction of the score range; for models "
            "whose scores depend on the batch."
        ),
    ] = 1e-6,
    timeout: Timeout = None,
    retries: Retries = 3,
) -> None:
    """Read every saved image again, score it, and compare with what the run reports.

    Also checked: that the image satisfies the constraint, that it and its score are in the log,
    that no budget was exceeded, and results.csv. Exit status 1 when anything differs.
    """
    with display() as shown:
        result = iqattack.verify(
            run,
            model,
            tolerance=tolerance,
            timeout=timeout,
            retry=iqattack.Retry(retries),
            device=device,
            callbacks=shown.callbacks,
        )
    show_verified(result)
    if not result.ok:
        raise typer.Exit(1)


def show_verified(result: VerifyResult) -> None:
    """Print every difference, and how many images were checked."""
    for difference in result.differences:
        typer.echo(difference)
    wrong = len({difference.image for difference in result.differences})
    verdict = f"{wrong} differ" if wrong else "all as reported"
    rest = "".join(
        f", {n} {what}"
        for n, what in ((result.failed, "failed before"), (result.pending, "still to do"))
        if n
    )
    typer.echo(f"{result.checked} images checked: {verdict}{rest}")
