"""The batch size."""

from __future__ import annotations

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
LARGEST = 64  # found by timing; on a GPU, which more images at once keep busy, it is the last size
TRIAL_S = 0.25  # time given to each size
TRIAL_BATCHES = 4  # and at least this many batches
USUAL = 4  # images that share the overhead of a call
WORTH = 1.05  # another size must be that much faster; a larger one holds more in memory
REFUSALS = 2  # batches that fail as a whole, each image being fine by itself: too large


class BatchSize:
    """The batch size: fixed, or found by timing the run's own batches, which costs no query.

    The first batch has two images, if there are two, so that a model which returns one value per
    batch, or does not accept batches, is found early. Sizes then double from one up to the default,
    and further while throughput improves; one step without improvement is tolerated.
    """

    def __init__(self, fixed: int | None = None, largest: int = LARGEST) -> None:
        self._largest = largest
        self.settled = fixed is not None
        self._size = fixed if fixed else SIZES[0]
        self._paired = self.settled
        self._rates: dict[int, float] = {}
        self._images = 0
        self._seconds = 0.0
        self._batches = -1  # the first batch of a size warms up
        self._refusals = 0

    @property
    def current(self) -> int:
        """The number of images in the next batch."""
        return self._size if self._paired else 2

    def record(self, images: int, seconds: float) -> None:
        """Record the duration of a batch."""
        if images >= self._size:
            self._refusals = 0
        if not self._paired and images > 1:
            self._paired = True
        elif not self.settled and images == self._size:
            self._batches += 1
            if self._batches > 0:
                self._images += images
                self._seconds += seconds
            if self._batches >= TRIAL_BATCHES and self._seconds >= TRIAL_S:
                self._rates[self._size] = self._images / self._seconds
                self._images, self._seconds, self._batches = 0, 0.0, -1
                self._next()

    def _best(self) -> int:
        best = max(size for size in self._rates if size <= USUAL)
        for size, rate in self._rates.items():
            if rate > WORTH * self._rates[best]:
                best = size
        return best

    def _next(self) -> None:
        best = self._best()
        tried = SIZES.index(self._size)
        if self._size < self._largest and tried - SIZES.index(best) < 2:
            self._size = SIZES[tried + 1]
        else:
            self._size, self.settled = best, True

    def give_up_growing(self) -> None:
        """Settle on the best size so far: too few candidates are left to fill a larger batch."""
        if not self.settled and self._rates:
            self._size, self.settled = self._best(), True

    def too_large(self, size: int) -> None:
        """Settle on at most half of a size that the model did not accept."""
        self._size, self.settled, self._paired = min(self._size, max(1, size // 2)), True, True

    def refused(self, size: int) -> None:
        """Record a batch that failed although its images succeed one by one: the second time, the
        size is too large.
        """
        self._refusals += 1
        if self._refusals >= REFUSALS or not self._paired:
            self._refusals = 0
            self.too_large(size)


def largest_on(device: str) -> int:
    """The largest batch size to try on a device, given by its torch name."""
    return SIZES[-1] if device.startswith("cuda") else LARGEST
