"""Score boundaries that adapt to the image, and decision-based attacks on them.

Yang et al. (arXiv 2401.05217, sec. III-B and III-D): a decision-based attack shortens the
perturbation that crossed one boundary, which leaves room in the box to cross the next.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from iqattack.attacks.contract import Answer, Search, Task
from iqattack.attacks.shared.start import length, start_across
from iqattack.objectives import ScoreBoundary

# Adaptive boundaries, as released.
FIRST = 0.01  # b of the first one
STEP_MIN = 1 / 400  # the release stops where b − b_prev is no more than this
SUP_MIN = 0.005  # lower bound on `sup` of the increase rule
PATIENCE = 200  # failed candidates after which the decrease rule applies

STUCK = 50  # consecutive answers without a query, after which the next boundary is set; ours

Shorten = Callable[[ScoreBoundary, Tensor], Search]


@dataclass
class Boundaries:
    """The score boundary b and the one before it, which adapt to the image (sec. III-B).

    rules: "both"; "increase" without the decrease rule; "fixed" for one boundary at b.
    """

    reach: float
    rules: Literal["both", "increase", "fixed"] = "both"
    b: float = FIRST
    previous: float = 0.0
    failures: int = 0

    @property
    def goal(self) -> ScoreBoundary:
        """The boundary to cross."""
        return ScoreBoundary(self.reach, self.b)

    def crossed(self, gain: float) -> bool:
        """Whether a candidate crosses; the boundary then adapts."""
        if self.goal.crossed(gain):
            while self.rules != "fixed" and self.b < 1.0:
                sup = min(max(self.b + 2 * (self.b - self.previous), SUP_MIN), 1.0)
                if not ScoreBoundary(self.reach, sup).crossed(gain):
                    break
                self.b = (self.b + sup) / 2
            return True
        self.failures += 1
        if self.rules == "both" and self.failures % PATIENCE == 0:
            self.b = min(self.b, max((self.b + self.previous) / 2, self.previous + STEP_MIN))
        return False

    def advance(self) -> None:
        """Set the next boundary as far ahead as this one was of the last."""
        if self.rules != "fixed":
            step = max(self.b - self.previous, STEP_MIN)
            self.previous, self.b, self.failures = self.b, min(self.b + step, 1.0), 0


@dataclass
class Allowance:
    """The query allowance of a part of a search, charged by the remaining budget in each answer.

    queries: the rest of the allowance. The first answer is charged one query per candidate, because
    the budget before it is unknown here; so the allowance is never exceeded.
    """

    queries: int
    left: int | None = None

    def charge(self, answer: Answer) -> int:
        """Deduct the cost of an answer, and return it."""
        cost = len(answer.gain) if self.left is None else self.left - answer.left
        self.queries -= cost
        self.left = answer.left
        return cost


def adapts(task: Task, adapt: int) -> bool:
    """Whether boundaries adapt: one that the objective sets stays fixed."""
    return bool(adapt) and task.boundary is None


def on_boundaries(task: Task, boundary: float, starts: int, adapt: int, shorten: Shorten) -> Search:
    """Cross a score boundary and shorten the perturbation that did, by `shorten(goal, start)`.

    boundary: fraction b of the way to the end of the score range; the boundary of an objective such
        as rank:0.2 takes precedence.
    starts: maximum number of candidates to cross a boundary; the search ends if none does. An
        adaptive boundary moves nearer after every PATIENCE failures, so values above it help.
    adapt: 0 for one boundary with the whole budget; else the number of queries per boundary before
        the next one, which adapts; `boundary` is the first.
    """
    if not adapts(task, adapt):
        goal = task.boundary or ScoreBoundary(task.reach, boundary)
        start = yield from start_across(task, goal, starts)
        if start is not None:
            yield from shorten(goal, start)
        return
    bounds = Boundaries(task.reach, b=boundary)
    x_b, gain_b = task.image, 0.0
    while bounds.previous < 1.0:
        start = yield from start_across(task, bounds, starts, x_b, gain_b)
        if start is None:
            return
        goal = bounds.goal
        x_b = yield from nearest(task.image, goal, start, shorten(goal, start), adapt)
        gain_b = goal.gain  # at least
        bounds.advance()


def nearest(
    image: Tensor, goal: ScoreBoundary, start: Tensor, search: Search, queries: int
) -> Generator[Tensor, Answer, Tensor]:
    """The crossing image nearest to the clean one, from a search with a budget of queries.

    It ends early after STUCK consecutive answers without a query.
    """
    best, least = start, length(start - image, "l2")
    allowance, free = Allowance(queries), 0
    with suppress(StopIteration):
        candidates = next(search)
        while allowance.queries > 0 and free < STUCK:
            answer = yield candidates
            free = 0 if allowance.charge(answer) else free + 1
            for crossing in answer.images[goal.crossed(answer.gain)]:
                distance = length(crossing - image, "l2")
                if distance < least:
                    best, least = crossing, distance
            candidates = search.send(answer)
    search.close()
    return best
