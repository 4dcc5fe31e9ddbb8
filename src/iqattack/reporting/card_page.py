"""The page of an audit: a self-contained file, made from its card and its runs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from iqattack.auditing import (
    CARD,
    Card,
    beside_known,
    judged,
    read_card,
    read_policy,
    references_for,
)
from iqattack.auditing import POLICY as POLICY_FILE
from iqattack.errors import InputError, RunError
from iqattack.reporting import card_content as content
from iqattack.reporting.rendering import PLOTLY, allowed, inline, inline_style, template
from iqattack.reporting.telling import SHOWN, RunHere, has_jod, most_moved, runs_here
from iqattack.runs.files import write_text
from iqattack.runs.numbers import without_folders

Judged = tuple[str, int, list[tuple[str, str]]]  # see `card_content.policy`

INDEX = "index.html"
TEMPLATE = "card.html"
STYLES = ("page.css", "result.css", "card.css")
FIRST = ("numbers.js", "theme.js")  # before anything is painted
SCRIPTS = (PLOTLY, "plots.js", "slider.js", "card.js")  # in the order in which they run


def write_card_page(folder: Path, card: Card | None = None) -> Path:
    """Write the page of an audit beside its card, and return its path; an earlier one is replaced.

    card: the one in the folder, if it was read already. The same card and runs give the same bytes.
    The page reports runs that are missing or differ from the card.

    Raises RunError for an audit without a card, InputError for a card that cannot be read.
    """
    if card is None:
        if not (folder / CARD).is_file():
            raise RunError(
                f"{folder}: this audit has no card yet; continue it with 'iqattack audit --resume'"
            )
        card = read_card(folder)
    page = folder / INDEX
    write_text(page, card_page(folder, card))
    return page


def card_page(folder: Path, card: Card) -> str:
    """The page as HTML."""
    here = runs_here(folder, card)
    troubles = [f"{one.trouble}." for one in here if one.trouble is not None]
    policy, wrong = _policy(folder / POLICY_FILE, card)
    pictures = most_moved(folder, here, SHOWN)
    references, figures = references_for(card), beside_known(card)
    chart = content.chart(card, references)
    scripts = {name: inline(name) for name in (*FIRST, *SCRIPTS)}
    return template(TEMPLATE).render(
        title=f"{card.model.name}, {card.suite.id}",
        card=card,
        headline=content.headline(card),
        policy=policy,
        concerns=content.concerns(card, [*troubles, *wrong]),
        facts=content.facts(card),
        figures=content.figures(card, references),
        pictures=pictures,
        has_jod=has_jod(pictures),
        chart=chart,
        measures=content.measures(card),
        published=content.published(figures, card),
        sources=list(dict.fromkeys(figure.published.source for figure in figures)),
        visibility=content.visibility(card),
        run_columns=content.RUN_COLUMNS,
        runs=_runs(here),
        pages=any(one.page for one in here),
        provenance=content.provenance(card),
        styles=[inline_style(name) for name in STYLES],
        allowed=allowed(scripts.values()),
        first=[scripts[name] for name in FIRST],
        scripts=[scripts[name] for name in SCRIPTS],
        data=_data({"curves": chart.curves}),
    )


def _runs(here: Sequence[RunHere]) -> list[tuple[tuple[str, ...], bool, str | None]]:
    """For each run: its cells, whether it failed verification, and where its page is."""
    return [(content.run_row(one.record), one.record.verified is False, one.page) for one in here]


def _policy(path: Path, card: Card) -> tuple[Judged | None, list[str]]:
    """The outcome of the policy in the audit's folder, and the reason if it cannot be read."""
    if not path.is_file() or not card.lines:
        return None, []
    try:
        return content.policy(judged(read_policy(path), card)), []
    except InputError as error:
        return None, [f"{POLICY_FILE}: {without_folders(str(error))}."]


def _data(value: dict[str, Any]) -> Markup:
    """JSON that cannot end its element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))
