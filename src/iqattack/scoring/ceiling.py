"""Limits on the queries of all sessions of a run or an audit: `--max-requests`, `--max-cost`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iqattack.errors import IqattackError


class CeilingReached(IqattackError):  # noqa: N818 - like Interrupted, no fault
    """The run may send nothing more; what was scored is in the log."""

    exit_status = 1


@dataclass
class Ceiling:
    """images: that may be sent, each retry counted. why: the option that says so, with its value.

    sent: so far. reserve: keeps that number before they are sent, so that what a killed process had
    in flight counts. remedy: how what asks goes on; kept: what that is.
    """

    images: int
    why: str
    sent: int = 0
    reserve: Callable[[int], None] = lambda _: None
    remedy: str = "continue with --resume and a higher limit"
    kept: str = "the run"

    @property
    def left(self) -> int:
        """Images that may still be sent."""
        return max(0, self.images - self.sent)

    def take(self, images: int) -> int:
        """The number of `images` that may be sent, which is recorded."""
        taken = min(images, self.left)
        self.sent += taken
        self.reserve(self.sent)
        return taken

    def release(self) -> None:
        """Give back what was not sent after all; nothing is in flight any more."""
        self.reserve(self.sent)

    def reached(self) -> CeilingReached:
        """What ends the run."""
        return CeilingReached(
            f"stopped before {self.why}: {self.sent:,} images were sent; {self.kept} is kept, "
            f"{self.remedy}"
        )
