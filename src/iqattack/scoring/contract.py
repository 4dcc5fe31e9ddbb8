"""The contract between the engine, which wants scores, and whoever gives them."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Request:
    """One 8-bit image that waits for its score.

    name, number: of the picture that is attacked, and of the query, the clean image being 0.
    image: (3, H, W) uint8. alone: whether it is to be sent in a call of its own.
    """

    name: str
    number: int
    image: Tensor
    alone: bool = False

    @property
    def group(self) -> Hashable:
        """Equal for requests that may share a call."""
        return self if self.alone else self.image.shape


@dataclass(frozen=True, eq=False)
class Reply:
    """What became of sending one image to the model: a score, or an error for this image alone.

    score: raw; None where there is an error.
    error: why there is none. final: whether it stays so; if not, another reply follows.
    transient, billed: of the error, as the scorer says.
    """

    request: Request
    score: float | None = None
    error: Exception | None = None
    final: bool = True
    transient: bool = False
    billed: bool = False


class ScorePool(Protocol):
    """Takes images, and gives back scores in any order.

    batch: images of one size that go best into one call.
    capacity: images that may be sent at once; more would only wait.
    pending: images that will be replied to; sent: those of them that do not pause before another
        try; running: calls that a model has just now.
    notes: what a person should know of the model, one phrase each; the reader takes them away.
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
        """Have images of one size scored, in one call where that is possible; does not wait."""
        ...

    def wait(self, *, resend: bool = True) -> list[Reply]:
        """The next replies; waits for one unless nothing is pending or `wake` is called.

        While all that is pending pauses before another try, it returns now and then with none.
        resend: whether failed images are sent again; if not, those are not waited for.
        """
        ...

    def wake(self) -> None:
        """Have `wait` return soon, with no reply if need be; from any thread."""
        ...

    def short(self) -> None:
        """Take note that there is no more to score than the last call held."""
        ...

    def forget(self) -> None:
        """Reply to nothing that is pending: whoever asked is gone. The pool can be used again."""
        ...

    def close(self) -> None:
        """End threads and processes; what is pending is lost."""
        ...


@dataclass(eq=False)
class Call:
    """Images that are sent together; parts: how many parts of it are to come back, if it failed.

    whole: the call that this is a part of. round: which asker it is for; see `ScorePool.forget`.
    """

    requests: Sequence[Request]
    whole: Call | None = None
    parts: int = 0
    spoilt: bool = False
    round: int = 0

    @property
    def images(self) -> list[Tensor]:
        """Their pixels."""
        return [request.image for request in self.requests]


@dataclass(frozen=True, eq=False)
class Done:
    """A call that came back: an answer for each image, or what the call as a whole raised."""

    call: Call
    answers: list[float | Exception] | BaseException
    seconds: float = field(default=0.0)


class Backend(Protocol):
    """What a `Pool` sends its calls to.

    slots: calls that it takes at once; running: calls that it has.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def slots(self) -> int: ...  # noqa: D102
    @property
    def running(self) -> int: ...  # noqa: D102

    def start(self, call: Call) -> None:
        """Send one; does not wait."""
        ...

    def finished(self, timeout: float | None) -> list[Done]:
        """Calls that came back: waits for one, at most that long in seconds, or until woken."""
        ...

    def wake(self) -> None:
        """Have `finished` return, from any thread."""
        ...

    def forget(self) -> None:
        """Drop calls that nobody has begun."""
        ...

    def hold(self) -> None:
        """Have calls that wait for their turn come back now, with NotSentError in each place."""
        ...

    def close(self) -> None:
        """Send nothing more, and leave nothing behind."""
        ...
