"""Drivers: what asks for scores. They play an attack against its accounts."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import overload

import torch
from torch import Tensor

from iqattack.attacks import (
    FREE_ANSWERS,
    Answer,
    AnySearch,
    Attack,
    Chosen,
    SetAttack,
    SetSearch,
    SetTask,
    Task,
    guarded,
)
from iqattack.attacks.lifting import name_of
from iqattack.engine.account import Account
from iqattack.engine.events import CleanScore, Event, Failure, Found, Note, Outcome, Returned
from iqattack.errors import InputError
from iqattack.images import ImageEntry
from iqattack.objectives import Standing
from iqattack.scoring import Reply, Request

CLEAN_BYTES = 8  # that an image takes for each of its values while its clean score is asked for
SEARCH_BYTES = 80  # and while it is attacked: twenty floats, most of them SurFree's

# A model is considered broken after IN_A_ROW permanent failures without a score in between, if they
# concern ON_IMAGES images, all images, or only images of which it has scored candidates before.
IN_A_ROW, ON_IMAGES = 32, 3

FailureOf = Callable[[ImageEntry, Exception, int, bool], Failure]  # queries, transient


class Driver(ABC):
    """One at a time, either it computes, in `advance`, or its requests are being answered.

    waiting: requests that nobody has sent yet. Sent ones come back to `settle`.
    memory: bytes that it takes, roughly; 1 where it is the only driver.
    """

    memory: int = 1

    def __init__(self) -> None:
        self.waiting: deque[Request] = deque()
        self.unanswered = 0  # those and the sent ones
        self.done = False

    def opened(self) -> Iterator[Event]:
        """What is to be kept before anything is asked."""
        return iter(())

    @abstractmethod
    def accounts(self) -> Sequence[Account]:
        """Those that it has opened."""

    @property
    def spent(self) -> int:
        """Queries, in all."""
        return sum(account.spent for account in self.accounts())

    @abstractmethod
    def advance(self) -> None:
        """Compute what is to be asked next, or end: nothing is unanswered."""

    @abstractmethod
    def take(self, reply: Reply) -> None:
        """Keep a score, or a failure."""

    @abstractmethod
    def events(self) -> Iterator[Event]:
        """The final events, once it is done; may take a while."""

    def ask(self, requests: Sequence[Request]) -> None:
        """Have requests sent."""
        self.waiting.extend(requests)
        self.unanswered += len(requests)

    def settle(self, reply: Reply) -> None:
        """Take a final reply."""
        self.unanswered -= 1
        self.take(reply)


class CleanDriver(Driver):
    """Asks for the score of a clean image."""

    def __init__(
        self, entry: ImageEntry, pixels: Tensor, notes: Sequence[str], failed: FailureOf
    ) -> None:
        super().__init__()
        self.memory = CLEAN_BYTES * pixels.numel()
        self._entry = entry
        self._request = Request(entry.name, 0, pixels)
        self._reply: Reply | None = None
        self._notes = notes
        self._failed = failed

    def accounts(self) -> Sequence[Account]:
        """None."""
        return ()

    def advance(self) -> None:
        """Ask, and end."""
        if self._reply is None:
            self.ask([self._request])
        else:
            self.done = True

    def take(self, reply: Reply) -> None:
        """Keep it."""
        self._reply = reply

    def events(self) -> Iterator[Event]:
        """What was converted, then the score, or why there is none."""
        yield from (Note(self._entry.name, phrase) for phrase in self._notes)
        reply = self._reply
        if reply is not None and reply.error is not None:
            yield self._failed(self._entry, reply.error, 0, reply.transient)
        elif reply is not None and reply.score is not None:
            yield CleanScore(self._entry, reply.score)


class AccountsDriver(Driver):
    """What attacks on one and on several images have in common."""

    def __init__(self, failed: FailureOf) -> None:
        super().__init__()
        self._failed = failed
        self._transient: set[str] = set()

    @abstractmethod
    def account(self, name: str) -> Account:
        """That of an image."""

    def take(self, reply: Reply) -> None:
        """Put it into its account."""
        account = self.account(reply.request.name)
        if reply.score is not None:
            account.settle(reply.request.number, reply.score)
            return
        if account.failure is None:
            account.failure = reply.error
        if reply.transient:
            self._transient.add(account.name)
        kept = [request for request in self.waiting if request.name != account.name]
        self.unanswered -= len(self.waiting) - len(kept)
        self.waiting = deque(kept)

    def came_of(self, entry: ImageEntry, account: Account) -> Event:
        """The outcome of an image, or its failure."""
        if account.failure is not None:
            transient = account.name in self._transient
            return self._failed(entry, account.failure, account.spent, transient)
        return Outcome(
            entry=entry,
            gain=account.best_gain,
            clean=account.clean,
            adversarial=account.best,
            target=account.target,
            score_clean=account.target.clean,
            score_adv=account.best_score,
            queries=account.spent,
            stages=tuple(account.stages),
            found=account.found,
        )


class ImageDriver(AccountsDriver):
    """An attack on one image; InputError, in `advance`, when the attack cannot take it or fails."""

    def __init__(
        self,
        entry: ImageEntry,
        account: Account,
        attack: Attack,
        failed: FailureOf,
        *,
        late: bool = False,
    ) -> None:
        """late: whether the clean image is scored once more when the search has ended."""
        super().__init__(failed)
        self._late = late
        self._closing = False  # only that score is still to come
        self._holding = False  # the result is being scored, as the floor shortened it
        self.memory = SEARCH_BYTES * account.clean.numel() + account.held
        self._entry = entry
        self._account = account
        self._attack = attack
        self._search: AnySearch | None = None

    def opened(self) -> Iterator[Event]:
        """What the constraint had to find out about the image."""
        if self._account.found is not None:
            yield Found(self._entry.name, self._account.found)

    def accounts(self) -> Sequence[Account]:
        """The one."""
        return (self._account,)

    def account(self, name: str) -> Account:  # noqa: ARG002 - there is but one
        """The one."""
        return self._account

    def advance(self) -> None:
        """Send answers and take candidates until some of them need a score."""
        account = self._account
        if self._holding:
            self._held()
            return
        if self._closing or (self._search is None and account.hopeless):
            self._end()
            return
        while not self.done:
            try:
                if self._search is None:
                    self._search = guarded(self._attack, account.task)
                    candidates = next(self._search)
                    self._check_task()  # before anything is paid for
                else:
                    candidates = self._search.send(account.answer())
            except StopIteration:
                self._check_task()
                self._holding = True
                requests = account.admit_result()
                self.ask(requests)
                if not requests:
                    self._held()
                return
            requests = account.admit(candidates)
            if requests:
                self.ask(requests)
                return

    def _held(self) -> None:
        """The result is what it will be."""
        self._holding = False
        self._account.take_result()
        if not self._asks_late():
            self._end()

    def _asks_late(self) -> bool:
        self._closing = self._late and self._account.failure is None
        requests = self._account.admit_clean() if self._closing else []
        self.ask(requests)
        return bool(requests)

    def take(self, reply: Reply) -> None:
        """Put it into the account; the result does not hang on the last one."""
        if not self._closing or reply.score is not None:
            super().take(reply)

    def _check_task(self) -> None:
        """The task is the engine's own, for the memory that copies take."""
        changed = self._account.changed()
        if changed is not None:
            raise InputError(
                f"attack '{name_of(self._attack)}' changes task.{changed} in place; it must work "
                f"on task.{changed}.clone()"
            )

    def _end(self) -> None:
        self.done, self._search = True, None
        self._account.close()

    def events(self) -> Iterator[Event]:
        """The outcome, or the failure; a note where the attack gave up on it."""
        event = self.came_of(self._entry, self._account)
        account = self._account
        given_up = not account.hopeless and account.spent < account.queries
        if given_up and isinstance(event, Outcome) and torch.equal(event.clean, event.adversarial):
            yield Note(
                self._entry.name,
                f"the attack ended after {account.spent} of {account.queries} queries without "
                "changing anything: it ended by itself, or made no new queries",
            )
        if account.floored:
            yield Note(self._entry.name, "the floor leaves nothing of the change")
        yield event


class LazyTasks(Sequence[Task]):
    """Tasks of a set, each made when it is looked at first."""

    def __init__(self, accounts: LazyAccounts) -> None:
        self._accounts = accounts

    def __len__(self) -> int:
        return len(self._accounts)

    @overload
    def __getitem__(self, index: int) -> Task: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Task]: ...
    def __getitem__(self, index: int | slice) -> Task | Sequence[Task]:
        if isinstance(index, slice):
            return [self[k] for k in range(len(self))[index]]
        return self._accounts[index].task


class LazyAccounts:
    """Accounts of a set, likewise."""

    def __init__(self, makers: Sequence[Callable[[], Account]]) -> None:
        self.made: dict[int, Account] = {}
        self._makers = makers

    def __len__(self) -> int:
        return len(self._makers)

    def __getitem__(self, number: int) -> Account:
        number = range(len(self._makers))[number]
        if number not in self.made:
            self.made[number] = self._makers[number]()
        return self.made[number]

    def get(self, number: int) -> Account:
        """One that is not kept if it was not made before."""
        return self.made.get(number) or self._makers[number]()


class SetDriver(AccountsDriver):
    """An attack on several images.

    makers: of each image, in order, a function that opens its account. An image that was never
    looked at is opened in the end, and comes out as it went in. An attack that asks nothing new
    again and again is ended. Where it returns a `Chosen`, that says which picture each image ends
    as, in place of the best. A failure that may pass ends it, too, and nothing comes out but that:
    going on, it would ask what it does not ask when it is replayed and the image is scored.
    """

    def __init__(
        self,
        entries: Sequence[ImageEntry],
        makers: Sequence[Callable[[], Account]],
        attack: SetAttack,
        rng: torch.Generator,
        failed: FailureOf,
        *,
        total: int | None = None,
        standing: Standing | None = None,
        tolerant: bool = False,
    ) -> None:
        """total: queries about all images, their clean ones included; then all are opened.
        tolerant: a candidate that the model fails on for good is one without a finite score, in the
        log, too, as whatever is asked afterwards depends on it; until the model is held to be
        broken, which ends the attack as a failure that may pass does.
        """
        super().__init__(failed)
        self._entries = entries
        self._tolerant = tolerant
        self._failing: list[str] = []  # images of the failures since the last score
        self._accounts = LazyAccounts(makers)
        self._numbers = {entry.name: number for number, entry in enumerate(entries)}
        self._order: list[tuple[str, int]] = []
        self._asked: list[int] = []  # numbers of the images of the last proposals
        self._left: int | None = None  # queries, of all images together
        if total is not None:
            clean = sum(self._accounts[k].numbered for k in range(len(makers)))
            self._left = max(total - clean, 0)
        tasks = LazyTasks(self._accounts)
        self._search: SetSearch = attack(SetTask(tasks, rng, self._left, standing))
        self._begun = False
        self._value: object = None

    def accounts(self) -> Sequence[Account]:
        """Those that were looked at."""
        return list(self._accounts.made.values())

    def account(self, name: str) -> Account:
        """That of an image."""
        return self._accounts[self._numbers[name]]

    def take(self, reply: Reply) -> None:
        """Put it into its account."""
        if not self._tolerant or reply.score is not None or reply.transient:
            self._failing.clear()
            super().take(reply)
            return
        name = reply.request.name
        self._failing.append(name)
        if self._broken():
            super().take(replace(reply, transient=True))
        else:
            self.account(name).settle(reply.request.number, math.nan)

    def _broken(self) -> bool:
        """Whether the model is held to be broken, rather than unable to take some images."""
        if len(self._failing) < IN_A_ROW:
            return False
        names = set(self._failing)
        enough = len(names) >= min(ON_IMAGES, len(self._entries))
        return enough or all(self.account(name).scored > 1 for name in names)

    def advance(self) -> None:
        """Send answers and take proposals until some of them need a score."""
        if self._transient:
            self._close()
            return
        free = 0
        # Each image's own search may go round in circles, one after the other (see `guarded`).
        while free <= (FREE_ANSWERS + 1) * (len(self._entries) + 1):
            try:
                if not self._begun:
                    self._begun = True
                    proposals = next(self._search)
                else:
                    proposals = self._search.send(self._answers())
            except StopIteration as stop:
                self._value = stop.value
                break
            numbers = [range(len(self._accounts))[number] for number, _ in proposals]
            if len(set(numbers)) < len(numbers):
                raise ValueError("a set attack proposed candidates for one image twice at once")
            self._asked = numbers
            new = 0  # those that the log answers are new, too
            for number, (_, candidates) in zip(numbers, proposals, strict=True):
                account = self._accounts[number]
                before = account.numbered
                if account.failure is None:
                    self.ask(account.admit(candidates, self._left))
                else:
                    account.admit(candidates[:0])
                if asked := account.numbered - before:
                    self._order.append((account.name, asked))
                    if self._left is not None:
                        self._left -= asked
                    new += asked
            if self.unanswered:
                return
            free = 0 if new else free + 1
        self._close()

    def _close(self) -> None:
        with suppress(RuntimeError):  # one that goes on even so
            self._search.close()
        self.done = True

    def _answers(self) -> list[Answer]:
        return [self._accounts[number].answer(self._left) for number in self._asked]

    def events(self) -> Iterator[Event]:
        """The outcome of each image, then the value that the attack returned."""
        chosen = self._value.pictures if isinstance(self._value, Chosen) else None
        errors = self._value.failed if isinstance(self._value, Chosen) else {}
        for number, entry in enumerate(self._entries):
            account = self._accounts.get(number)
            if self._transient and account.failure is None:
                continue
            if chosen is not None and account.failure is None:
                account.choose(chosen.get(number, account.clean))
                account.failure = errors.get(number)
            account.close()
            yield self.came_of(entry, account)
        yield Returned(self._value, tuple(self._order))
