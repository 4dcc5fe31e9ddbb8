"""The contract between the engine, which requests scores, and scorer pools, which provide them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Request:
    """A request to score one 8-bit image.

    name: of the attacked image. number: of the query; 0 is the clean image. image: (3, H, W) uint8.
    alone: whether it must be sent in a call of its own.
    """

    name: str
    number: int
    image: Tensor
    alone: bool = False

    @property
    def group(self) -> Hashable:
        """A key that is equal for requests that may share a call."""
        return self if self.alone else self.image.shape


@dataclass(frozen=True, eq=False)
class Reply:
    """The outcome of sending one image to the model: a score, or an error for this image only.

    score: raw score; None after an error.
    error: None after a success. final: whether the error is final; if not, another reply follows.
    transient, billed: properties of the error, as reported by the scorer.
    """

    request: Request
    score: float | None = None
    error: Exception | None = None
    final: bool = True
    transient: bool = False
    billed: bool = False


class ScorePool(Protocol):
    """Scores images, and replies in any order.

    batch: best number of images of one size per call.
    capacity: number of images that can be in flight; more would only wait.
    pending: number of images without a final reply. sent: those of them that are not pausing before
        a retry. running: number of calls that a model is working on.
    notes: notes on the model for the user, one phrase each; reading them clears them.
    """

    @property
    def batch(self) -> int: ...  # noqa: D102
    @property
    def capacity(self) -> int: ...  # noqa: D102
    @property
    def pending(self) -> int: ...  # noqa: D102
    @property
    def sent(self) -> int: ...  # noqa: D102
    @property
    def running(self) -> int: ...  # noqa: D102
    @property
    def notes(self) -> list[str]: ...  # noqa: D102

    def submit(self, requests: Sequence[Request]) -> None:
        """Submit images of one size, in one call if possible; does not block."""
        ...

    def wait(self, *, resend: bool = True) -> list[Reply]:
        """Return the next replies; blocks until there is one, nothing is pending, or `wake` is
        called.

        While all pending images are pausing before a retry, it returns an empty list from time to
        time. resend: whether to retry failed images; if not, they are not waited for.
        """
        ...

    def wake(self) -> None:
        """Make `wait` return soon, even without a reply; may be called from any thread."""
        ...

    def short(self) -> None:
        """Report that there are currently no more images to score than in the last call."""
        ...

    def forget(self) -> None:
        """Drop all pending images without a reply; the pool can be used again."""
        ...

    def close(self) -> None:
        """End threads and processes; pending images are lost."""
        ...


@dataclass(eq=False)
class Call:
    """Images that are sent together.

    parts: number of outstanding parts, after a failed call was split. whole: the call that this is
    a part of. round: incremented by `ScorePool.forget`, to recognise replies to dropped images.
    """

    requests: Sequence[Request]
    whole: Call | None = None
    parts: int = 0
    spoilt: bool = False
    round: int = 0

    @property
    def images(self) -> list[Tensor]:
        """The pixels of the images, (3, H, W) uint8 each."""
        return [request.image for request in self.requests]


@dataclass(frozen=True, eq=False)
class Done:
    """A finished call: an answer for each image, or the exception of the whole call."""

    call: Call
    answers: list[float | Exception] | BaseException
    seconds: float = field(default=0.0)


class Backend(Protocol):
    """Runs the calls of a `Pool`.

    slots: number of concurrent calls that it accepts. running: number of calls that it has.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def slots(self) -> int: ...  # noqa: D102
    @property
    def running(self) -> int: ...  # noqa: D102

    def start(self, call: Call) -> None:
        """Start a call; does not block."""
        ...

    def finished(self, timeout: float | None) -> list[Done]:
        """Return finished calls; blocks until there is one, at most `timeout` seconds, or until
        `wake`.
        """
        ...

    def wake(self) -> None:
        """Make `finished` return; may be called from any thread."""
        ...

    def forget(self) -> None:
        """Drop calls that have not started."""
        ...

    def hold(self) -> None:
        """Return waiting calls at once, with NotSentError for each image."""
        ...

    def close(self) -> None:
        """Stop sending, and release all resources."""
        ...
