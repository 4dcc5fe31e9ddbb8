"""`iqattack rescore`."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.catalogue import defaults
from iqattack.cli.options import Concurrency, MaxCost, MaxRequests, Retries, Timeout
from iqattack.cli.output import say
from iqattack.cli.progress import display
from iqattack.cli.signals import interruptible


def rescore(
    run: Annotated[Path, typer.Argument(help="Folder of a run, finished or under way.")],
    times: Annotated[
        int, typer.Option(metavar="N", help="Fresh scores of each picture, at least 2.")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The model, if its file has moved; by default the run's own."),
    ] = None,
    device: Annotated[str, typer.Option(metavar="D", help="Where the model runs.")] = "cpu",
    trust: Annotated[
        bool,
        typer.Option(
            "--trust",
            help="Load the run's model although it is code from somebody else: you have read it.",
        ),
    ] = False,
    concurrency: Concurrency = None,
    timeout: Timeout = None,
    retries: Retries = defaults.RETRIES,
    max_requests: MaxRequests = None,
    max_cost: MaxCost = None,
) -> None:
    """Score clean and attacked pictures again, to remove the bias of the best of noisy scores.

    Each picture is scored until it has N fresh scores, one call each; random defences draw anew
    every time. These queries do not count towards the budget of the attack. The measures of the run
    then include the mean gain of fresh scores and the selection bias; rescored.csv has a row for
    each image. After an interruption, repeat the command to continue.
    """
    with interruptible(run / "log.sqlite") as stop, display(stop) as shown:
        found = iqattack.rescore(
            run,
            model,
            times=times,
            trust=trust,
            concurrency=concurrency,
            retry=iqattack.Retry(retries),
            max_requests=max_requests,
            max_cost=max_cost,
            timeout=timeout,
            device=device,
            callbacks=iqattack.Callbacks(
                stop=stop,
                loading=shown.loading,
                note=shown.note,
                checked=partial(shown.counted, "rescore"),
            ),
        )
    say(found.text, fold=True)
    say(f"one row each     {run / 'rescored.csv'}")
