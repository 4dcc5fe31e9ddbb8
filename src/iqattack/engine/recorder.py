"""The one writer: what happens goes into the log, and to whoever watches."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from iqattack.engine.events import (
    Attacked,
    Busy,
    CleanScore,
    Event,
    Failure,
    Found,
    Note,
    Replies,
)
from iqattack.engine.log import QueryLog
from iqattack.errors import InputError

# Images that failed while nothing was scored at all, after which the model is held to be at fault:
# fewer where each took a while, since it could not be reached.
GIVE_UP, GIVE_UP_TRANSIENT = 32, 3


@dataclass(frozen=True)
class Progress:
    """Where a run stands.

    done: images that the stage is done with: `clean` with their clean scores, `attack` with them.
    queries: scored in this session; spent: those and the replayed ones, of at most `budget`.
    attempts: images that were sent in this session and not answered.
    gain: mean over the images that are done and those in progress, of the score range.
    doing: what keeps it busy, where that is not the model.
    pooled: whether images are attacked together, so that only queries show how far it is.
    """

    stage: str
    done: int
    images: int
    queries: int
    attempts: int
    spent: int
    budget: int
    gain: float
    batch: int
    seconds: float
    doing: str = ""
    pooled: bool = False


class Recorder:
    """The one writer: what happens passes through it, into the log and to whoever watches."""

    def __init__(
        self,
        log: QueryLog,
        *,
        images: int,
        queries: int,
        total: int | None = None,
        together: bool = False,
        note: Callable[[str, str], None],
        progress: Callable[[Progress], None],
    ) -> None:
        """queries: about each image, at most; total: about all of them, which share it; together:
        whether all results come at the end.
        """
        self._log = log
        self._note = note
        self._progress = progress
        self._gains: dict[str, float] = {}  # of images in progress
        self._sum, self._attacked = 0.0, 0  # gains of images that are done
        self._failed = self._unreached = 0
        self._started = time.monotonic()
        budget = images * queries if total is None else total
        self._state = Progress("clean", 0, images, 0, 0, 0, budget, 0.0, 1, 0.0, pooled=together)

    def begin(self, stage: str, *, done: int, spent: int = 0, gains: Sequence[float] = ()) -> None:
        """Another stage; spent: queries of earlier sessions; gains: of images that are done."""
        self._sum, self._attacked = math.fsum(gains), len(gains)
        self._report(stage=stage, done=done, spent=self._state.spent + spent)

    def record(self, event: Event) -> None:
        """Write an event; InputError where nothing could be scored since the start."""
        state = self._state
        match event:
            case Replies():
                if event.rows or event.early or event.attempts:
                    self._log.append(event.rows, event.early, event.attempts)
                self._gains |= event.gains
                self._report(
                    queries=state.queries + event.scored,
                    spent=state.spent + event.scored,
                    attempts=state.attempts + sum(event.attempts.values()),
                    batch=event.batch,
                )
            case Note():
                self._note(event.image, event.phrase)
            case Busy():
                self._report(doing=event.what)
            case Found():
                self._log.keep_found(event.image, event.value)
            case CleanScore():
                self._report(done=state.done + 1)
            case Attacked():
                self._gains.pop(event.entry.name, None)
                self._sum += event.gain
                self._attacked += 1
                self._report(done=state.done + 1)
            case Failure():
                self._gains.pop(event.entry.name, None)
                self._log.fail(event.entry.name, event.reason)
                self._report(done=state.done + 1)
                self._give_up(event)

    def _give_up(self, failure: Failure) -> None:
        if self._state.queries or not failure.of_model:
            return
        self._failed += 1
        self._unreached += failure.transient
        if self._failed == GIVE_UP or self._unreached == GIVE_UP_TRANSIENT:
            raise InputError(
                f"{failure.reason} (the last of {self._failed} images on which the model failed, "
                "and it scored none)"
            )

    def _report(self, **changes: Any) -> None:
        gains = self._sum + sum(self._gains.values())
        known = vars(self._state) | {
            "gain": gains / max(1, self._attacked + len(self._gains)),
            "seconds": time.monotonic() - self._started,
            "doing": "",
        }
        self._state = Progress(**known | changes)
        self._progress(self._state)
