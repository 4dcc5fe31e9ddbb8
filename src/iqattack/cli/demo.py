"""`iqattack demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

import iqattack
from iqattack.catalogue import defaults
from iqattack.cli.progress import display
from iqattack.cli.signals import interruptible
from iqattack.cli.tables import show_summary
from iqattack.cli.verify import show_verified

QUERIES = 200


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the sample images and the run.")] = Path(
        "iqattack-demo"
    ),
) -> None:
    """Attack sample images with the built-in model, verify the result and write its page.

    Takes a minute or two and downloads nothing. If it is done already, the results are shown again.
    """
    from iqattack.samples import MOS, write_samples  # noqa: PLC0415 - loads torch, scikit-image

    images, run = out / "images", out / "run"
    typer.echo(
        "The model is 'builtin', a small network trained on pseudo-MOS (iqattack models builtin);\n"
        "the images are those of iqattack samples. "
        f"Attack: {defaults.ATTACK}, {defaults.CONSTRAINT}."
    )
    with interruptible(run / "run.toml") as stop, display(stop) as shown:
        write_samples(images)
        attacked = iqattack.attack(
            str(images),
            "builtin",
            out=run,
            attack=defaults.ATTACK,
            constraint=defaults.CONSTRAINT,
            queries=QUERIES,
            mos=images / MOS,
            resume=(run / "run.toml").is_file(),
            callbacks=shown.callbacks,
        )
        verified = iqattack.verify(attacked, callbacks=shown.callbacks)
        page = iqattack.report(attacked, callbacks=shown.callbacks)
    show_summary(attacked.summary(), run)
    typer.echo(f"clean images     {images}")
    typer.echo(f"the page         {page}")
    show_verified(verified)
    if not verified.ok:
        raise typer.Exit(1)
    typer.echo("next: iqattack attack YOUR_IMAGES --model SPEC --out runs/mine")
