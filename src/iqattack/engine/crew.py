"""Those who work beside a driver, and how messages get there and back: processes of this machine.

`cluster.py` has others. A crew knows nothing of what its messages mean.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from multiprocessing.connection import wait
from typing import Protocol

from iqattack.children import Child, Lost, Serve
from iqattack.models import in_turn

MOST_AT_ONCE = 64  # messages of one member: the others have their turn, too


class Link(Protocol):
    """What a member talks through, as `multiprocessing.Connection` does."""

    def send(self, message: object, /) -> None:
        """Send something that can be pickled."""
        ...

    def recv(self) -> object:
        """The next message; EOFError where nobody is there any more."""
        ...


class Member(Protocol):
    """One who works, as the driver sees it."""

    def send(self, message: object) -> None:
        """Send something that can be pickled; to one that is lost, nothing."""
        ...

    def kill(self) -> None:
        """End it at once."""
        ...


class Crew(Protocol):
    """Starts members, which run what the crew was made with, and has their messages."""

    def start(self) -> Member:
        """One more."""
        ...

    def received(self, timeout: float | None) -> Iterator[tuple[Member, object]]:
        """Messages from members, in order for each, within `timeout` seconds (None: until there is
        one). The last message of a member is `Lost`, unless we killed it.
        """
        ...

    def waiting(self) -> str | None:
        """Why not all members work yet, where that takes its time, in a phrase."""
        ...


class LocalMember:
    """A process of this machine. serves: the number of what it runs."""

    def __init__(self, crew: LocalCrew, child: Child, serves: int) -> None:
        self.child = child
        self.serves = serves
        self._crew = crew

    def send(self, message: object) -> None:
        """See `Member`; reading from it says that it is lost."""
        with suppress(BrokenPipeError, ConnectionResetError):
            self.child.connection.send(message)

    def kill(self) -> None:
        """See `Member`."""
        self._crew.forget(self)
        self.child.kill()


class LocalCrew:
    """Processes of this machine.

    serves: what they run; of several, such as one for each GPU, they take turns. threads: of torch
    in each.
    """

    def __init__(self, serves: Sequence[Serve], threads: int) -> None:
        self._serves = serves
        self._threads = threads
        self._members: list[LocalMember] = []

    def start(self) -> Member:
        """One more, with what fewest run."""
        number = in_turn(len(self._serves), (member.serves for member in self._members))
        child = Child(self._serves[number], self._threads)
        self._members.append(LocalMember(self, child, number))
        return self._members[-1]

    def received(self, timeout: float | None) -> Iterator[tuple[Member, object]]:
        """See `Crew`."""
        members = {member.child.connection: member for member in self._members}
        for connection in wait(list(members), timeout):
            yield from self._from(members[connection])  # type: ignore[index]

    def _from(self, member: LocalMember) -> Iterator[tuple[Member, object]]:
        connection = member.child.connection
        for _ in range(MOST_AT_ONCE):
            try:
                message = connection.recv()
            except (EOFError, OSError):  # the latter in the middle of a message
                how = member.child.how_it_ended()
                member.kill()
                yield member, Lost(how)
                return
            yield member, message
            if connection.closed or not connection.poll():
                return

    def waiting(self) -> str | None:
        """Nothing."""
        return None

    def forget(self, member: LocalMember) -> None:
        """Hear no more of one."""
        with suppress(ValueError):
            self._members.remove(member)
