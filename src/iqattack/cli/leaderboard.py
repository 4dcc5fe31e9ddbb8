"""`iqattack leaderboard`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

import iqattack
from iqattack.cli.options import WHAT
from iqattack.cli.progress import display
from iqattack.specs import printable

if TYPE_CHECKING:
    from iqattack.reporting.board import Ranking, Section


def leaderboard(
    entries: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER_OR_CARD",
            help="Folders that [bold]iqattack audit[/bold] wrote; or cards alone, which count as "
            "not verified.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            metavar="DIR", help="Folder for the page; an earlier leaderboard is replaced."
        ),
    ],
    checks: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE",
            help="Output of [bold]iqattack check --json[/bold], such as a check with the model; "
            "may be repeated. Give only files that you wrote yourself.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.toml",
            help="The suite of the cards, if it is not a published one.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            help="The clean images, if the audits did not use the sample set; may be repeated.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    keep_refuted: Annotated[
        bool,
        typer.Option(
            "--keep-refuted",
            help="List refuted submissions below the tables, with the reason, instead of leaving "
            "them out.",
        ),
    ] = False,
) -> None:
    """Rank audited models on a page, with their cards beside it.

    Every folder is first checked from its files, as [bold]iqattack check[/bold] does. A folder that
    is refuted or has no card is not ranked, and the exit status is then 1. Cards that are not
    verified are listed last, without a rank. Cards of different suites or images never share a
    table.
    """
    from iqattack.auditing import read_checks  # noqa: PLC0415 - loads torch

    known = [each for file in checks or [] for each in read_checks(file)]
    with display() as shown:
        board = iqattack.leaderboard(
            entries,
            out,
            checks=known,
            suite=suite,
            images=images or None,
            keep_refuted=keep_refuted,
            callbacks=shown.callbacks,
        )
    for section in board.sections:
        for ranking in section.rankings:
            _show(section, ranking)
    for refused in board.refused:
        said = "refuted, not ranked" if refused.model else "not an audit, not ranked"
        typer.echo(f"{refused.submission}: {said}: {'; '.join(refused.reasons)}", err=True)
    typer.echo(f"the page         {out / 'index.html'}")
    if board.refused:
        raise typer.Exit(1)


def _show(section: Section, ranking: Ranking) -> None:
    from iqattack.auditing import shown  # noqa: PLC0415 - loads torch
    from iqattack.reporting.board import level_text, rank_text  # noqa: PLC0415

    title = Text(f"{section.suite}, {ranking.constraint}, {section.images} images")
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    percent = f"gain after {section.budgets[-1]:,}, %"
    for name in ("rank", "model", "gain, SD", percent, "SROCC", "verified"):
        left = name in ("model", "verified")
        table.add_column(name, justify="left" if left else "right")
    for row in ranking.rows:
        table.add_row(
            rank_text(row.rank),
            Text(printable(row.model)),
            shown(row.gain_sd),
            shown(row.gains[-1], percent=True).replace(" %", ""),
            shown(row.srocc),
            level_text(row),
        )
    Console().print(table)
    for row in ranking.rows:
        if row.unranked:
            typer.echo(f"{printable(row.model)}: no rank: {printable('; '.join(row.unranked))}")
