"""The check of the model between survey and search: two clean images are scored again."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping

from torch import Tensor

from iqattack.engine import Event, Note, QueryLog, Replies, image_hash
from iqattack.errors import InputError
from iqattack.images import ImageSet
from iqattack.models import Scorer
from iqattack.probing import EACH, Check, ask, findings
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
        *,
        batch: bool,
        ceiling: Ceiling | None = None,
    ) -> None:
        """batch: whether calls of the run have several images, so that it matters.

        ceiling: of what is sent; where it leaves too little, CeilingReached is raised.
        """
        self._run, self._log, self._images = run, log, images
        self._scorer, self._batch, self._ceiling = scorer, batch, ceiling
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
        wanted = EACH * len(pair)
        if self._ceiling is not None:
            if self._ceiling.left < wanted:
                raise self._ceiling.reached()
            self._ceiling.take(wanted)
        begun = Check(images=tuple(pair), failed="the run ended before")
        self._log.keep(CHECK, begun.model_dump_json())
        asked = ask(self._scorer, list(pair.values()), batch=self._batch)
        if self._ceiling is not None:  # it ends at a failure
            self._ceiling.sent -= wanted - asked.sent
        names = dict(zip(pair, zip(asked.scores, asked.unanswered, strict=True), strict=True))
        yield Replies(
            rows={
                name: (1, [(image_hash(pair[name]), score) for score in answered])
                for name, (answered, _) in names.items()
                if answered
            },
            attempts={name: unanswered for name, (_, unanswered) in names.items() if unanswered},
            scored=sum(map(len, asked.scores)),
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
