"""The driver process alone, with 64 simulated workers and no model.

`engine.py` prints the result. Another process simulates all workers: it sends what they would, as
fast as the driver reads it. Each batch has one row for each of its images, as with searches that
propose one candidate at a time, which is the most work per query. Everything else is real: the
sockets, `Workers`, the recorder, the log and the attacked images on disk.
"""

from __future__ import annotations

import json
import os
import socket
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import SimpleNamespace

import psutil

from iqattack.children import SEND_BYTES, Serve
from iqattack.engine import Engine, Plan, Progress, QueryLog, Replies, Searcher, Workers
from iqattack.engine.crew import LocalCrew, LocalMember, Member
from iqattack.engine.events import Attacked, CleanScore, Event
from iqattack.engine.workers import Ready, Wanted
from iqattack.images import ImageEntry, ImageSet, write_bytes
from iqattack.models import wrap
from iqattack.objectives import parse_objective

WORKERS = 64
BATCH = 16  # images of a call, and of an event
OPEN = 24  # images that a worker has in progress
IMAGES, QUERIES = 640, 500
PNG = os.urandom(100_000)  # of about 224×224 pixels


@dataclass
class Searched:
    """An image in progress at a simulated worker."""

    entry: ImageEntry
    asked: int
    queries: int


class MadeUp:
    """A simulated worker, which answers everything immediately."""

    def __init__(self, connection: Connection, number: int) -> None:
        self.connection = connection
        self._images: list[Searched] = []
        self._asked = False
        self._hash = number << 40
        connection.send(Ready())

    def hear(self) -> None:
        """Receive an image."""
        job = self.connection.recv()
        self._asked = False
        if isinstance(job, Plan):
            self._images.append(Searched(job.entry, len(job.logged), job.queries))
        else:
            self._say(Replies({job.name: (0, [self._row()])}, scored=1), CleanScore(job, 50.0))

    def speak(self) -> bool:
        """Send the events of the next batch; whether there was one."""
        if len(self._images) < OPEN and not self._asked:
            self._asked = True
            self._say(Wanted())
        batch = self._images[:BATCH]
        if not batch:
            return False
        self._images = self._images[BATCH:] + batch  # each in its turn
        rows = {found.entry.name: (found.asked, [self._row()]) for found in batch}
        gains = {found.entry.name: 0.1 for found in batch}
        self._say(Replies(rows, scored=len(batch), gains=gains, batch=BATCH))
        for found in batch:
            found.asked += 1
            if found.asked == found.queries:
                self._images.remove(found)
                self._say(Attacked(found.entry, 0.1))
        return True

    def _row(self) -> tuple[int, float]:
        self._hash += 1
        return self._hash * 0x9E3779B97F4A7C15 % 2**64, 50.0 + self._hash % 1000 / 64

    def _say(self, *events: Event | Ready | Wanted) -> None:
        for event in events:
            self.connection.send(event)


def workers_made_up(connections: Sequence[Connection], core: int) -> None:
    """All simulated workers, in a process of their own, until the driver disconnects."""
    _pin(core)
    workers = {end: MadeUp(end, number) for number, end in enumerate(connections)}
    try:
        while True:
            for end in wait(list(workers), 0.0):
                workers[end].hear()  # type: ignore[index]
            if not sum(worker.speak() for worker in workers.values()):
                wait(list(workers))
    except (EOFError, OSError):
        os._exit(0)


class MadeUpCrew(LocalCrew):
    """The other end of their sockets, as small as those of real ones."""

    def __init__(self, serves: Sequence[Serve], threads: int) -> None:
        super().__init__(serves, threads)
        pairs = [socket.socketpair() for _ in range(WORKERS)]
        for _, theirs in pairs:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES)
        context = get_context("spawn")
        ends = [Connection(theirs.detach()) for _, theirs in pairs]
        self._process = context.Process(target=workers_made_up, args=(ends, 1), daemon=True)
        self._process.start()
        for end in ends:
            end.close()
        self._ours = iter([Connection(ours.detach()) for ours, _ in pairs])

    def start(self) -> Member:
        """The next one."""
        connection = next(self._ours)
        child = SimpleNamespace(connection=connection, kill=connection.close)
        self._members.append(LocalMember(self, child, 0))  # type: ignore[arg-type]
        return self._members[-1]


def _pin(core: int) -> None:
    """Keep this process to one core, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[core % len(cores)]})


def driver(images: int, queries: int) -> dict[str, str]:
    """A row: queries a second of processor time and of wall time, and resident memory."""
    _pin(0)
    scorer = wrap(lambda _: [], name="made up", score_range=(0.0, 100.0), lower_better=False)
    entries = tuple(ImageEntry(f"{k:06}.png", Path(f"/made/up/{k:06}.png")) for k in range(images))
    process, sizes = psutil.Process(), dict[int, float]()
    total = images * queries
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)

        def look(state: Progress) -> None:
            for mark in (total // 4, total):
                if state.queries >= mark and mark not in sizes:
                    sizes[mark] = process.memory_info().rss / 2**20

        workers = Workers(WORKERS, _no_setup, stop=lambda: False, crew=MadeUpCrew)
        with QueryLog(home / "log.sqlite") as log:
            engine = Engine(
                scorer,
                parse_objective("up"),
                workers,
                queries=queries,
                log=log,
                progress=look,
            )
            began, wall = time.process_time(), time.perf_counter()
            for item in engine.run(ImageSet(entries)):
                write_bytes(home / item.entry.png_name, PNG)
                log.finish(item.entry.name, "{}")
            spent, passed = time.process_time() - began, time.perf_counter() - wall
            done = sum(map(log.queries, log.images()))
        workers.close()
    few, many = sizes[total // 4], sizes[total]
    return {
        "workers": str(WORKERS),
        "queries": f"{done:,}",
        "queries/s of one core's time": f"**{done / spent:,.0f}**",
        "queries/s": f"{done / passed:,.0f}",
        "memory, of that after a quarter": f"{many:.0f} MiB, {many / few:.3f}",
    }


def _no_setup(_stop: Callable[[], bool]) -> Searcher:
    raise NotImplementedError("simulated workers load nothing")


if __name__ == "__main__":
    print(json.dumps(driver(IMAGES, QUERIES)))
