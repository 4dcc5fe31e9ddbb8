"""Progress of a run on standard error, for people and programs."""

from __future__ import annotations

import importlib
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn

import iqattack
from iqattack.cli.signals import at_once, closing_on_interrupt
from iqattack.specs import printable

if TYPE_CHECKING:
    from iqattack.api import Callbacks
    from iqattack.engine import Progress as State

EVERY_S = 2.0  # between two lines of a log
LONG_S = 2.0  # of loading, after which a log says what takes so long


LOADING = "loading PyTorch"  # always first


class Display:
    """A progress bar on a terminal, JSON lines elsewhere, at most one per two seconds.

    Loading is shown on the bar; in a log it takes at most one line.

    stop: whether the run is to end. asked: images sent to the model so far in this session.
    """

    def __init__(
        self, stop: Callable[[], bool] = lambda: False, console: Console | None = None
    ) -> None:
        self.asked = 0
        self._stop = stop
        self._console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._line: dict[str, object] | None = None  # kept back
        self._printed = -EVERY_S
        self._loading = LOADING
        self._patience = threading.Timer(LONG_S, self._say_loading)
        self._patience.daemon = True
        if self._console.is_terminal:
            self._bar = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                TextColumn("{task.fields[more]}", markup=False),
                console=self._console,
                transient=True,
            )
            self._task = self._bar.add_task(LOADING, total=None, more="")

    @property
    def callbacks(self) -> Callbacks:
        """Return the callbacks for the API."""
        return iqattack.Callbacks(
            stop=self._stop,
            loading=self.loading,
            note=self.note,
            failed=self.failed,
            progress=self.progress,
            checked=partial(self.counted, "verify"),
            pictured=partial(self.counted, "report"),
            probed=self.counted,
            compared=partial(self.counted, "compare", what="runs"),
            merged=partial(self.counted, "merge"),
            measured=partial(self.counted, "visibility"),
        )

    def loading(self, what: str) -> None:
        """Show what is being loaded before the first image is scored."""
        self._loading = what = printable(what)
        if self._bar is not None:
            with suppress(OSError):
                self._bar.update(self._task, description=what)

    def _say_loading(self) -> None:
        self._print({"event": "loading", "text": self._loading})

    def note(self, image: str, phrase: str) -> None:
        """Print a note, such as that an image was converted."""
        self._say("note", printable(image), printable(phrase))

    def failed(self, image: str, reason: str) -> None:
        """Print that an image could not be attacked."""
        self._say("failed", printable(image), printable(reason))

    def progress(self, state: State) -> None:
        """Show the state of the run."""
        self.asked = state.queries + state.attempts
        rate = state.queries / state.seconds if state.seconds > 0.0 else 0.0
        left = seconds_left(state)
        if self._bar is not None:
            more = f"· {rate:.0f} queries/s · mean gain {state.gain:.3f}"
            more += f" · {state.attempts} attempts failed" if state.attempts else ""
            more += "" if left is None else f" · at most {clock(left)} left"
            doing = state.doing or state.stage
            if state.pooled:
                self._update(doing, state.spent, state.budget, more, "queries")
            else:
                self._update(doing, state.done, state.images, more)
            return
        self._json(
            {
                "event": "progress",
                "stage": state.stage,
                **({"doing": state.doing} if state.doing else {}),
                "done": state.done,
                "images": state.images,
                "queries": state.queries,
                **({"spent": state.spent, "budget": state.budget} if state.pooled else {}),
                "attempts": state.attempts,
                "queries_per_second": round(rate, 1),
                "mean_gain": round(state.gain, 4),
                "batch": state.batch,
                "seconds": round(state.seconds, 1),
                "seconds_left": None if left is None else round(left),
            }
        )

    def counted(self, stage: str, done: int, total: int, *, what: str = "images") -> None:
        """Show how many images, or other items, a later stage has finished."""
        if self._bar is not None:
            self._update(stage, done, total, "", what)
        else:
            self._json({"event": "progress", "stage": stage, "done": done, what: total})

    def start(self) -> None:
        """Show the bar."""
        if self._bar is not None:
            self._bar.start()
        else:
            self._patience.start()

    def end(self) -> None:
        """Remove the bar, or print the last line."""
        self._patience.cancel()
        if self._bar is not None:
            with suppress(OSError):  # a terminal that was closed
                self._bar.stop()
        elif self._line is not None:
            self._print(self._line)
            self._line = None

    def _say(self, event: str, image: str, text: str) -> None:
        if self._bar is None:
            self._print({"event": event, "image": image, "text": text})
        else:
            named = text if image in text else f"{image}: {text}"
            with suppress(OSError):
                self._console.print(
                    f"{event}: {named}", soft_wrap=True, markup=False, highlight=False
                )

    def _update(self, stage: str, done: int, total: int, more: str, what: str = "images") -> None:
        if self._bar is not None:
            more = f"{done}/{total} {what} {more}"
            with suppress(OSError):
                self._bar.update(
                    self._task, description=printable(stage), completed=done, total=total, more=more
                )

    def _json(self, line: dict[str, object]) -> None:
        self._patience.cancel()
        now = time.monotonic()
        if self._line is not None and self._line.get("stage") != line.get("stage"):
            self._print(self._line)  # the end of the previous stage
        if now - self._printed < EVERY_S:
            self._line = line
            return
        self._printed, self._line = now, None
        self._print(line)

    def _print(self, line: dict[str, object]) -> None:
        with suppress(OSError):
            # ASCII: the stream would escape what its encoding lacks in a way that JSON does not
            # have.
            print(json.dumps(line), file=sys.stderr, flush=True)


@contextmanager
def display(stop: Callable[[], bool] | None = None) -> Iterator[Display]:
    """Show progress within the block, from the loading of `iqattack.api` on.

    stop: whether the block is to end, if it handles Ctrl-C itself; by default, Ctrl-C ends it.
    """
    shown = Display(stop or (lambda: False))
    shown.start()
    try:
        with at_once(shown.end):
            importlib.import_module("iqattack.api")
        with closing_on_interrupt() if stop is None else nullcontext():
            yield shown
    finally:
        shown.end()


def seconds_left(state: State) -> float | None:
    """Upper bound at the current rate: some of the remaining budget may stay unspent."""
    if not state.queries or not state.images:
        return None
    rate = state.queries / max(state.seconds, 1e-9)
    left = float(state.budget - state.spent)
    if state.stage == "attack" and not state.pooled:
        left = min(left, (state.images - state.done) * state.budget / state.images)
    return left / rate


def clock(seconds: float) -> str:
    """Format seconds, for example as 1:02:03 or 4:05."""
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{s:02}" if hours else f"{minutes}:{s:02}"
