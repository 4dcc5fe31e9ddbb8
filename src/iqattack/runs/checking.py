"""The check of the model: two clean images are scored again, before and after their search."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

import torch

from iqattack.engine import Event, Note, QueryLog, Replies, image_hash
from iqattack.errors import InputError
from iqattack.images import ImageSet
from iqattack.models import Scorer
from iqattack.probing import EACH, ask, findings
from iqattack.runs.checked import Checked
from iqattack.runs.how import How
from iqattack.runs.run import Run
from iqattack.scoring import Ceiling, Reply

FEWEST = 20  # queries of an image that make a check worth its price


class Checking:
    """What the engine calls with the clean scores; see `Engine`.

    The queries are those of the first two images of one size. Whatever comes of the check, the
    search on them has `EACH` and one fewer: its result depends on neither failures nor the size of
    batches. The last one is asked for when the search on the image has ended. What a session did
    not come to before, the next one asks, unless that search has begun, as its log would not
    replay.
    """

    def __init__(
        self,
        run: Run,
        log: QueryLog,
        images: ImageSet,
        scorer: Scorer,
        how: How,
        *,
        ceiling: Ceiling | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """ceiling: of what is sent. stop: asked between calls."""
        self._run, self._log, self._images, self._scorer = run, log, images, scorer
        self._how, self._ceiling, self._stop = how, ceiling, stop
        self.reserved: dict[str, int] = {}
        self.late: frozenset[str] = frozenset()

    def __call__(self, scores: Mapping[str, float]) -> Iterator[Event]:
        """What is asked, and what a person should know, as events."""
        checked = Checked.read(self._log)
        if checked is None and self._run.settings.queries >= FEWEST:
            batch, given = self._how.may_batch(self._scorer), self._how.batch_of(self._scorer)
            checked = Checked(
                images=tuple(self._pair()),
                batch=batch,
                late=True,
                wide=batch and given != 2,
                workers=self._how.workers is not None,
            )
            checked.keep(self._log)
        checked = checked or Checked(images=(), batch=False)
        self.reserved = dict.fromkeys(checked.images, EACH)
        self.late = frozenset(checked.images if checked.late else ())
        yield from self._ask(checked, scores)
        found = checked.evaluated(self._log, self._scorer.score_range)
        if found.failed is not None:
            yield Note("model", f"the check of the model was not completed: {found.failed}")
        for phrase in findings(found, list(scores.values()), self._scorer.score_range):
            yield Note("model", phrase)

    def _ask(self, checked: Checked, scores: Mapping[str, float]) -> Iterator[Event]:
        done = {name: n for name, n in checked.done(self._log).items() if name in scores}
        images = {e.name: self._run.read_clean(e.path) for e in self._images if e.name in done}
        if all(n == EACH for n in done.values()):
            return
        checked.failed = None
        here = replace(self._how, workers=None)  # the workers have models of their own
        with here.pool_of(self._scorer, ceiling=self._ceiling) as pool:
            for replies in ask(pool, images, batch=checked.batch, done=done, stop=self._stop):
                yield self._event(replies)
                errors = [reply.error for reply in replies if reply.final and reply.error]
                checked.failed = checked.failed or next(map(str, errors), None)
        checked.keep(self._log)

    def _event(self, replies: list[Reply]) -> Replies:
        rows: dict[str, tuple[int, list[tuple[int, float]]]] = {}
        attempts: dict[str, int] = {}
        for reply in replies:
            name, image = reply.request.name, reply.request.image
            if reply.score is None:
                attempts[name] = attempts.get(name, 0) + 1
            else:
                first, found = rows.get(name, (self._log.queries(name), []))
                rows[name] = (first, [*found, (image_hash(image), reply.score)])
        scored = sum(len(found) for _, found in rows.values())
        return Replies(rows=rows, attempts=attempts, scored=scored)

    def _pair(self) -> list[str]:
        """The first two images of one size; the first where no two have one.

        Images whose search has begun are passed over, and those that the model gave no finite
        score. One that it did not answer for counts: another session may attack it, and which two
        they are must not depend on failures that pass.
        """
        first: dict[torch.Size, str] = {}
        for entry in self._images:
            if self._log.queries(entry.name) > 1:
                continue
            clean = self._log.clean_score(entry.name)
            if clean is not None and not math.isfinite(clean):
                continue
            try:
                image = self._run.read_clean(entry.path)
            except InputError:
                continue  # the engine reports it
            if image.shape in first:
                return [first[image.shape], entry.name]
            first[image.shape] = entry.name
        return list(first.values())[:1]
