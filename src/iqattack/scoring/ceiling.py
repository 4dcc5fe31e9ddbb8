"""Limits on the queries of all sessions of a run or an audit: `--max-requests`, `--max-cost`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iqattack.errors import IqattackError


class CeilingReached(IqattackError):  # noqa: N818 - like Interrupted, no fault
    """The limit on queries or cost is reached; all scores are in the log."""

    exit_status = 1


@dataclass
class Ceiling:
    """A limit on the number of images that may be sent, retries included.

    images: the limit. why: the option that set it, with its value. sent: images sent so far.
    reserve: stores the number of images before they are sent, so that images in flight in a killed
    process count. remedy: how to continue, and kept: what was stopped, for the message.
    """

    images: int
    why: str
    sent: int = 0
    reserve: Callable[[int], None] = lambda _: None
    remedy: str = "continue with --resume and a higher limit"
    kept: str = "the run"

    @property
    def left(self) -> int:
        """The number of images that may still be sent."""
        return max(0, self.images - self.sent)

    def take(self, images: int) -> int:
        """How many of `images` may be sent; these count as sent."""
        taken = min(images, self.left)
        self.sent += taken
        self.reserve(self.sent)
        return taken

    def give_back(self, images: int) -> None:
        """Images that were taken, but could not be sent."""
        self.sent -= images
        self.reserve(self.sent)

    def reached(self) -> CeilingReached:
        """The exception that ends the run."""
        return CeilingReached(
            f"stopped before {self.why}: {self.sent:,} images were sent; {self.kept} is kept, "
            f"{self.remedy}"
        )
