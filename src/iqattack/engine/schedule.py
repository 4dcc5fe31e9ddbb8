"""Keeps a pool busy: opens drivers, sends what they ask, settles what comes back.

Two helper threads compute while the model scores: one has attacks take their next step, the other
opens images and measures finished ones, which takes longer. This thread talks to the pool and
yields events. Results do not depend on who is faster: a driver waits for all of its replies, and
accounts put them into order.
"""

from __future__ import annotations

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from queue import Empty, SimpleQueue
from typing import Protocol

import torch
from threadpoolctl import ThreadpoolController

from iqattack.engine.account import Account
from iqattack.engine.drivers import Driver
from iqattack.engine.events import Busy, Event, Events, Note, Outcome, Replies
from iqattack.engine.log import image_hash
from iqattack.errors import InputError, IqattackError
from iqattack.scoring import Reply, Request, ScorePool

MEMORY = 2**30  # bytes that open drivers may take, by an estimate
HOLD_BACK_S = 0.05
MOST_OPEN = 4  # drivers, in multiples of what keeps a pool busy
WAIT_S = 1.0  # after which a person hears that something is going on

Finish = Callable[[Outcome], Event]


class Interrupted(IqattackError):  # noqa: N818 - like KeyboardInterrupt, no fault
    """The run was asked to stop; what was scored is in the log."""

    exit_status = 130


@dataclass(frozen=True)
class Opener:
    """A driver to be.

    open: makes it; of an InputError that this or the driver raises, `failed` makes an event, given
    the queries that there were. patient: calls wait to be full while it is being opened.
    """

    open: Callable[[], Driver]
    failed: Callable[[InputError, int], Event]
    patient: bool = False


class Source(Protocol):
    """Where drivers come from."""

    def take(self, *, wait: bool) -> Opener | None:
        """The next one; None for none at present or, if it waited, for none at all."""
        ...


class Listed:
    """A source that is all there."""

    def __init__(self, openers: Iterator[Opener]) -> None:
        self._openers = openers

    def take(self, *, wait: bool) -> Opener | None:  # noqa: ARG002
        """The next one."""
        return next(self._openers, None)


class Phase(Enum):
    """What a driver is about: a helper has it, but for ASKING."""

    OPENING = "opening"
    STEPPING = "stepping"
    ASKING = "asking"
    FINISHING = "measuring"


class Helper:
    """A thread that works on drivers, one after the other, and hands each one back.

    inbox: gets the driver, and what was raised, if anything was; then `wake` is called.
    """

    def __init__(self, name: str, inbox: SimpleQueue[Handed], wake: Callable[[], None]) -> None:
        self._todo: SimpleQueue[tuple[Open, Callable[[Open], None]] | None] = SimpleQueue()
        self._closed = False
        self._inbox = inbox
        self._wake = wake
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    def submit(self, opened: Open, work: Callable[[Open], None]) -> None:
        """Have it work on a driver."""
        self._todo.put((opened, work))

    def _work(self) -> None:
        torch.set_num_threads(1)  # a sum depends on how many share it, and a replay must not
        while (item := self._todo.get()) is not None and not self._closed:
            opened, work = item
            error: BaseException | None = None
            try:
                work(opened)
            except BaseException as raised:
                error = raised
            self._inbox.put((opened, error))
            self._wake()
            del item, opened, work, error  # a thread that waits holds no images

    def close(self) -> None:
        """End after what it is about."""
        self._closed = True
        self._todo.put(None)
        self._thread.join()


@dataclass(eq=False)
class Open:
    """A driver that is being played."""

    opener: Opener
    phase: Phase = Phase.OPENING
    driver: Driver | None = None

    @property
    def playing(self) -> Driver:
        """The driver, once it is open."""
        if self.driver is None:
            raise ValueError("not open yet")
        return self.driver


Handed = tuple[Open, BaseException | Event | None]
"""A driver with an event of it, or handed back by a helper, with what was raised."""


class Schedule:
    """One pass over the drivers of a source.

    stop: asked between calls; True ends it with `Interrupted`, once what runs has come back.
    finish: what is made of an outcome, such as measuring it; it is called in a helper thread.
    """

    def __init__(
        self,
        pool: ScorePool,
        *,
        stop: Callable[[], bool],
        finish: Finish,
    ) -> None:
        self._pool = pool
        self._stop = stop
        self._finish = finish
        self._open: list[Open] = []
        self._of: dict[str, Open] = {}  # by the name of an image that is asked about
        self._inbox: SimpleQueue[Handed] = SimpleQueue()
        self._ready: Counter[Hashable] = Counter()  # images that wait to be sent, by group
        self._all_open = False  # as far as is known, the source has no more
        self._largest = 0  # bytes of a driver so far
        self._held_back: float | None = None  # since when a call waits to be full
        self._noted: set[str] = set()

    def run(self, source: Source) -> Events:
        """Play all drivers; yields replies as they arrive, and the events of finished drivers.

        Raises Interrupted when asked to stop, and what a driver or the pool raises that is no
        failure of an image.
        """
        # One thread of BLAS: what attacks compute must not depend on how many cores there are, and
        # those of OpenBLAS spin long after each small matrix.
        with ThreadpoolController().select(internal_api="openblas").limit(limits=1):
            helpers = [
                Helper(f"iqattack-{name}", self._inbox, self._pool.wake)
                for name in ("step", "open")
            ]
            self._steps, self._slow = helpers
            try:
                yield from self._run(source)
            finally:
                for helper in helpers:
                    helper.close()
                self._pool.forget()
                torch.set_num_threads(torch.get_num_threads())  # for threads to come, as it was

    def _run(self, source: Source) -> Events:
        while True:
            yield from self._came_in(block=False)
            stopping = self._stop()
            if not stopping:
                self._open_more(source)
                self._send()
            if self._pool.running or (self._pool.pending and not stopping):
                replies = self._pool.wait(resend=not stopping)
                if replies:
                    yield self._settled(replies)
                while self._pool.notes:
                    yield Note("model", self._pool.notes.pop(0))
                yield from self._unscored(replies)
            elif self._has(Phase.FINISHING) or (self._open and not stopping):
                yield from self._came_in(block=True)
            elif stopping:
                raise Interrupted("stopped; all scores are kept; continue with --resume")
            elif self._all_open:
                return

    # -- opening and sending ----------------------------------------------------------------------

    def _open_more(self, source: Source) -> None:
        """Open as many drivers as keep the pool busy."""
        while self._wants_more():
            opener = source.take(wait=not self._open)
            self._all_open = opener is None
            if opener is None:
                return
            opened = Open(opener)
            self._open.append(opened)
            self._help(self._slow, opened, Phase.OPENING, self._opened)

    def _wants_more(self) -> bool:
        if not self._open:
            return True
        if not self._largest or (len(self._open) + 1) * self._largest > MEMORY:
            return False
        helped = sum(opened.phase is not Phase.ASKING for opened in self._open)
        ready = self._pool.sent + self._ready.total() + helped
        most = max(self._ready.values(), default=0)
        batch, capacity = self._pool.batch, self._pool.capacity
        # Some compute while others are scored. More would take turns, and fewer be left at the end.
        enough = capacity + max(batch, 2)
        if len(self._open) >= MOST_OPEN * enough:
            return False  # most of them pause before another try
        return ready < enough or (len(self._open) < enough and most < batch)

    def _send(self) -> None:
        """Fill calls with images of the group that most wait for, oldest drivers first."""
        batch = self._pool.batch
        pool, ready = self._pool, self._ready
        while ready and (not pool.sent or pool.sent + batch <= pool.capacity):
            group = max(ready, key=ready.__getitem__)
            count = ready[group]
            if count >= batch:
                self._held_back = None
            elif self._has(Phase.STEPPING) or self._holds_back():
                return  # more is to come
            elif not self._has(Phase.OPENING):
                self._pool.short()
            call: list[Request] = []
            for opened in self._open:
                if opened.phase is Phase.ASKING:
                    call += _of_group(opened.playing.waiting, group, batch - len(call))
            self._now_ready(group, -len(call))
            pool.submit(call)

    def _now_ready(self, group: Hashable, change: int) -> None:
        self._ready[group] += change
        if not self._ready[group]:
            del self._ready[group]

    def _holds_back(self) -> bool:
        """Whether a call waits for images that are being opened, to be full: not for long."""
        if not self._has(Phase.OPENING):
            return False
        now = time.monotonic()
        self._held_back = self._held_back or now
        patient = any(o.opener.patient for o in self._open if o.phase is Phase.OPENING)
        return patient or now - self._held_back < HOLD_BACK_S

    # -- helpers ----------------------------------------------------------------------------------

    def _has(self, phase: Phase) -> bool:
        return any(opened.phase is phase for opened in self._open)

    def _help(
        self, helper: Helper, opened: Open, phase: Phase, work: Callable[[Open], None]
    ) -> None:
        opened.phase = phase
        helper.submit(opened, work)

    def _opened(self, opened: Open) -> None:
        opened.driver = opened.opener.open()

    def _stepped(self, opened: Open) -> None:
        opened.playing.advance()

    def _finished(self, opened: Open) -> None:
        for event in opened.playing.events():
            made = self._finish(event) if isinstance(event, Outcome) else event
            self._inbox.put((opened, made))

    def _came_in(self, *, block: bool) -> Iterator[Event]:
        """Take what helpers have done; if it is to wait, for one thing at least, or for a while."""
        try:
            item = self._inbox.get(block=block, timeout=WAIT_S if block else None)
            while True:
                yield from self._took(*item)
                item = self._inbox.get_nowait()
        except Empty:
            if block:
                yield Busy(next((o.phase.value for o in self._open), "waiting"))

    def _took(self, opened: Open, what: BaseException | Event | None) -> Iterator[Event]:
        if isinstance(what, Event):
            yield what
            return
        if isinstance(what, MemoryError | torch.OutOfMemoryError):
            what = InputError("out of memory beside the model; use smaller images (--resize)")
        if isinstance(what, InputError):
            self._close(opened)
            yield opened.opener.failed(what, 0 if opened.driver is None else opened.driver.spent)
            return
        if what is not None:
            raise what
        driver = opened.playing
        match opened.phase:
            case Phase.OPENING:
                self._largest = max(self._largest, driver.memory)
                yield from driver.opened()
                self._help(self._steps, opened, Phase.STEPPING, self._stepped)
            case Phase.STEPPING:
                for request in driver.waiting:
                    self._of[request.name] = opened
                    self._now_ready(request.group, 1)
                if driver.done:
                    self._help(self._slow, opened, Phase.FINISHING, self._finished)
                else:
                    opened.phase = Phase.ASKING
            case Phase.FINISHING:
                self._close(opened)

    def _close(self, opened: Open) -> None:
        self._open.remove(opened)
        self._of = {name: other for name, other in self._of.items() if other is not opened}

    # -- replies ----------------------------------------------------------------------------------

    def _settled(self, replies: Sequence[Reply]) -> Replies:
        attempts: Counter[str] = Counter()
        touched: dict[str, Open] = {}
        for reply in replies:
            name = reply.request.name
            touched[name] = self._of[name]
            attempts[name] += reply.error is not None
            if reply.final:
                self._settle(touched[name].playing, reply)
        accounts = [
            a for o in set(touched.values()) for a in o.playing.accounts() if a.name in touched
        ]
        rows = {account.name: account.take_rows() for account in accounts}
        early = {account.name: account.take_early() for account in accounts}
        for reply in replies:
            if reply.score is not None and reply.request.number == 0:  # a clean image's
                row = (image_hash(reply.request.image), reply.score)
                rows[reply.request.name] = (0, [row])
        for opened in touched.values():
            if opened.phase is Phase.ASKING and not opened.playing.unanswered:
                self._help(self._steps, opened, Phase.STEPPING, self._stepped)
        return Replies(
            rows={name: found for name, found in rows.items() if found[1]},
            early={name: found for name, found in early.items() if found},
            attempts={name: count for name, count in attempts.items() if count},
            scored=sum(reply.score is not None for reply in replies),
            gains=_gains(accounts),
            batch=self._pool.batch,
        )

    def _settle(self, driver: Driver, reply: Reply) -> None:
        """Also of an image that failed: what of it waits is not sent any more."""
        waiting = list(driver.waiting) if reply.error is not None else []
        driver.settle(reply)
        for request in set(waiting).difference(driver.waiting):
            self._now_ready(request.group, -1)

    def _unscored(self, replies: Sequence[Reply]) -> Iterator[Note]:
        """Where a candidate has no score that is finite, once for each image."""
        for reply in replies:
            name, score = reply.request.name, reply.score
            if score is None or math.isfinite(score) or not reply.request.number:
                continue
            if name not in self._noted:
                self._noted.add(name)
                yield Note(
                    name,
                    f"the model's score of query {reply.request.number + 1} is {score}, expected "
                    "a finite number; such a query counts, with no gain",
                )


def _of_group(waiting: deque[Request], group: Hashable, most: int) -> list[Request]:
    """Take out the first ones of a group; a set attack's images may have several."""
    found: list[Request] = []
    others: list[Request] = []
    while waiting and len(found) < most:
        request = waiting.popleft()
        (found if request.group == group else others).append(request)
    waiting.extendleft(reversed(others))
    return found


def _gains(accounts: Sequence[Account]) -> dict[str, float]:
    return {account.name: account.best_gain for account in accounts}
