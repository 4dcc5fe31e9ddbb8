"""`iqattack audit`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

import iqattack
from iqattack.catalogue import defaults
from iqattack.cli.options import (
    HOW,
    RUN,
    WHAT,
    Batch,
    Concurrency,
    Convert,
    Defence,
    Device,
    Input,
    Limit,
    LowerBetter,
    MaxCost,
    MaxRequests,
    MosColumns,
    Resize,
    Retries,
    ScoreRange,
    Timeout,
    Workers,
    parse_batch,
    parse_range,
    parse_workers,
)
from iqattack.cli.progress import display
from iqattack.cli.signals import interruptible
from iqattack.specs import printable

if TYPE_CHECKING:
    from iqattack.auditing import Card, Outcome, Suite

MARKS = {"passed": "holds", "failed": "FAILS", "not measured": "not measured"}


def audit(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="The model: a spec that [bold]iqattack models[/bold] lists.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder that keeps the audit; it must be new.", rich_help_panel=RUN)
    ],
    images: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[IMAGES...]",
            help="Folders, files, patterns or lists; the sample set by default.",
            show_default=False,
        ),
    ] = None,
    suite: Annotated[
        str,
        typer.Option(
            metavar="NAME|FILE.toml",
            help="quick: takes minutes. standard: for figures to report. yang2024, bychkov2025: a "
            "paper's protocol, with its figures for comparison. quick-v1: exactly that "
            "version.",
            rich_help_panel=HOW,
        ),
    ] = "standard",
    policy: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.toml",
            help="What the model has to withstand. The exit status is 1 if it does not, 2 if that "
            "could not be measured; junit.xml, summary.md and the page in --out give the "
            "details.",
            rich_help_panel=HOW,
        ),
    ] = None,
    defence: Defence = None,
    mos: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="Opinion scores: a CSV with image,mos, or a published database's table or folder.",
            rich_help_panel=WHAT,
        ),
    ] = None,
    mos_columns: MosColumns = None,
    input: Input = None,  # noqa: A002 - as the option is called
    score_range: ScoreRange = None,
    lower_better: LowerBetter = None,
    limit: Limit = None,
    convert: Convert = False,
    resize: Resize = None,
    verified: Annotated[
        bool,
        typer.Option(
            "--verify/--no-verify",
            help="Whether to score every saved image again, at one query per score.",
            rich_help_panel=RUN,
        ),
    ] = True,
    rescore: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="For a model with noisy scores: score the clean and the attacked version of each "
            "image N more times, so that the card also has the gain without selection bias.",
            rich_help_panel=RUN,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Continue the audit in --out; no query that was answered is repeated.",
            rich_help_panel=RUN,
        ),
    ] = False,
    device: Device = "cpu",
    batch: Batch = "auto",
    workers: Workers = None,
    concurrency: Concurrency = None,
    retries: Retries = defaults.RETRIES,
    timeout: Timeout = None,
    max_requests: MaxRequests = None,
    max_cost: MaxCost = None,
) -> None:
    """Run a fixed suite of attacks on a model, and write a card of the results, with a page.

    The card has every attack's measures at every budget and the worst case over attacks, image by
    image, with 95 % intervals. With --policy, the exit status says whether the model passes.
    """
    from iqattack.auditing import (  # noqa: PLC0415 - loads torch
        CARD,
        exit_status,
        judged,
        junit,
        markdown,
        read_policy,
        read_suite,
    )
    from iqattack.reporting.card_page import INDEX  # noqa: PLC0415
    from iqattack.runs.files import write_text  # noqa: PLC0415

    wanted_range, wanted_batch = parse_range(score_range), parse_batch(batch)
    rules = None if policy is None else read_policy(policy)  # before any query
    if rules is not None:
        rules.check(read_suite(suite), mos=mos is not None or not images, fresh=rescore is not None)
    with interruptible(out / "audit.toml", "--resume") as stop, display(stop) as shown:
        card = iqattack.audit(
            model,
            images or None,
            out=out,
            suite=suite,
            defence=defence,
            limit=limit,
            mos=mos,
            mos_columns=mos_columns,
            convert=convert,
            resize=resize,
            batch=wanted_batch,
            workers=parse_workers(workers),
            concurrency=concurrency,
            retry=iqattack.Retry(retries),
            max_requests=max_requests,
            max_cost=max_cost,
            policy=policy,
            verified=verified,
            rescore=rescore,
            resume=resume,
            score_range=wanted_range,
            lower_better=lower_better,
            input=input,
            timeout=timeout,
            device=device,
            callbacks=shown.callbacks,
        )
    _show(card)
    _show_published(read_suite(suite), card)
    typer.echo(f"card  {out / CARD}")
    typer.echo(f"page  {out / INDEX}")
    for text in filter(None, (run.without_bias for run in card.runs)):
        typer.echo(text)
    for folder in card.unsound:
        typer.echo(f"{out / folder}: not as reported; for details, run 'iqattack verify'", err=True)
    for phrase in card.failed:
        typer.echo(f"{phrase}; see status in results.csv of each run", err=True)
    status = 1 if card.troubles else 0
    if rules is not None:
        outcomes = judged(rules, card)
        write_text(out / "junit.xml", junit(outcomes, card))
        write_text(out / "summary.md", markdown(outcomes, card))
        _say(outcomes)
        status = status or exit_status(outcomes)
    if status:
        raise typer.Exit(status)


def _show(card: Card) -> None:
    """The verdict, and a table of all lines."""
    from iqattack.auditing import shown  # noqa: PLC0415 - loads torch

    console = Console()
    console.print(Text(card.verdict), soft_wrap=not console.is_terminal)
    for constraint in card.constraints:
        title = Text(f"{card.model.name}, {card.suite.id}, {constraint}")
        table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
        for name in ("queries", "attack", "gain, %", "SROCC", "best on"):
            left = name == "attack"
            table.add_column(name, justify="left" if left else "right", no_wrap=not left)
        for queries in card.budgets:
            lines = [
                line
                for line in card.lines
                if (line.constraint, line.queries) == (constraint, queries)
            ]
            shares = lines[0].best
            for line in lines:
                table.add_row(
                    f"{queries:,}" if line is lines[0] else "",
                    Text(line.attack, style="bold" if line.best else ""),
                    shown(line.measures["gain"], percent=True).replace(" %", ""),
                    shown(line.measures["srocc"]),
                    "" if line.best else f"{100 * shares[line.attack]:.0f} %",
                    end_section=line is lines[-1],
                )
        console.print(table)


def _show_published(suite: Suite, card: Card) -> None:
    """What the paper of a suite published, beside what was measured here."""
    from iqattack.auditing import beside, shown  # noqa: PLC0415 - loads torch

    figures = beside(suite, card)
    if not figures:
        return
    console = Console()
    table = Table(title="Published", title_justify="left", box=SIMPLE_HEAD, pad_edge=False)
    for name in ("model", "attack", "measure", "published", card.model.name):
        left = name in ("model", "attack", "measure")
        table.add_column(Text(name), justify="left" if left else "right", no_wrap=not left)
    for figure in figures:
        said = figure.published
        table.add_row(
            Text(said.model, style="bold" if figure.same else ""),
            Text(f"{said.attack.partition(':')[0]}, {said.queries:,} queries"),
            said.measure,
            f"{said.value:g}",
            "–" if figure.measured is None else shown(figure.measured),
        )
    console.print(table)
    for source in dict.fromkeys(figure.published.source for figure in figures):
        console.print(Text(f"published: {source}; other images, so compare with care"))


def _say(outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        typer.echo(f"{MARKS[outcome.state]}: {printable(outcome.text)}")
