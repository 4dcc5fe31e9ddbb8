"""How many images to score at once."""

from __future__ import annotations

SIZES = (1, 2, 4, 8, 16, 32, 64)
TRIAL_S = 0.25  # time given to each size
TRIAL_BATCHES = 4  # and at least this many batches
WORTH = 1.05  # a larger batch must be that much faster, since it holds more in memory


class BatchSize:
    """The batch size: given, or found by timing the run's own batches, which costs no query.

    Sizes double while that makes the model faster; one step that does not is forgiven.
    """

    def __init__(self, fixed: int | None = None) -> None:
        self.current = fixed if fixed else SIZES[0]
        self.settled = fixed is not None
        self._rates: dict[int, float] = {}
        self._images = 0
        self._seconds = 0.0
        self._batches = -1  # the first batch of a size warms up

    def record(self, images: int, seconds: float) -> None:
        """Take note that a batch of so many images took so long."""
        if self.settled or images != self.current:
            return
        self._batches += 1
        if self._batches == 0:
            return
        self._images += images
        self._seconds += seconds
        if self._batches >= TRIAL_BATCHES and self._seconds >= TRIAL_S:
            self._rates[self.current] = self._images / self._seconds
            self._images, self._seconds, self._batches = 0, 0.0, -1
            self._next()

    def _best(self) -> int:
        best = SIZES[0]
        for size, rate in self._rates.items():
            if rate > WORTH * self._rates[best]:
                best = size
        return best

    def _next(self) -> None:
        best = self._best()
        tried = SIZES.index(self.current)
        if tried + 1 < len(SIZES) and tried - SIZES.index(best) < 2:
            self.current = SIZES[tried + 1]
        else:
            self.current, self.settled = best, True

    def give_up_growing(self) -> None:
        """Settle on the best size so far: too few candidates are left to fill a larger batch."""
        if not self.settled and self._rates:
            self.current, self.settled = self._best(), True

    def too_large(self, size: int) -> None:
        """Settle on half of a size that the model did not take, or less."""
        self.current, self.settled = min(self.current, max(1, size // 2)), True
