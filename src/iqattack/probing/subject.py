"""State of a model under probe."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from iqattack.probing.finding import Verdict
from iqattack.probing.pictures import Picture
from iqattack.probing.session import Answer, Session, finite, is_finite

# As a fraction of the range: float32 rounding, which `iqattack verify` allows.
TOLERANCE = 1e-6
# As a fraction of the range: smaller differences, typical of GPUs, are only notes.
HARMLESS = 1e-3
# Standard deviations by which two scores of one picture may differ by chance.
BY_CHANCE = 8.0


@dataclass
class Subject:
    """A model under probe.

    session: sends queries. pictures: in a size that it accepts, and answers: for each alone.
    labelled: pictures with quality labels, in a size that it accepts; may be the same. size: height
    and width to which the pictures were resized because it accepts no other; None if they are
    unchanged. long_side: of the first one before resizing, in pixels. noise: standard deviation of
    the scores of one picture, in score units. together: whether it accepts several images in one
    call.
    """

    session: Session
    pictures: list[Picture]
    labelled: list[Picture]
    answers: list[Answer] = field(default_factory=list)
    size: tuple[int, int] | None = None
    long_side: int = 0
    noise: float = 0.0
    together: bool = True
    _judged: list[Answer] = field(default_factory=list)

    @property
    def scores(self) -> list[float]:
        """The finite scores of the pictures."""
        return finite(self.answers)

    @property
    def images(self) -> list[Tensor]:
        """Pixels of the pictures."""
        return [picture.pixels for picture in self.pictures]

    @property
    def scored(self) -> list[Tensor]:
        """Pixels of the pictures that have finite scores."""
        pairs = zip(self.images, self.answers, strict=True)
        return [image for image, answer in pairs if is_finite(answer)]

    def judged(self) -> list[Answer]:
        """The answers for the labelled pictures, queried once."""
        if self.labelled is self.pictures:
            return self.answers
        if not self._judged:
            self.session.reserve(len(self.labelled))
            self._judged = self.session.alone([picture.pixels for picture in self.labelled])
        return self._judged

    @property
    def width(self) -> float:
        """The width of the declared range, or of the observed scores if none is declared."""
        if self.session.model.score_range is not None:
            low, high = self.session.model.score_range
            return high - low
        return float(np.ptp(self.scores)) if len(set(self.scores)) > 1 else 1.0

    @property
    def threshold(self) -> float:
        """The difference of two scores that exceeds rounding and noise, in score units."""
        return max(TOLERANCE * self.width, BY_CHANCE * self.noise)

    def verdict(self, difference: float) -> Verdict:
        """The verdict on a difference, in score units, between scores that should be equal."""
        if difference <= TOLERANCE * self.width:
            return Verdict.OK
        return Verdict.NOTE if difference <= HARMLESS * self.width else Verdict.PROBLEM

    def amount(self, difference: float) -> str:
        """A difference in score units and in % of the range: `0.02 (0.2 % of the range)`."""
        return amount(difference, self.width)


def amount(difference: float, width: float) -> str:
    """A difference in score units and in % of a range of that width."""
    return f"{difference:.2g} ({100.0 * difference / width:.2g} % of the range)"


def deviation(groups: Sequence[Sequence[float]]) -> float:
    """Standard deviation within groups of scores that should be equal, pooled; 0 if they are."""
    squares = sum(float(np.var(group)) * len(group) for group in groups if len(group) > 1)
    freedom = sum(len(group) - 1 for group in groups if len(group) > 1)
    if all(len(set(group)) <= 1 for group in groups):
        return 0.0
    return float(np.sqrt(squares / freedom))
