"""`iqattack samples`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def samples(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write them to.")],
) -> None:
    """Write 24 sample images with quality labels, for a first attack.

    They are 256×256 crops of colour photographs that ship with scikit-image (nothing is
    downloaded), clean and with 11 kinds of distortion at levels 1 to 5, named after the distortion,
    and mos.csv (image,mos). The labels are pseudo-MOS, 0 to 100, higher is better: three
    full-reference measures fused by rank, not opinions of people. Every call writes the same bytes.
    """
    from iqattack.samples import MOS, write_samples  # noqa: PLC0415 - loads torch, scikit-image

    names = write_samples(folder)
    typer.echo(f"{len(names)} images and their labels in {folder / MOS}")
    typer.echo(
        f"next: iqattack attack {folder} --mos {folder / MOS} --model builtin"
        " --queries 500 --out runs/samples"
    )
