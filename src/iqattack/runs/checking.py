"""The check of the model: two clean images are scored again, before and after their search and when
a run is resumed.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace

import torch
from torch import Tensor

from iqattack.engine import Event, Note, QueryLog, Replies, image_hash
from iqattack.errors import InputError
from iqattack.images import ImageEntry, ImageSet, read_image
from iqattack.models import Scorer
from iqattack.probing import EACH, ask, findings
from iqattack.probing.subject import TOLERANCE
from iqattack.runs.checked import Checked
from iqattack.runs.how import How
from iqattack.runs.settings import Settings
from iqattack.scoring import Ceiling, Reply, ScorePool

FEWEST = 20  # queries per image below which a check is too expensive


class Checking:
    """Called by the engine with the clean scores; see `Engine`.

    The check uses the first two images of equal size. Whatever its outcome, their searches have
    `EACH` + 1 fewer queries, so that results depend on neither failures nor the batch size. The
    last query is made when the search on the image has ended. What a session could not ask, the
    next one does, unless the search has begun, since its log would not replay.
    """

    def __init__(
        self,
        settings: Settings,
        log: QueryLog,
        images: ImageSet,
        scorer: Scorer,
        how: How,
        *,
        ceiling: Ceiling | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> None:
        """images: the whole set, if the log is of a shard. ceiling: limit on what is sent. stop:
        called between calls.
        """
        self._settings, self._log, self._images, self._scorer = settings, log, images, scorer
        self._how, self._ceiling, self._stop = how, ceiling, stop
        self.reserved: dict[str, int] = {}
        self.late: frozenset[str] = frozenset()
        self._begun = False  # by an earlier session
        self._said: set[str] = set()

    def before(self) -> Iterator[Event]:
        """On resuming, check whether this session's model gave the scores in the log.

        One image of the check is scored once more, alone as before, and both if scores are noisy.
        This does not count towards the budget and is in no row, since the log must replay.
        """
        log = self._log
        self._begun = any(log.clean_score(name) is not None for name in log.images())
        if self._settings.budget_total is not None:
            return  # it allows nothing beside it
        checked = Checked.read(log)
        if checked is None or len(log.finished()) == log.count():
            return
        asked = [name for name, scores in checked.scores(log).items() if scores]
        if not asked:
            checked.wide &= not self._begun
            checked.keep(log)
            return
        width = self._scorer.score_range[1] - self._scorer.score_range[0]
        noise = checked.evaluated(log, self._scorer.score_range).noise
        images = self._unchanged(checked, asked, 1 if noise <= TOLERANCE * width else 2)
        scores: dict[str, float] = {}
        with self._pool() as pool:
            for replies in ask(pool, images, batch=False, times=1, done={}, stop=self._stop):
                yield self._counted(replies, checked.others)
                found = {r.request.name: r.score for r in replies if r.score is not None}
                failed = (r for r in replies if r.score is None)
                log.count_beside(len(found) + sum(r.request.name in checked.others for r in failed))
                scores |= found
        scores = {name: score for name, score in scores.items() if math.isfinite(score)}
        if scores:
            checked.sessions = (*checked.sessions, scores)
            checked.keep(log)
            yield from self._phrases(checked, [])

    def __call__(self, scores: Mapping[str, float]) -> Iterator[Event]:
        """Make the queries, and yield what the user should know, as events."""
        checked = Checked.read(self._log)
        if checked is None and self._settings.share(len(self._images)) >= FEWEST:
            batch, given = self._how.may_batch(self._scorer), self._how.batch_of(self._scorer)
            # A change between two sessions is not caused by a larger batch.
            checked = Checked(
                images=tuple(self._pair()),
                batch=batch,
                late=not self._settings.together,
                wide=batch and given != 2 and not self._begun,
                workers=self._how.apart,
            )
            checked.keep(self._log)
        checked = checked or Checked(images=(), batch=False)
        self.reserved = dict.fromkeys(checked.images, EACH)
        self.late = frozenset(checked.images if checked.late else ())
        yield from self._ask(checked, scores)
        if checked.failed is not None:
            yield Note("model", f"the check of the model was not completed: {checked.failed}")
        yield from self._phrases(checked, list(scores.values()))

    def _phrases(self, checked: Checked, scores: Sequence[float]) -> Iterator[Event]:
        """What the user should know, once. scores: of the clean images."""
        found = checked.evaluated(self._log, self._scorer.score_range)
        for phrase in findings(found, scores, self._scorer.score_range):
            if phrase not in self._said:
                self._said.add(phrase)
                yield Note("model", phrase)

    def _pool(self) -> AbstractContextManager[ScorePool]:
        here = replace(self._how, workers=None)  # the workers have their own models
        return here.pool_of(self._scorer, ceiling=self._ceiling)

    def _ask(self, checked: Checked, scores: Mapping[str, float]) -> Iterator[Event]:
        done = {name: n for name, n in checked.done(self._log).items() if name in scores}
        images = {e.name: self._read(e) for e in self._images if e.name in done}
        if all(n == EACH for n in done.values()):
            return
        checked.failed = None
        with self._pool() as pool:
            for replies in ask(pool, images, batch=checked.batch, done=done, stop=self._stop):
                yield self._event(replies)
                errors = [reply.error for reply in replies if reply.final and reply.error]
                checked.failed = checked.failed or next(map(str, errors), None)
        checked.keep(self._log)

    def _read(self, entry: ImageEntry) -> Tensor:
        """The pixels of a clean image; InputError as in `read_image`."""
        convert, resize = self._settings.convert, self._settings.resize
        return read_image(entry.path, convert=convert, resize=resize, endings=False).pixels

    def _unchanged(self, checked: Checked, names: Collection[str], most: int) -> dict[str, Tensor]:
        """At most `most` clean images that have not changed since they were scored; the engine
        reports others."""
        found: dict[str, Tensor] = {}
        for entry in self._images:
            if entry.name in names and len(found) < most:
                with suppress(InputError):
                    image = self._read(entry)
                    if image_hash(image) == checked.hash_of(entry.name, self._log):
                        found[entry.name] = image
        return found

    @staticmethod
    def _counted(replies: list[Reply], others: Collection[str]) -> Replies:
        """Replies that are no image's queries. Failures are still attempts, except for images that
        the log does not have.
        """
        names = [reply.request.name for reply in replies if reply.score is None]
        failed = Counter(name for name in names if name not in others)
        return Replies({}, attempts=failed, scored=len(replies) - len(names))

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
        """The first two images of equal size, or the first image if there are none.

        Images whose search has begun are skipped, and those without a finite score. An image
        without a reply counts: another session may attack it, and the choice must not depend on
        transient failures.
        """
        first: dict[torch.Size, str] = {}
        for entry in self._images:
            if self._log.queries(entry.name) > 1:
                continue
            clean = self._log.clean_score(entry.name)
            if clean is not None and not math.isfinite(clean):
                continue
            try:
                image = self._read(entry)
            except InputError:
                continue  # the engine reports it
            if image.shape in first:
                return [first[image.shape], entry.name]
            first[image.shape] = entry.name
        return list(first.values())[:1]
