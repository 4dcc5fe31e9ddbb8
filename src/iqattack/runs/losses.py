"""What a run's log has lost: said before anything is paid for again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iqattack.engine import QueryLog
from iqattack.engine.log import End, Fault
from iqattack.errors import RunError
from iqattack.runs.results import FAILED, read_csv


@dataclass(frozen=True)
class Losses:
    """What is not in a log that was. lost: queries; of: that there were, as far as is known.

    what: the first thing that is wrong. faults: of images whose rows are not all sound.
    """

    lost: int
    of: int
    what: str
    faults: tuple[Fault, ...] = ()

    def told(self, price: float | None = None) -> str:
        """In a phrase. price: of one query."""
        text = f"{self.what}; {self.lost:,} of {self.of:,} queries are to be asked again"
        return text if price is None else f"{text}, for {self.lost * price:,.2f}"


def find_losses(log: Path) -> Losses | None:
    """What a log, a run's or a profile's, has lost; None where nothing is known to be. The caller
    is its one writer.

    Without log.end, as in runs of before version 0.2, it is what results.csv and the results in the
    log tell.
    """
    end, known = End.read(log), _known(log.parent / "results.csv")
    if not log.is_file() or log.stat().st_size == 0:
        queries = end.queries if end is not None else known
        return Losses(queries, queries, f"{log.name} is gone or empty") if queries else None
    with QueryLog(log) as opened:
        here = opened.end()
        faults = tuple(_faults(opened))
        sound = here.queries - sum(len_of(opened, fault) for fault in faults)
        of = max(here.queries, end.queries if end is not None else known)
        checked = opened.has_digests
    if faults:
        more = f", and {len(faults) - 1} images more" if len(faults) > 1 else ""
        return Losses(of - sound, of, f"{faults[0]}{more}", faults)
    if end is not None and here.queries < end.queries:
        return Losses(of - sound, of, f"{log.name} has {here.queries:,} queries, it had {of:,}")
    if end is None and here.queries < known:
        return Losses(of - sound, of, f"{log.name} lacks queries of results.csv")
    if checked and end is not None and here.queries == end.queries and here != end:
        return Losses(0, of, f"{log.name} was changed after it was written")
    return None


def check_losses(log: Path, *, accept: bool, price: float | None, remedy: str) -> Losses | None:
    """Before anything is asked: RunError that tells what was lost, unless that is accepted.

    accept: go on regardless: what is not sound is dropped, and asked again. price: of one query.
    """
    losses = find_losses(log)
    if losses is None:
        return None
    if not accept:
        raise RunError(f"{log.parent}: {losses.told(price)}; put back a copy of the log, {remedy}")
    with QueryLog(log) as opened:
        opened.cut(losses.faults)
    return losses


def len_of(log: QueryLog, fault: Fault) -> int:
    """Queries of an image that are in the log and not sound."""
    return max(log.queries(fault.image) - len(log.early(fault.image)) - fault.sound, 0)


def _faults(log: QueryLog) -> Iterator[Fault]:
    results = log.results()
    for image in log.images():
        fault = log.fault(image)
        if fault is None and image in results:
            queries = log.queries(image)
            try:
                reported = int(json.loads(results[image])["queries"])
            except (ValueError, KeyError, TypeError):
                reported = 0
            if queries < max(reported, 1):
                what = f"has a result of {reported} queries, and {queries} in the log"
                fault = Fault(image, queries, what)
        if fault is not None:
            yield fault


def _known(table: Path) -> int:
    """Queries that a results.csv reports, of images that did not fail."""
    try:
        rows = [row for row in read_csv(table) if not row["status"].startswith(FAILED)]
        return sum(int(row["queries"]) for row in rows)
    except (RunError, ValueError):
        return 0
