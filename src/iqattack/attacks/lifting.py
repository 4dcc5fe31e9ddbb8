"""The end of a search on one image, and attacks on one image as attacks on a set and back."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor

from iqattack.attacks.contract import (
    Answer,
    AnySearch,
    Attack,
    NothingLeft,
    NothingNew,
    SearchEnded,
    SetAttack,
    SetSearch,
    SetTask,
    Task,
)
from iqattack.errors import InputError, IqattackError, one_line

# Answers in a row that needed no query, after which a search is held to go round in circles.
FREE_ANSWERS = 200
TOGETHER = 16  # images of a set that `single` attacks at a time


def guarded(attack: Attack, task: Task, *, thorough: bool = False) -> AnySearch:
    """Run an attack until nothing is left to gain, or until it repeats known candidates.

    thorough: end it only when the engine does. The end is raised in the attack, whose return value
    is returned. Exceptions of the attack become an InputError that names the attack, for this image
    only, except those that iqattack raises on purpose and a lack of memory.
    """
    search: AnySearch | None = None
    best, left, free = 0.0, task.queries, 0
    try:
        search = _begun(attack, task)
        candidates = next(search)
        while True:
            answer = yield candidates
            end = answer.end
            if end is None and not thorough:
                free = free + 1 if answer.left == left else 0
                left = answer.left
                if task.boundary is None and len(answer.gain):
                    best = max(best, float(answer.gain.max()))
                if best >= task.reach:
                    end = NothingLeft("the score is at the end of its range", answer)
                elif free >= FREE_ANSWERS:
                    end = NothingNew(f"{free} answers in a row were known already", answer)
            if end is not None:
                search.throw(end)
                return None  # it went on asking
            candidates = search.send(answer)
    except StopIteration as stop:
        return stop.value
    except SearchEnded as ended:
        ended.__traceback__ = None  # its frames hold images, and the exception
        return None
    except (IqattackError, MemoryError, torch.OutOfMemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"attack '{name_of(attack)}' failed: {one_line(error)}") from error
    finally:
        if search is not None:
            with suppress(RuntimeError):  # one that goes on even so
                search.close()


def _begun(attack: Attack, task: Task) -> AnySearch:
    search: object = attack(task)
    if not isinstance(search, Generator):
        raise InputError(
            f"attack '{name_of(attack)}' returned {type(search).__name__}; expected a generator, "
            "which yields candidates (N, 3, H, W) and is sent an Answer for them"
        )
    return search


def name_of(attack: object) -> str:
    """The name of an attack in messages: its spec, if it was loaded from one, or its function's."""
    name = getattr(attack, "__name__", None)
    if name is None and isinstance(attack, partial):
        return name_of(attack.func)
    return str(name or type(attack).__name__)


def single(attack: Attack, *, thorough: bool = False, together: int = TOGETHER) -> SetAttack:
    """Lift an attack on one image to a set attack, which searches each image independently.

    thorough: as in `guarded`; images without queries or without a reach are then searched, too.
    together: number of images attacked at a time, to limit memory.

    The set attack returns a list of the searches' return values, in the order of the set; None for
    an image that was not searched.
    """

    def lifted(given: SetTask) -> SetSearch:
        results: list[object] = [None] * len(given.tasks)
        rest = iter(range(len(given.tasks)))
        searches: dict[int, AnySearch] = {}
        waiting: dict[int, Tensor] = {}

        def advance(number: int, answer: Answer | None) -> None:
            search = searches[number]
            try:
                waiting[number] = next(search) if answer is None else search.send(answer)
            except StopIteration as stop:
                results[number] = stop.value
                del searches[number]

        while True:
            while len(searches) < together and (number := next(rest, None)) is not None:
                task = given.tasks[number]
                if thorough or (task.queries > 0 and task.reach > 0.0):
                    searches[number] = guarded(attack, task, thorough=thorough)
                    advance(number, None)
            if not waiting:
                return results
            asked, waiting = waiting, {}
            answers = yield list(asked.items())
            for number, answer in zip(asked, answers, strict=True):
                advance(number, answer)

    return lifted


def alone(attack: SetAttack) -> Attack:
    """A set attack as one on a single image, which is then the whole set."""

    def search(task: Task) -> AnySearch:
        inner = attack(SetTask([task], task.rng))
        try:
            proposals = next(inner)
            while True:
                ((_, candidates),) = proposals
                try:
                    answer = yield candidates
                except SearchEnded as ended:
                    last = ended.answer
                    answer = Answer(last.pixels, last.gain, last.left, ended)
                proposals = inner.send([answer])
        except StopIteration as stop:
            return stop.value

    search.__name__ = name_of(attack)  # for messages
    return search
