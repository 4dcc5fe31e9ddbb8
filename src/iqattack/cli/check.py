"""`iqattack check`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import iqattack
from iqattack.catalogue import defaults
from iqattack.cli.options import (
    HOW,
    RUN,
    WHAT,
    Autocast,
    Compile,
    Defence,
    Device,
    Input,
    LowerBetter,
    Retries,
    ScoreRange,
    Timeout,
    parse_range,
)
from iqattack.cli.progress import display
from iqattack.errors import InputError
from iqattack.specs import printable

if TYPE_CHECKING:
    from iqattack.auditing import CardCheck

REACHED = {
    "card": "nothing is verified",
    "files": "the card follows from its runs, which agree with their logs, attacks and pictures",
    "model": "the model gave the same scores again, and everything else agrees",
}


def check(
    cards: Annotated[
        list[Path],
        typer.Argument(
            metavar="CARD_OR_FOLDER",
            help="Folders that [bold]iqattack audit[/bold] wrote, or cards.",
            show_default=False,
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="Score the saved images again with this model. The model that a submission names "
            "is never loaded.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Images of each run to score again, drawn at random; all by default.",
            rich_help_panel=HOW,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.toml",
            help="The suite of the card, if it is not a published one.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="The clean images, if the audit did not use the sample set; may be repeated.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    defence: Defence = None,
    input: Input = None,  # noqa: A002 - as the option is called
    compile: Compile = False,  # noqa: A002 - likewise
    autocast: Autocast = None,
    score_range: ScoreRange = None,
    lower_better: LowerBetter = None,
    tolerance: Annotated[
        float,
        typer.Option(
            help="Tolerance of scores, as a fraction of the score range. With more than the "
            "default, the model does not count as verified.",
            rich_help_panel=HOW,
        ),
    ] = 1e-6,
    json: Annotated[
        Path | None,
        typer.Option(
            "--json",
            metavar="FILE",
            help="Write the result as JSON, such as check.json.",
            rich_help_panel=RUN,
        ),
    ] = None,
    device: Device = "cpu",
    retries: Retries = defaults.RETRIES,
    timeout: Timeout = None,
) -> None:
    """Verify a card from the runs beside it, and with --model by querying the model again.

    The card is computed again from the runs and compared field by field; every run is compared with
    its suite, its log and its pictures. The exit status is 0 if everything holds, 1 if something is
    refuted, 2 if it could not be verified. No code of a submission is run.
    """
    from iqattack.auditing import CardChecks  # noqa: PLC0415 - loads torch
    from iqattack.runs.files import write_text  # noqa: PLC0415

    ends = parse_range(score_range)
    if model is None:
        for name, value in (
            ("--sample", sample),
            ("--defence", defence),
            ("--input", input),
            ("--compile", compile or None),
            ("--autocast", autocast),
        ):
            if value is not None:
                shown_value = "" if value is True else f" {value}"
                raise InputError(
                    f"{name}{shown_value}: applies to a model; add --model, or leave it out"
                )
    if json is not None:
        _check_writable(json)
    found: list[CardCheck] = []
    states = set[int]()
    for card in cards:
        try:
            with display() as shown:
                result = iqattack.check_card(
                    card,
                    model,
                    suite=suite,
                    images=images or None,
                    sample=sample,
                    defence=defence,
                    tolerance=tolerance,
                    score_range=ends,
                    lower_better=lower_better,
                    input=input,
                    compile=compile,
                    autocast=autocast,
                    timeout=timeout,
                    retry=iqattack.Retry(retries),
                    device=device,
                    callbacks=shown.callbacks,
                )
        except InputError as error:  # the others are still checked
            typer.echo(f"error: {printable(str(error))}", err=True)
            states.add(error.exit_status)
            continue
        found.append(result)
        states.add(result.exit_status)
        _say(card, result)
    if json is not None:
        write_text(json, CardChecks(checks=tuple(found)).model_dump_json(indent=2) + "\n")
    status = 1 if 1 in states else max(states)
    if status:
        raise typer.Exit(status)


def _check_writable(file: Path) -> None:
    """Raise InputError if a file cannot be written, before anything is checked."""
    folder = file.absolute().parent
    if file.is_dir():
        raise InputError(f"--json {file}: is a folder; give the name of a file")
    if not folder.is_dir():
        raise InputError(
            f"--json {file}: {folder} is not a folder; create it, or give another file"
        )
    if not os.access(file if file.exists() else folder, os.W_OK):
        raise InputError(f"--json {file}: cannot be written; give another file")


def _say(card: Path, found: CardCheck) -> None:
    """Print all findings, and the outcome on one line."""
    for finding in found.findings:
        typer.echo(str(finding))
    outcome = found.outcome
    reached = REACHED[found.level]
    parts = [printable(found.model), found.suite]
    if found.images:
        parts.append(f"{found.images} attacked images")
    if found.sampled is not None:
        parts.append(f"{len(found.sampled)} of {found.pictures} images with the model")
    if found.scored:
        parts.append(f"{found.scored} scores repeated")
    said = outcome if outcome != "holds" else f"holds ({found.level}): {reached}"
    typer.echo(f"{printable(str(card))}: {said} ({', '.join(map(printable, parts))})")
