"""Workers as actors of a Ray cluster: Ray places them, and says when one is lost.

Each actor is a `Relay`: its child is the worker. There is one call at a time to fetch what it has
to say, which comes back with all of it, so that a driver that is busy is called less often. Ray is
imported when it is needed.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from iqattack.children import Lost, Serve, pack
from iqattack.engine.crew import Member
from iqattack.engine.searcher import Plan, carried
from iqattack.errors import InputError
from iqattack.images import ImageEntry
from iqattack.relay import Relay

CALLS = 4  # at once, of an actor: one fetches, others send
ANSWERS_S = 5.0  # in which a cluster answers
HEARS_S = 1.0  # between two times that signals are looked at
SHOWN_S = 2.0  # after which a person hears that actors are waited for
LOCAL = "local"
GET_RAY = "engine ray: needs Ray; install it with: pip install 'iqattack[ray]'"
SHUTS = ("SIGINT", "SIGTERM", "SIGHUP")


def ray_module() -> Any:
    """Ray; InputError where it is not installed."""
    try:
        import ray  # noqa: PLC0415 - it takes long, and is an extra
    except ImportError:
        raise InputError(GET_RAY) from None
    return ray


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """A connection to a cluster while the block lasts; one that the program has is used.

    address: `auto` for the cluster that this machine is part of, HOST:PORT, ray://HOST:PORT for a
    client's connection; None for the one that RAY_ADDRESS names, or else a Ray of this machine's
    own, which ends with the block. InputError where there is none.
    """
    handlers = {number: signal.getsignal(number) for number in _signals()}
    try:
        ray = ray_module()
        ours = not ray.is_initialized()
        if ours:
            _connect(ray, address or os.environ.get("RAY_ADDRESS") or LOCAL)
    finally:  # Ray takes SIGTERM for itself
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, handler if handler is not None else signal.SIG_DFL)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()


def _signals() -> list[signal.Signals]:
    return [getattr(signal, name) for name in SHUTS if hasattr(signal, name)]


def _connect(ray: Any, address: str) -> None:
    logging.getLogger("ray").setLevel(logging.ERROR)
    options: dict[str, object] = {"log_to_driver": False, "configure_logging": False}
    if address == LOCAL:
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        # By default they give way to everything else on the machine, which other workers do not.
        os.environ.setdefault("RAY_worker_niceness", "0")
        options["include_dashboard"] = False
    elif address != "auto":
        _reach(address)
    try:
        ray.init(address, **options)
    except ImportError as error:
        raise InputError(f"--address {address}: {_line(error)}") from None
    except Exception as error:  # of many kinds, none of them in Ray's documents
        raise InputError(_refused(address, error)) from None


def _refused(address: str, error: Exception) -> str:
    """Why there is no connection, and the remedy.

    With `auto` Ray takes its token by itself. It sends none to an address that is given, unless
    RAY_AUTH_MODE says so, and a cluster that refuses is reported as one that cannot be reached.
    """
    reason = _line(error)
    no_token = type(error).__name__ == "AuthenticationError"
    if no_token or (isinstance(error, ConnectionError) and address not in (LOCAL, "auto")):
        if no_token:  # Ray's own remedies follow
            reason = reason.partition(". ")[0]
        return (
            f"--address {address}: Ray cannot connect ({reason}); if the "
            "cluster requires a token, set RAY_AUTH_MODE=token, and the token of its head node in "
            "RAY_AUTH_TOKEN or ~/.ray/auth_token; else check the address"
        )
    return (
        f"--address {address}: no Ray cluster can be used there ({reason}); start one with "
        "'ray start --head', or leave out --address"
    )


def _reach(address: str) -> None:
    """InputError at once where nobody listens: Ray tries for a minute."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not (host and colon and port.isdecimal()):
        raise InputError(f"--address {address}: expected auto, HOST:PORT or ray://HOST:PORT")
    try:
        socket.create_connection((host.strip("[]"), int(port)), ANSWERS_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or _line(error)
        raise InputError(
            f"--address {address}: nobody answers there ({reason}); check the address, or start a "
            "cluster with 'ray start --head'"
        ) from None


def offered(gpus: float) -> int:
    """The number of workers, each with a processor and `gpus` GPUs, for which the cluster has room.

    InputError for none.
    """
    has = ray_module().cluster_resources()
    each = [has.get("CPU", 0.0)] + ([has.get("GPU", 0.0) / gpus + 1e-9] if gpus else [])
    if (number := int(min(each))) < 1:
        what = "GPU" if gpus and has.get("CPU", 0.0) >= 1 else "processor"
        raise InputError(
            f"engine ray: the cluster has no {what} for a worker at present; give --workers N to "
            "wait for N of them"
        )
    return number


class RemoteMember:
    """An actor. placed: what says that it was placed. fetching: the call that is under way."""

    def __init__(self, crew: RayCrew, actor: Any) -> None:
        self._crew = crew
        self._actor = actor
        self.placed: Any = actor.ready.remote()
        self.fetch()

    def fetch(self) -> None:
        """Ask for what it has to say."""
        self.fetching = self._actor.fetch.remote()

    def send(self, message: object) -> None:
        """See `Member`; the file of an image goes with it, as the other machine may not have it."""
        if isinstance(message, ImageEntry | Plan):
            message = carried(message)
        self._actor.send.remote(pickle.dumps(message, pickle.HIGHEST_PROTOCOL))

    def kill(self) -> None:
        """See `Member`."""
        self._crew.forget(self)
        with suppress(Exception):  # it is gone, or the cluster is
            ray_module().kill(self._actor)


class RayCrew:
    """Actors with a processor and a number of GPUs each; see `Crew`. They need a connection.

    serves: what they run, one for all. threads: of torch in each.
    """

    def __init__(self, serves: Sequence[Serve], threads: int, *, gpus: float = 0.0) -> None:
        (serve,) = serves
        ray = ray_module()
        # Who is lost is started again by us, from what came back, and never by Ray.
        self._made = ray.remote(Relay).options(
            num_cpus=1, num_gpus=gpus, max_concurrency=CALLS, max_restarts=0, max_task_retries=0
        )
        self._packed = ray.put(pack(serve))
        self._threads = threads
        self._members: list[RemoteMember] = []
        self._since = time.monotonic()  # nobody was waited for

    def start(self) -> Member:
        """See `Crew`."""
        self._members.append(RemoteMember(self, self._made.remote(self._packed, self._threads)))
        return self._members[-1]

    def received(self, timeout: float | None) -> Iterator[tuple[Member, object]]:
        """See `Crew`."""
        ray = ray_module()
        members = {member.fetching: member for member in self._members}
        if not members:
            return
        ready: list[Any] = []
        while not ready:
            within = HEARS_S if timeout is None else timeout  # a second Ctrl-C is heard in between
            ready, _ = ray.wait(list(members), num_returns=1, timeout=within)
            if timeout is not None:
                break
        if ready:  # and whoever has something, too
            ready, _ = ray.wait(list(members), num_returns=len(members), timeout=0)
        for call in ready:
            yield from self._from(ray, members[call])

    def _from(self, ray: Any, member: RemoteMember) -> Iterator[tuple[Member, object]]:
        lost: Lost | None
        try:
            messages, lost = ray.get(member.fetching)
        except Exception as error:  # Ray's own, and what an actor raised, in one of them
            messages, lost = [], lost_by(error)
        if lost is None:
            member.fetch()  # while these are looked at
        for message in messages:
            yield member, pickle.loads(message)
        if lost is not None:
            member.kill()
            yield member, lost

    def waiting(self) -> str | None:
        """How many of them the cluster has room for, after a while."""
        calls = [member.placed for member in self._members]
        placed = []
        if calls:
            placed, _ = ray_module().wait(calls, num_returns=len(calls), timeout=0)
        if len(placed) == len(calls):
            self._since = time.monotonic()
        if time.monotonic() - self._since < SHOWN_S:
            return None
        return f"waiting for the cluster: {len(placed)} of {len(calls)} workers"

    def forget(self, member: RemoteMember) -> None:
        """Hear no more of one."""
        with suppress(ValueError):
            self._members.remove(member)


def lost_by(error: Exception) -> Lost:
    """Why an actor was lost, from the exception that Ray raises when it is called."""
    text = str(error)
    if getattr(error, "preempted", False):
        return Lost("was preempted with its node", outside=True)
    if "node has died" in text or "node was terminated" in text:
        return Lost("was lost with its node", outside=True)
    if type(error).__name__ in ("ActorUnavailableError", "ObjectLostError", "OwnerDiedError"):
        return Lost(f"could not be reached any more ({type(error).__name__})", outside=True)
    if "OutOfMemory" in type(error).__name__ or "low on memory" in text:
        return Lost("was ended by Ray, as its node ran short of memory")
    if getattr(error, "actor_init_failed", False) or "creation task" in text:
        return Lost(f"could not be started there ({text.strip().splitlines()[-1].strip()})")
    return Lost("was lost with its Ray actor: its process ended")


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
