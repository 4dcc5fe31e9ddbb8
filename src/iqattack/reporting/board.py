"""The leaderboard: cards of many models, ranked, as a page that opens without a network.

`python -m iqattack.reporting.board` prints the JSON Schema of leaderboard.json.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict
from pydantic.json_schema import GenerateJsonSchema

from iqattack.auditing import (
    WORST,
    Card,
    CardCheck,
    Value,
    bundled,
    read_suite,
    shown,
)
from iqattack.auditing.audit import CARD
from iqattack.auditing.checking import LEVELS, Level, NoCardError
from iqattack.errors import InputError
from iqattack.reporting.folder import LITTER, PUBLISHING, PageFolder
from iqattack.reporting.rendering import allowed, inline, inline_style, template
from iqattack.runs.numbers import jod
from iqattack.specs import printable
from iqattack.version import __version__

INDEX, DATA, CARDS = "index.html", "leaderboard.json", "cards"
TEMPLATE = "leaderboard.html"
STYLES = ("page.css", "board.css")
THEME, SCRIPT = "theme.js", "board.js"  # before anything is painted, and when all is there
BESIDE = (*STYLES, THEME, SCRIPT)  # of pages that earlier versions wrote
LEVEL_NAMES = {"card": "not verified", "files": "files", "model": "model"}


class Row(BaseModel):
    """One card in one constraint.

    rank: the best and the worst place that its interval allows; None for a card that is not ranked,
    and unranked: the reasons. card: its file, beneath the page; sha256: of that file. level: the
    level that its check reached; sampled: at level model, how many images of how many were scored
    again, None for all. reasons: why the level is not higher. notes: what a reader should know
    about the card. gains: of the worst case, at each budget of the table, as fractions of the score
    range; the others are those of the largest budget. gain_sd: in standard deviations of the clean
    scores. srocc: of clean and attacked scores. srocc_mos: of clean scores and opinion scores, and
    srocc_drop: its drop, None without these. strongest: the attack that gained most on the largest
    share of images. jod_least: over all its runs in this constraint; None if not measured. images:
    number of attacked images.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    rank: tuple[int, int] | None
    model: str
    score_range: tuple[float, float]
    lower_better: bool
    card: str
    sha256: str
    level: Level
    sampled: tuple[int, int] | None = None
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    unranked: tuple[str, ...] = ()
    iqattack: str
    images: int
    gains: tuple[Value, ...]
    gain_sd: Value
    srocc: Value
    srocc_mos: Value | None = None
    srocc_drop: Value | None = None
    strongest: str | None = None
    share: float | None = None
    jod_least: float | None = None


class Ranking(BaseModel):
    """All cards in one constraint, the most robust model first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    constraint: str
    rows: tuple[Row, ...]


class Section(BaseModel):
    """All cards of one suite on one set of images. digest, pixels: SHA-256 of these. images: size
    of the set. budgets: in queries per image, ascending.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    suite: str
    digest: str
    images: int
    pixels: str
    budgets: tuple[int, ...]
    rankings: tuple[Ranking, ...]


class Refused(BaseModel):
    """A submission that is not ranked because it was refuted or has no card. model, suite: empty
    without a card.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    submission: str
    model: str
    suite: str
    reasons: tuple[str, ...]


class Board(BaseModel):
    """`leaderboard.json`; the page shows nothing else. refused: empty unless refuted submissions
    are to be listed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    iqattack: str = __version__
    sections: tuple[Section, ...]
    refused: tuple[Refused, ...] = ()


@dataclass(frozen=True)
class _Entry:
    """A card, its bytes, and the result of its check."""

    card: Card
    data: bytes
    check: CardCheck

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()

    @property
    def identity(self) -> str:
        """An identity that two copies of a submission share, whatever the layout of their files."""
        card = self.card
        runs = [run.results for run in card.runs]
        key = [card.suite.model_dump(), card.model.model_dump(), card.images.digest, runs]
        return json.dumps(key) if runs else card.model_dump_json()

    @property
    def standing(self) -> tuple[int, int]:
        """How well it is verified: the level, then the number of images that the model scored
        again."""
        check = self.check
        asked = check.images if check.sampled is None else len(check.sampled)
        return LEVELS.index(check.level), asked

    @property
    def unranked(self) -> tuple[str, ...]:
        """Why it has no rank; empty if it has one."""
        found = [finding.what for finding in self.check.findings if finding.unranked]
        return (*(["not verified"] if self.check.level == "card" else []), *found)

    @property
    def file(self) -> str:
        """The name of its copy beside the page."""
        name = re.sub(r"[^A-Za-z0-9.]+", "-", self.card.model.name).strip("-.")[:60] or "model"
        return f"{CARDS}/{name}-{self.sha256[:8]}.json"


def write_board(
    entries: Sequence[str | Path],
    out: Path,
    checked: Callable[[Path], CardCheck],
    *,
    checks: Sequence[CardCheck] = (),
    keep_refuted: bool = False,
) -> Board:
    """Check and rank cards, and write the page; see `iqattack.leaderboard`.

    checked: returns the check of one entry. An earlier leaderboard in `out` is replaced once this
    one is complete. A folder or file without a card is refused like a refuted one; of duplicate
    submissions, the best verified counts. Raises InputError for a path that does not exist, for an
    `out` that holds anything else, and if no card is left to rank.
    """
    out = out if out.name not in ("", "..") else out.resolve()
    FOLDER.refuse_other(out)
    if not entries:
        raise InputError("no card was given; give folders that 'iqattack audit' wrote, or cards")
    found: list[_Entry] = []
    refused: list[Refused] = []
    for path in map(Path, entries):
        if not path.exists():
            raise InputError(f"{path}: does not exist; give a folder that 'iqattack audit' wrote")
        try:
            found.append(_entry(path, checked, checks))
        except NoCardError as error:
            refused.append(_no_card(path, error))
    found = _once(found)
    board = _board(found, refused)
    if not board.sections:
        first = board.refused[0]
        raise InputError(
            f"{first.submission}: refuted ({first.reasons[0]}), and no other card is left to rank; "
            "for details, run 'iqattack check'"
        )
    _write(board if keep_refuted else board.model_copy(update={"refused": ()}), found, out)
    return board


def _entry(path: Path, checked: Callable[[Path], CardCheck], checks: Sequence[CardCheck]) -> _Entry:
    """Read a card, with the best check of it that is available, or one that refutes it."""
    file = path / CARD if path.is_dir() else path
    check = checked(path)
    data = file.read_bytes()
    card = Card.model_validate_json(data)  # the check refutes what is inconsistent
    known = [check, *(c for c in checks if c.sha256 == hashlib.sha256(data).hexdigest())]
    refuting = next((each for each in known if each.outcome == "refuted"), None)
    best = max(known, key=lambda each: LEVELS.index(each.level))
    notes = [note for note in check.of("note") if note not in best.findings]
    best = best.model_copy(update={"findings": (*best.findings, *notes)})
    return _Entry(card, data, refuting or best)


def _no_card(path: Path, error: NoCardError) -> Refused:
    reason = str(error).removeprefix(f"{path}{os.sep}").removeprefix(f"{path}: ")
    return Refused(submission=printable(path.name), model="", suite="", reasons=(reason,))


def _once(entries: Sequence[_Entry]) -> list[_Entry]:
    """Keep each submission once, at the highest level that one of its copies reached."""
    best: dict[str, _Entry] = {}
    for number, entry in enumerate(entries):
        key = f"refuted {number}" if entry.check.outcome == "refuted" else entry.identity
        other = best.get(key)
        if other is None or entry.standing > other.standing:
            best[key] = entry
    return list(best.values())


def _board(entries: Sequence[_Entry], refused: list[Refused]) -> Board:
    sections: dict[tuple[str, str, str], list[_Entry]] = {}
    for entry in entries:
        card = entry.card
        if entry.check.outcome == "refuted":
            reasons = tuple(f"{f.where}: {f.what}" for f in entry.check.of("refuted"))
            refused.append(
                Refused(
                    submission=entry.check.submission,
                    model=card.model.name,
                    suite=card.suite.id,
                    reasons=reasons,
                )
            )
            continue
        key = card.suite.id, card.suite.digest, card.images.digest
        sections.setdefault(key, []).append(entry)
    return Board(
        sections=tuple(_section(inside) for _, inside in sorted(sections.items())),
        refused=tuple(refused),
    )


def _section(entries: Sequence[_Entry]) -> Section:
    first = entries[0].card
    budgets, constraints = _shape(entries)
    return Section(
        suite=first.suite.id,
        digest=first.suite.digest,
        images=first.images.count,
        pixels=first.images.digest,
        budgets=budgets,
        rankings=tuple(
            Ranking(constraint=c, rows=tuple(_rows(entries, c, budgets))) for c in constraints
        ),
    )


def _shape(entries: Sequence[_Entry]) -> tuple[tuple[int, ...], Sequence[str]]:
    """Budgets and constraints of the suite if it is in the package; otherwise those of most cards
    among the best verified.
    """
    first = entries[0].card.suite
    name, _, version = first.id.rpartition("-v")
    if version in map(str, bundled().get(name, [])):
        suite = read_suite(first.id)
        if suite.digest == first.digest:
            return suite.budgets, suite.constraints
    level = max(LEVELS.index(entry.check.level) for entry in entries)
    shapes = Counter(
        (tuple(entry.card.budgets), tuple(entry.card.constraints))
        for entry in entries
        if LEVELS.index(entry.check.level) == level
    )
    return shapes.most_common(1)[0][0]


def _rows(entries: Sequence[_Entry], constraint: str, budgets: Sequence[int]) -> list[Row]:
    rows = [_row(entry, constraint, budgets) for entry in entries]
    none = Value(value=None)
    ranked = ranks([none if row.unranked else row.gain_sd for row in rows])
    rows = [row.model_copy(update={"rank": k}) for row, k in zip(rows, ranked, strict=True)]

    def place(row: Row) -> tuple[bool, float, str, str]:
        gain = row.gain_sd.value
        return row.rank is None, math.inf if gain is None else gain, row.model, row.sha256

    return sorted(rows, key=place)


def _row(entry: _Entry, constraint: str, budgets: Sequence[int]) -> Row:
    card, none = entry.card, Value(value=None)
    lines = [card.line(WORST, constraint, queries) for queries in budgets]
    last = lines[-1] if lines else None
    measures = {} if last is None else last.measures
    best = {} if last is None else last.best
    strongest = max(best, key=lambda attack: best[attack], default=None)
    moved = strongest is not None and best[strongest] > 0.0
    jods = [
        seen.jod_least
        for seen in card.seen
        if seen.constraint == constraint and seen.jod_least is not None
    ]
    drop = measures.get("srocc_drop")
    gains = tuple(none if line is None else line.measures.get("gain", none) for line in lines)
    unranked = list(entry.unranked)
    gain_sd = measures.get("gain_sd", none)
    if gain_sd.value is None and not unranked:
        unranked.append("no gain in standard deviations at the largest budget")
    check = entry.check
    sampled = None if check.sampled is None else (len(check.sampled), check.pictures)
    return Row(
        rank=None,
        model=card.model.name,
        score_range=card.model.score_range,
        lower_better=card.model.lower_better,
        card=entry.file,
        sha256=entry.sha256,
        level=check.level,
        sampled=sampled if check.level == "model" else None,
        reasons=tuple(f"{f.where}: {f.what}" for f in check.of("not verified")),
        notes=tuple(f"{f.where}: {f.what}" for f in check.of("note")),
        unranked=tuple(unranked),
        iqattack=card.iqattack,
        images=0 if last is None else last.images,
        gains=gains,
        gain_sd=gain_sd,
        srocc=measures.get("srocc", none),
        srocc_mos=measures.get("srocc_mos"),
        srocc_drop=drop,
        strongest=strongest if moved else None,
        share=best[strongest] if moved and strongest is not None else None,
        jod_least=min(jods, default=None),
    )


def ranks(gains: Sequence[Value]) -> list[tuple[int, int] | None]:
    """The best and the worst place that the intervals allow each; None for one without a value.

    Lower gains are better. The best place is after all intervals that lie entirely below, the worst
    one before all that lie entirely above: models whose intervals overlap share places.
    """
    ends = [_ends(gain) for gain in gains]
    known = [pair for pair in ends if pair is not None]
    found: list[tuple[int, int] | None] = []
    for pair in ends:
        if pair is None:
            found.append(None)
            continue
        below = sum(high < pair[0] for _, high in known)
        above = sum(low > pair[1] for low, _ in known)
        found.append((1 + below, len(known) - above))
    return found


def _ends(gain: Value) -> tuple[float, float] | None:
    """The interval of a value; a point if none was measured."""
    if gain.value is None or not math.isfinite(gain.value):
        return None
    if gain.low is None or gain.high is None:
        return gain.value, gain.value
    return min(gain.low, gain.value), max(gain.high, gain.value)


def level_text(row: Row) -> str:
    """`files`, or `model (1 of 8 images)` if only a part was scored again."""
    sampled = "" if row.sampled is None else f" ({row.sampled[0]} of {row.sampled[1]} images)"
    return f"{LEVEL_NAMES[row.level]}{sampled}"


def rank_text(rank: tuple[int, int] | None) -> str:
    """`2`, or `1–3` if intervals overlap."""
    if rank is None:
        return "–"
    low, high = rank
    return f"{low}" if low == high else f"{low}–{high}"


# -- the page -------------------------------------------------------------------------------------


def page_text(board: Board, written: str) -> str:
    """Return the page of a board, as HTML; written: the date at its end."""
    theme, script = inline(THEME), inline(SCRIPT)
    return template(TEMPLATE, FILTERS).render(
        board=board,
        styles=[inline_style(name) for name in STYLES],
        theme=theme,
        script=script,
        allowed=allowed((theme, script)),
        written=written,
        has_jod=any(
            row.jod_least is not None
            for section in board.sections
            for ranking in section.rankings
            for row in ranking.rows
        ),
    )


def _write(board: Board, entries: Sequence[_Entry], out: Path) -> None:
    """Write the folder in one step."""
    page = page_text(board, datetime.now(UTC).date().isoformat())
    cited = {row.card for s in board.sections for r in s.rankings for row in r.rows}

    def fill(folder: Path) -> None:
        (folder / CARDS).mkdir()
        for entry in entries:
            if entry.file in cited:
                (folder / entry.file).write_bytes(entry.data)
        (folder / DATA).write_text(board.model_dump_json(indent=2) + "\n", encoding="utf-8")
        (folder / INDEX).write_text(page, encoding="utf-8")

    FOLDER.write(out, fill)


def _others(folder: Path) -> Iterator[str]:
    """Yield what is in a folder but does not belong to a leaderboard."""
    names = {path.name for path in folder.iterdir()} - LITTER - PUBLISHING
    if names and DATA not in names:
        yield min(names)
    for name in sorted(names - {INDEX, DATA, CARDS, *BESIDE}):
        yield name
    for name in sorted(names):
        path = folder / name
        if path.is_symlink() or path.is_file() == (name == CARDS):
            yield name
    if CARDS in names and (folder / CARDS).is_dir():
        for path in (folder / CARDS).iterdir():
            plain = path.is_file() and not path.is_symlink()
            if path.name not in LITTER and not (plain and path.name.endswith(".json")):
                yield f"{CARDS}/{path.name}"


FOLDER = PageFolder("leaderboard", lambda folder: next(_others(folder), None))
FILTERS: dict[str, Callable[..., str]] = {
    "rank": rank_text,
    "level": level_text,
    "jod": jod,
    "measure": shown,
    "percent": lambda value: shown(value, percent=True).replace(" %", ""),
}


def board_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) of leaderboard.json."""
    schema = Board.model_json_schema(mode="serialization")
    return {"$schema": GenerateJsonSchema.schema_dialect, **schema, "title": DATA}


if __name__ == "__main__":
    print(json.dumps(board_schema(), indent=2, ensure_ascii=False))
