"""What a run's log has lost, reported before anything is paid for again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from iqattack.engine import QueryLog
from iqattack.engine.log import End, Fault
from iqattack.errors import RunError
from iqattack.runs.files import read_json, read_text
from iqattack.runs.results import FAILED, Result, each_csv_row


@dataclass(frozen=True)
class Losses:
    """What a log has lost. lost: number of queries; of: their original number, as far as is known.

    what: the first fault. faults: images with unsound rows.
    """

    lost: int
    of: int
    what: str
    faults: tuple[Fault, ...] = ()

    def text(self, price: float | None = None) -> str:
        """The loss in a phrase. price: of one query."""
        phrase = f"{self.what}; {self.lost:,} of {self.of:,} queries have to be repeated"
        return phrase if price is None else f"{phrase}, for {self.lost * price:,.2f}"


def find_losses(log: Path, *, digests: bool = False) -> Losses | None:
    """What the log of a run or a profile has lost; None if nothing is known to be lost. Nothing is
    changed: the files beside a log are evidence.

    digests: whether all rows must have one, and log.end must exist. Without log.end, as in runs
    before version 0.2, results.csv or profile.json, and the results in the log, are compared.
    """
    end, known = End.read(log), known_queries(log.parent)
    lost = gone(log)
    if lost is not None or not log.is_file():
        return lost
    with QueryLog(log, read_only=True, digests=digests) as opened:
        here = opened.end()
        faults = tuple(_faults(opened, digests))
        sound = here.queries - sum(len_of(opened, fault) for fault in faults)
        of = max(here.queries, end.queries if end is not None else known)
        wrong = misfit(opened, end) or (endless(opened) if digests else None)
    if faults:
        more = f", and {len(faults) - 1} more images" if len(faults) > 1 else ""
        return Losses(of - sound, of, f"{faults[0]}{more}", faults)
    if wrong is None and end is None:
        wrong = _lacking(log, here.queries)
    return None if wrong is None else Losses(of - sound, of, f"{log.name} {wrong}")


def gone(log: Path) -> Losses | None:
    """Everything that a log had, if it is missing or empty."""
    if log.is_file() and log.stat().st_size:
        return None
    end = End.read(log)
    queries = end.queries if end is not None else known_queries(log.parent)
    return Losses(queries, queries, f"{log.name} is missing or empty") if queries else None


def endless(log: QueryLog) -> str | None:
    """A phrase if a log with queries has no log.end beside it; even a killed process leaves one."""
    if log.path is None or End.path_of(log.path).exists() or not log.end().queries:
        return None
    return "has no log.end beside it: queries may have been removed from its end"


def unsound(log: QueryLog) -> str | None:
    """How an open log is incomplete, in a phrase: it does not match log.end or, without that, lacks
    reported queries. A log that is being written is checked twice.
    """
    if log.path is None:
        return None
    for _ in range(2):
        end = End.read(log.path)
        wrong = _lacking(log.path, log.end().queries) if end is None else misfit(log, end)
        if wrong is None:
            return None
    return wrong


def _lacking(log: Path, queries: int) -> str | None:
    """What a log with this number of queries lacks, without log.end."""
    if queries >= known_queries(log.parent):
        return None
    what = "results.csv" if (log.parent / "results.csv").is_file() else "profile.json"
    return f"lacks queries of {what}"


def misfit(log: QueryLog, end: End | None) -> str | None:
    """How a log does not match log.end, in a phrase."""
    if end is None:
        return None
    here = log.end()
    if here.queries < end.queries:
        return f"has {here.queries:,} queries, but had {end.queries:,}"
    # A run under way continues while it is read.
    later = end if log.path is None else End.read(log.path) or end
    if here.queries > max(end.queries, later.queries) + log.last():
        return (
            f"has {here.queries:,} queries, but log.end says {end.queries:,}, a larger difference "
            "than a killed process leaves"
        )
    if here.queries == end.queries and log.has_digests and here != end:
        return "was changed after it was written: it does not match log.end"
    return None


def check_losses(
    log: Path, *, accept: bool, price: float | None, remedy: str, digests: bool = False
) -> Losses | None:
    """Raise RunError with what was lost, before any query, unless that is accepted.

    accept: continue; unsound rows are dropped, and their queries repeated. price: of one query.
    digests: whether all rows must have one.
    """
    losses = find_losses(log, digests=digests)
    if losses is None:
        return None
    if not accept:
        raise RunError(f"{log.parent}: {losses.text(price)}; restore a copy of the log, {remedy}")
    with QueryLog(log, digests=digests) as opened:
        opened.cut(losses.faults)
    return losses


def len_of(log: QueryLog, fault: Fault) -> int:
    """The number of unsound queries of an image in the log."""
    return max(log.queries(fault.image) - len(log.early(fault.image)) - fault.sound, 0)


def _faults(log: QueryLog, digests: bool) -> Iterator[Fault]:
    results = log.each_result()
    _, finished, text, *_ = next(results, (0, None, ""))
    for image in log.images():
        fault = log.fault(image)
        if image == finished:
            if fault is None:
                fault = _fault_of_result(log, image, text, digests)
            _, finished, text, *_ = next(results, (0, None, ""))
        if fault is not None:
            yield fault


def _fault_of_result(log: QueryLog, image: str, text: str, digests: bool) -> Fault | None:
    queries = log.queries(image)
    try:
        reported = Result.read(image, text, hashed=digests).queries
    except RunError:
        return Fault(image, queries, "the log has an invalid result")
    if queries < max(reported, 1):
        what = f"reports {reported} queries, but the log has {queries}"
        return Fault(image, queries, what)
    return None


def known_queries(folder: Path) -> int:
    """The queries that a results.csv, for images that did not fail, or a profile.json reports; 0 if
    neither can be read.
    """
    try:
        if (folder / "profile.json").is_file():
            return int(read_json(read_text(folder / "profile.json"))["queries"])
        rows = each_csv_row(folder / "results.csv")
        return sum(int(row["queries"]) for row in rows if not row["status"].startswith(FAILED))
    except (RunError, OSError, ValueError, LookupError, TypeError, OverflowError):
        return 0
