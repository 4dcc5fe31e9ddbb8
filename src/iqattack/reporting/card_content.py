"""Contents of an audit's page, from its card: sentences, tables and the curves of its chart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from iqattack.auditing import (
    WORST,
    Beside,
    Card,
    Curve,
    Line,
    Outcome,
    Value,
    exit_status,
    shown,
)
from iqattack.auditing.card import RunRecord, or_least
from iqattack.evaluation.verdict import FEWEST, Judgement, noise_gain
from iqattack.reporting.common import PERCENT, Headline, Table, fixed, flaw, percent
from iqattack.runs.numbers import NONE, images, jod, number
from iqattack.runs.verdict import RANKING

COLOURS = 4  # of constraints, in the style sheet; further ones repeat them
# Lengths of strokes and gaps, in pixels, which distinguish the attacks of a constraint.
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 4", "12 4", "2 6", "9 3 2 3 2 3")
COLUMNS = {
    "gain": "gain",
    "gain_sd": "gain, SD",
    "srocc": "SROCC",
    "plcc": "PLCC",
    "krocc": "KROCC",
    "r": "R",
    "gain_on_clean": "gain on clean",
    "srocc_mos": "SROCC, clean and opinion",
    "srocc_drop": "SROCC drop",
    "plcc_drop": "PLCC drop",
    "krocc_drop": "KROCC drop",
}
BESIDE = ("gain_on_clean", "srocc_mos")  # not in the tables of measures
POLICY = ("The policy holds.", "The policy does not hold.", "The policy could not be measured.")
MARKS = {"passed": "holds", "failed": "fails", "not measured": "not measured"}
LONGEST_NAME = 30  # characters of a model's name in the verdict; the title has all
CHARTED = 11  # rows of the chart's table


@dataclass(frozen=True)
class Figure:
    """The worst case of one constraint at the largest budget. facts: name and value."""

    constraint: str
    meaning: str | None
    colour: int
    gain: str
    interval: str | None
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cell:
    """A measure as text. share: of the largest in its column, for a bar; None without a bar."""

    text: str
    interval: str | None = None
    share: float | None = None


@dataclass(frozen=True)
class Row:
    """One attack, or the worst case, with one budget."""

    name: str
    worst: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Measures:
    """All lines of one constraint. budgets: a title and rows for each, the largest first."""

    constraint: str
    colour: int
    columns: tuple[str, ...]
    budgets: tuple[tuple[str, tuple[Row, ...]], ...]


@dataclass(frozen=True)
class Key:
    """An entry of the chart's legend. series: the number of its curve, or curves."""

    name: str
    series: tuple[int, ...]
    worst: bool
    dash: str


@dataclass(frozen=True)
class Legend:
    """The entries of one constraint; colour None: of the reference models."""

    title: str
    colour: int | None
    keys: tuple[Key, ...]


@dataclass(frozen=True)
class Chart:
    """curves: as card.js draws them. legend, table: see there. text: what it shows."""

    curves: list[dict[str, Any]]
    legend: tuple[Legend, ...]
    table: Table
    text: str


# -- the verdict ----------------------------------------------------------------------------------


def headline(card: Card) -> Headline:
    """The worst case at the largest budget, in one sentence."""
    lines = card.worst_lines
    name = card.model.name if len(card.model.name) <= LONGEST_NAME else "this model"
    if not lines:
        return Headline(f"Nothing was measured of {name}.")
    if (why := card.silence) is not None:
        why = f"{why.replace(' %', PERCENT)}."
        return Headline(f"Nothing can be said about the robustness of {name}: ", None, why)
    line = max(lines, key=lambda line: _value(line, "gain"))
    judgement = card.judged(line)
    where = f" within {line.constraint}" if len(lines) > 1 else ""
    gain = line.measures["gain"]
    between = _interval(gain, percentage=True)
    sure = ""
    if between is not None:
        sure = f" (95{PERCENT} interval {between.replace(' … ', ' to ')}{PERCENT})"
    return Headline(
        f"With {_queries(line.queries)} per image and attack, the scores of {name} move by ",
        percent(gain.value),
        f" of the score range{where}{sure}{_ranking(line, judgement)}.",
    )


def _ranking(line: Line, judgement: Judgement) -> str:
    if judgement.kind in RANKING:
        return f", and the ranking of the images {RANKING[judgement.kind]}"
    if judgement.kind in ("none", "few"):
        return f"; {images(line.images)} are too few for a statement about their ranking"
    return "; the effect on the ranking is undecided"


def _value(line: Line, name: str) -> float:
    return or_least(line.measures.get(name, Value(value=None)).value)


def concerns(card: Card, troubles: Sequence[str] = ()) -> list[str]:
    """What a reader must know before the figures, the most serious first. troubles: with the
    folder."""
    said = []
    if card.unsound:
        said.append(
            f"Not as reported: {', '.join(card.unsound)}. Saved images did not get the scores that "
            "the run reports for them, so its measures prove nothing; for details, run 'iqattack "
            "verify' on that folder."
        )
    said += troubles
    lost = card.images.count - card.images.attacked
    if lost:
        said.append(
            f"{images(lost)} of {card.images.count:,} could not be attacked, and are left out of "
            "all measures."
        )
    if card.images.partly:
        said.append(
            f"{images(card.images.partly)} of {card.images.count:,} failed with some attacks, and "
            "count only in the measures of the others."
        )
    if card.images.twice:
        said.append(
            f"{card.images.twice:,} of {images(card.images.count)} repeat the pixels of others; "
            "intervals treat all as independent."
        )
    noise, batch = card.most("noise"), card.most("batch")
    if noise:
        line = max(card.worst_lines, key=lambda line: _value(line, "gain"), default=None)
        luck = ""
        if line is not None:
            most = percent(noise_gain(noise, card.chances(line)))
            luck = (
                f" The best of {card.chances(line):,} noisy scores gains up to {most} by chance "
                "alone."
            )
        said.append(
            f"Scores are noisy: those of one image have a standard deviation of "
            f"{percent(noise, 2)} of the score range.{luck}"
        )
    unbiased = [text for run in card.runs if (text := run.without_bias)]
    if card.model.drawn and not unbiased:
        said.append(
            "Its defence is random: each picture keeps its draw, so that gains include the luck of "
            "the best of many queries, and the check shows no noise. Audit again with --rescore 8."
        )
    said += [f"{text}." for text in unbiased]
    if batch:
        said.append(
            f"Scores depend on the other images of a batch, by {percent(batch, 2)} of the range."
        )
    for finding in dict.fromkeys(finding for run in card.runs for finding in run.findings):
        of = [run for run in card.runs if finding in run.findings]
        whose = "" if len(of) == len(card.runs) else f" ({_named(of)})"
        said.append(f"{finding[:1].upper()}{finding[1:]}{whose}.")
    unasked = [run for run in card.runs if run.verified is None]
    if unasked:
        said.append(
            f"{_runs(len(unasked))} of {len(card.runs)} not verified: the saved images were not "
            "scored again."
        )
    unchecked = [run for run in card.runs if run.noise is None]
    if unchecked:
        said.append(
            f"Noise and dependence on the batch were not measured in {_runs(len(unchecked))} of "
            f"{len(card.runs)}."
        )
    return said


def _named(runs: Sequence[RunRecord]) -> str:
    names = [f"{run.attack} in {run.constraint}" for run in runs]
    return ", ".join(names[:2]) + (f" and {len(names) - 2} more" if len(names) > 2 else "")


def _runs(n: int) -> str:
    return f"{n:,} run{'' if n == 1 else 's'}"


def _queries(n: int) -> str:
    return f"{n:,} quer{'y' if n == 1 else 'ies'}"


def policy(outcomes: Sequence[Outcome]) -> tuple[str, int, list[tuple[str, str]]]:
    """A policy's result in a sentence, its exit status, and each rule with its outcome."""
    status = exit_status(outcomes)
    rules = [(MARKS[outcome.state], outcome.text) for outcome in outcomes]
    order = ("fails", "not measured", "holds")
    return POLICY[status], status, sorted(rules, key=lambda rule: order.index(rule[0]))


def facts(card: Card) -> list[tuple[str, str]]:
    """The extent of the audit and its evidence, name and value."""
    runs, attacks = card.runs, dict.fromkeys(run.attack for run in card.runs)
    verified = sum(run.verified is True for run in runs)
    noise, batch = card.most("noise"), card.most("batch")
    checked = any(run.noise is not None for run in runs)
    return [
        ("images", f"{card.images.attacked:,} of {card.images.count:,} attacked"),
        ("attacks", f"{len(attacks):,} in {_number(len(card.constraints), 'constraint')}"),
        ("queries", f"{sum(run.queries for run in runs):,} in total"),
        ("verified", f"{verified:,} of {_runs(len(runs))}"),
        ("noise", flaw(noise, measured=checked)),
        ("batch", flaw(batch, measured=checked)),
    ]


def _number(n: int, what: str) -> str:
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def figures(card: Card, references: Sequence[Card] = ()) -> list[Figure]:
    """The worst case of each constraint at the largest budget, compared with reference models."""
    found = []
    for line in card.worst_lines:
        colour = card.constraints.index(line.constraint) % COLOURS
        gain = line.measures["gain"]
        between = _interval(gain, percentage=True)
        rows = [("SROCC, clean and attacked", _text(line.measures.get("srocc")))]
        if "srocc_mos" in line.measures:
            rows.append(("SROCC, clean and opinion", _text(line.measures["srocc_mos"])))
        if "srocc_drop" in line.measures:
            rows.append(("drop of SROCC with opinion", _text(line.measures["srocc_drop"])))
        if line.best and max(line.best.values()) > 0.0:
            best = max(line.best, key=lambda attack: line.best[attack])
            rows.append(("strongest", f"{best}, on {percent(line.best[best], 0)} of the images"))
            seen = [
                one for one in card.seen if (one.attack, one.constraint) == (best, line.constraint)
            ]
            if seen and seen[0].jod is not None:
                rows.append(
                    ("its visibility", f"JOD {jod(seen[0].jod)} (10: no visible difference)")
                )
            elif seen and seen[0].ssim is not None:
                rows.append(("its visibility", f"SSIM {number(seen[0].ssim, 4)}"))
        less, others = _place(line, references)
        if others:
            rows.append(("reference models", f"{less} of {others} moved less"))
        found.append(
            Figure(
                constraint=line.constraint,
                meaning=meaning(line.constraint),
                colour=colour,
                gain=percent(gain.value),
                interval=None if between is None else f"{between}{PERCENT}",
                facts=tuple(rows),
            )
        )
    return found


def meaning(constraint: str) -> str | None:
    """A constraint in words; None for one that has none here."""
    name, _, rest = constraint.partition(":")
    strength = rest.partition(":")[0]
    return {
        "bands": f"each band of spatial frequency by up to {strength} times the just visible "
        "contrast",
        "jod": f"patterns that keep {strength} JOD",
        "jnd": f"each pixel by up to {strength} of its just-noticeable difference",
        "l0": f"any change to at most {strength} pixels",
        "linf": f"each value by up to {strength} grey levels",
        "none": "any change",
    }.get(name)


def _interval(value: Value, *, percentage: bool = False) -> str | None:
    if value.low is None or value.high is None:
        return None
    scale, digits = (100.0, 1) if percentage else (1.0, 2)
    return f"{fixed(scale * value.low, digits)} … {fixed(scale * value.high, digits)}"


def _text(value: Value | None) -> str:
    if value is None or value.value is None:
        return NONE
    between = _interval(value)
    return fixed(value.value, 2) + ("" if between is None else f" [{between}]")


# -- tables ---------------------------------------------------------------------------------------


def measures(card: Card) -> list[Measures]:
    """Every line of the card, a table for each constraint."""
    known = [name for name in COLUMNS if name not in BESIDE]
    there = [name for name in known if any(name in line.measures for line in card.lines)]
    gains = [line.measures["gain"].value or 0.0 for line in card.lines]
    most = max(gains, default=0.0) or 1.0
    tables = []
    for colour, constraint in enumerate(card.constraints):
        budgets = []
        for queries in reversed(card.budgets):
            lines = [
                line
                for line in card.lines
                if (line.constraint, line.queries) == (constraint, queries)
            ]
            shares = next((line.best for line in lines if line.attack == WORST), {})
            rows = tuple(_row(line, there, shares, most) for line in lines)
            if rows:
                budgets.append((f"{_queries(queries)} per image", rows))
        columns = ("attack", *(COLUMNS[name] for name in there), "strongest on", "images")
        tables.append(Measures(constraint, colour % COLOURS, columns, tuple(budgets)))
    return tables


def _row(line: Line, there: Sequence[str], shares: dict[str, float], most: float) -> Row:
    cells = []
    for name in there:
        value, of_gain = line.measures.get(name, Value(value=None)), name == "gain"
        show = percent(value.value) if of_gain else fixed(value.value, 2)
        share = max(value.value or 0.0, 0.0) / most if of_gain else None
        cells.append(Cell(show, _interval(value, percentage=of_gain), share))
    worst = line.attack == WORST
    best = Cell("" if worst else percent(shares.get(line.attack), 0))
    return Row(line.attack, worst, (*cells, best, Cell(f"{line.images:,}")))


def published(figures: Sequence[Beside], card: Card) -> Table:
    """The figures that the suite's paper published, beside the measured ones."""
    return Table(
        ("model", "attack", "queries", "measure", "published", card.model.name),
        tuple(
            (
                figure.published.model + (" (this model)" if figure.same else ""),
                figure.published.attack.partition(":")[0],
                f"{figure.published.queries:,}",
                COLUMNS[figure.published.measure],
                f"{figure.published.value:g}",
                NONE if figure.measured is None else shown(figure.measured),
            )
            for figure in figures
        ),
    )


def visibility(card: Card) -> Table:
    """JOD and SSIM of every run."""
    seeds = len({one.seed for one in card.seen}) > 1
    return Table(
        ("attack", "constraint", *(("seed",) if seeds else ()), "mean JOD", "least JOD", "SSIM"),
        tuple(
            (
                one.attack,
                one.constraint,
                *((str(one.seed),) if seeds else ()),
                jod(one.jod),
                jod(one.jod_least),
                number(one.ssim, 4),
            )
            for one in card.seen
        ),
    )


def run_row(run: RunRecord) -> tuple[str, ...]:
    """A run's cells: attack, constraint, seed, queries, verified, noise, batch, digest."""
    verified = {True: "yes", False: "NO", None: "not asked"}[run.verified]
    return (
        run.attack,
        run.constraint,
        str(run.seed),
        f"{run.queries:,}",
        verified,
        percent(run.noise, 2),
        percent(run.batch, 2),
        run.results[:16],
    )


RUN_COLUMNS = (
    "attack", "constraint", "seed", "queries", "verified", "noise", "batch", "results.csv, SHA-256",
)  # fmt: skip


def provenance(card: Card) -> list[tuple[str, str]]:
    """Provenance of the figures, as name and value."""
    low, high = card.model.score_range
    better = "lower" if card.model.lower_better else "higher"
    files = [(f"{name}, SHA-256", digest) for name, digest in card.model.files.items()]
    prepared = [
        (name, str(value))
        for name, value in (
            ("input", card.model.input),
            ("compiled", "yes" if card.model.compile else None),
            ("autocast", card.model.autocast),
        )
        if value is not None
    ]
    return [
        ("model", card.model.name),
        *prepared,
        ("scores", f"{low:g} to {high:g}, {better} is better"),
        *files,
        ("suite", card.suite.id),
        ("suite, SHA-256", card.suite.digest),
        ("names and pixels of the images, SHA-256", card.images.digest),
        ("iqattack", card.iqattack),
    ]


# -- the chart ------------------------------------------------------------------------------------


def chart(card: Card, references: Sequence[Card]) -> Chart:
    """Mean gain against queries: the worst case, each attack, and reference models in grey."""
    curves: list[dict[str, Any]] = []
    legend = []
    attacks = list(dict.fromkeys(c.attack for c in card.curves if c.attack != WORST))
    several = len(card.constraints) > 1
    for place, constraint in enumerate(card.constraints):
        colour, keys = place % COLOURS, []
        for curve in (c for c in card.curves if c.constraint == constraint):
            worst = curve.attack == WORST
            dash = "" if worst else DASHES[attacks.index(curve.attack) % len(DASHES)]
            keys.append(Key(curve.attack, (len(curves),), worst, dash))
            name = f"{curve.attack}, {constraint}"
            kind = "worst" if worst else "attack"
            curves.append({**_drawn(curve), "kind": kind, "colour": colour, "dash": dash}
                          | {"name": name, "label": constraint if worst else None})  # fmt: skip
        if keys:
            legend.append(Legend(constraint, colour, tuple(keys)))
    grey = []
    for other in references:
        here = []
        for curve in other.curves:
            if curve.attack == WORST and curve.constraint in card.constraints:
                name = f"{other.model.name}, {curve.constraint}" if several else other.model.name
                dash = DASHES[card.constraints.index(curve.constraint) % len(DASHES)]
                here.append(len(curves))
                curves.append({**_drawn(curve), "kind": "reference", "colour": None, "dash": dash}
                              | {"name": f"reference {name}", "label": name})  # fmt: skip
        if here:
            grey.append(Key(other.model.name, tuple(here), False, ""))
    if grey:
        legend.append(Legend("reference models, worst case", None, tuple(grey)))
    return Chart(curves, tuple(legend), _charted(card), _described(card, references))


def _drawn(curve: Curve) -> dict[str, Any]:
    columns = {"gain": curve.gain, "low": curve.low, "high": curve.high}
    return {
        "queries": list(curve.queries),
        **{
            name: [None if value is None else round(value, 6) for value in values]
            for name, values in columns.items()
        },
    }


def _charted(card: Card) -> Table:
    """The worst case of each constraint after some numbers of queries, the suite's among them."""
    worst = [curve for curve in card.curves if curve.attack == WORST]
    every = sorted({queries for curve in worst for queries in curve.queries})
    keep = set(every[:: max(1, -(-len(every) // CHARTED))]) | set(card.budgets)
    rows = []
    for queries in (q for q in every if q in keep):
        cells = []
        for curve in worst:
            k = curve.queries.index(queries) if queries in curve.queries else None
            value = Value(value=None)
            if k is not None:
                value = Value(value=curve.gain[k], low=curve.low[k], high=curve.high[k])
            between = _interval(value, percentage=True)
            cells.append(percent(value.value) + ("" if between is None else f" [{between}]"))
        rows.append((f"{queries:,}", *cells))
    return Table(("queries", *(curve.constraint for curve in worst)), tuple(rows))


def _described(card: Card, references: Sequence[Card]) -> str:
    said = []
    for line in card.worst_lines:
        few = card.line(WORST, line.constraint, card.budgets[0])
        before = (
            ""
            if few is None or few is line
            else f"{percent(few.measures['gain'].value)} after {_queries(few.queries)}, "
        )
        said.append(
            f"Worst case within {line.constraint}: {before}"
            f"{percent(line.measures['gain'].value)} after {_queries(line.queries)}."
        )
        less, others = _place(line, references)
        if others:
            said.append(f"{less} of {_number(others, 'reference model')} moved less.")
    if card.lines and all(line.images < FEWEST for line in card.worst_lines):
        said.append("So few images say little about others.")
    if any(other.images.digest != card.images.digest for other in references):
        said.append(
            "Reference models were measured with the same suite on other images: compare them "
            "with care."
        )
    return " ".join(said)


def _place(line: Line, references: Sequence[Card]) -> tuple[int, int]:
    """How many reference models moved less, and of how many."""
    others = [other.line(WORST, line.constraint, line.queries) for other in references]
    gains = [_value(other, "gain") for other in others if other is not None]
    return sum(gain < _value(line, "gain") for gain in gains), len(gains)
