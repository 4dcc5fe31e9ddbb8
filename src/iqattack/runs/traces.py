"""The scores of every query, as the log of a run has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqattack.evaluation import normalised_gain
from iqattack.objectives import Direction, towards_end
from iqattack.runs.run import Run


@dataclass(frozen=True)
class Trace:
    """What the model said of one image, query by query; the first query is the clean image.

    scores: raw, (N,). gains: their movement in the wanted direction as fractions of the score
    range, (N,), negative where the score went the other way.
    direction: of the quality. reach: the gain that the range leaves the clean score.
    """

    image: str
    direction: Direction
    reach: float
    scores: NDArray[np.float64]
    gains: NDArray[np.float64]

    def best(self, queries: int) -> tuple[float, float, int]:
        """Score and gain of the best of the first `queries` queries, and how many these were.

        The best has the largest gain, and is the clean image where nothing was gained. A search
        whose objective has a score boundary keeps another one, see docs/measures.md.
        """
        gains = self.gains[:queries]
        k = int(np.argmax(np.where(np.isfinite(gains), gains, -np.inf)))  # the first of several
        return float(self.scores[k]), float(gains[k]), len(gains)


def read_traces(run: Run) -> list[Trace]:
    """The traces of a run, in its order, read from its log and nothing else.

    Of a run under way, those are what was scored so far; images that have no direction yet, or
    whose clean score is no number, have none.
    """
    low, high = run.model.score_range
    traces = []
    with run.open_log() as log:
        directions = log.directions()
        for image in log.images():
            if image not in directions:
                continue
            scores = log.rows(image)["score"].astype(np.float64)
            target = towards_end(
                directions[image], float(scores[0]), (low, high), run.model.lower_better
            )
            sign = 1.0 if target.rising else -1.0
            gains = normalised_gain(scores[0], scores, sign, (low, high))
            traces.append(Trace(image, target.direction, target.reach, scores, gains))
    return traces
