"""The check of the model between survey and search: two clean images are scored again."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import replace

from torch import Tensor

from iqattack.engine import Event, Note, QueryLog, Replies, image_hash
from iqattack.errors import InputError
from iqattack.images import ImageSet
from iqattack.models import Scorer
from iqattack.probing import EACH, Asked, Check, ask, findings
from iqattack.runs.how import How
from iqattack.runs.run import CHECK, Run, read_check
from iqattack.scoring import Ceiling

FEWEST = 20  # queries of an image that make a check worth its price
TRIED = 16  # images that are read to find two of one size


class Checking:
    """What the engine calls with the clean scores; see `Engine`.

    The queries are those of the two images: whatever the check asks, the search on them has `EACH`
    fewer, so that its result depends on neither failures nor the size of batches. A run is checked
    once; images whose search has begun are left alone, as their logs would not replay.
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
        """ceiling: of what is sent; where it leaves too little, CeilingReached is raised.

        stop: asked between calls.
        """
        self._run, self._log, self._images, self._scorer = run, log, images, scorer
        self._how, self._ceiling, self._stop = how, ceiling, stop
        self.reserved: dict[str, int] = {}

    def __call__(self, scores: Mapping[str, float]) -> Iterator[Event]:
        """What is asked, and what a person should know, as events."""
        found = read_check(self._log)
        if found is None and self._run.settings.queries >= FEWEST:
            found = yield from self._ask(scores)
        found = found or Check()
        self.reserved = dict.fromkeys(found.images, EACH)
        if found.failed is not None:
            yield Note("model", f"the check of the model was not completed: {found.failed}")
        for phrase in findings(found, list(scores.values()), self._scorer.score_range):
            yield Note("model", phrase)

    def _ask(self, scores: Mapping[str, float]) -> Generator[Event, None, Check | None]:
        pair = self._pair(scores)
        if not pair:
            return None
        ceiling, wanted = self._ceiling, EACH * len(pair)
        if ceiling is not None and ceiling.left < wanted:
            raise ceiling.reached()
        begun = Check(images=tuple(pair), failed="the run ended before")
        self._log.keep(CHECK, begun.model_dump_json())
        asked, batch = Asked(), self._how.may_batch(self._scorer)
        here = replace(self._how, workers=None)  # the workers have models of their own
        try:
            with here.pool_of(self._scorer, ceiling=ceiling) as pool:
                ask(pool, pair, asked, batch=batch, stop=self._stop)
        finally:
            yield Replies(
                rows={
                    name: (1, [(image_hash(pair[name]), score) for score in answered])
                    for name, answered in asked.scores.items()
                },
                attempts=dict(asked.unanswered),
                scored=sum(map(len, asked.scores.values())),
            )
        found = asked.check.model_copy(update={"images": begun.images})
        self._log.keep(CHECK, found.model_dump_json())
        return found

    def _pair(self, scores: Mapping[str, float]) -> dict[str, Tensor]:
        """Two clean images of one size; one where there are no two among the first."""
        read: dict[str, Tensor] = {}
        for entry in self._images:
            if entry.name not in scores or self._log.queries(entry.name) != 1:
                continue
            try:
                image = self._run.read_clean(entry.path)
            except InputError:
                continue  # the engine reports it
            for name, other in read.items():
                if other.shape == image.shape:
                    return {name: other, entry.name: image}
            read[entry.name] = image
            if len(read) == TRIED:
                break
        return dict(list(read.items())[:1])
