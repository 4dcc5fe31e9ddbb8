"""Scoring in this process."""

from __future__ import annotations

from iqattack.models import Scorer
from iqattack.scoring.batching import largest_on
from iqattack.scoring.ceiling import Ceiling
from iqattack.scoring.inline import Inline
from iqattack.scoring.pool import Pool
from iqattack.scoring.retry import DEFAULT_RETRY, Retry


class InProcess(Pool):
    """A scorer pool that calls the model in batches in this process, in the thread that waits for
    replies: the default of `attack`.

    scorer: a loaded model. batch: images per call; None finds it by timing. retry: of timeouts,
    lost connections and `TransientError`.

    >>> import iqattack
    >>> model = iqattack.wrap(
    ...     lambda images: images.float().mean((1, 2, 3)),
    ...     name="brightness", score_range=(0, 255), lower_better=False,
    ... )
    >>> run = iqattack.attack(
    ...     "photos", model, pool=iqattack.InProcess(model, batch=8),
    ...     attack="noise", queries=5, limit=2, out="runs/brightness",
    ... )
    >>> [row.queries for row in run.results]
    [5, 5]
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        batch: int | None = None,
        retry: Retry = DEFAULT_RETRY,
        ceiling: Ceiling | None = None,
    ) -> None:
        largest = largest_on(str(getattr(scorer, "device", "cpu")))
        super().__init__(Inline(scorer), batch=batch, retry=retry, ceiling=ceiling, largest=largest)
