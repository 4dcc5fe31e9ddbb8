"""What another machine has to share with the one that a run was started on, and what it may not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from iqattack.errors import InputError
from iqattack.models import Scorer
from iqattack.runs.settings import Record

SAME_FILES = (
    "nodes need the same files at the same paths: use a shared file system, or have Ray bring them "
    "(runtime_env)"
)


def differences(there: Record, scorer: Scorer) -> tuple[str, ...]:
    """How this machine differs from the one where a run was started, in phrases; InputError where
    it has another model.

    there: as that machine would begin the run now. scorer: as this machine has loaded it.
    """
    here = Record.now(there.settings, scorer)
    difference = there.difference(here)
    if difference is not None:
        raise InputError(f"{difference.replace(' there', ' where the run was started')}")
    odd = [
        f"{name} {here.versions[name]} instead of {version}"
        for name, version in there.versions.items()
        if here.versions.get(name, version) != version
    ]
    if not odd:
        return ()
    return (
        f"node {socket.gethostname()} has {', '.join(odd)}: its scores may differ in the last "
        "digits, and a resumed run may not replay",
    )


@contextmanager
def named() -> Iterator[None]:
    """Names this machine in an InputError about what the block loads, and says what nodes need."""
    try:
        yield
    except InputError as error:
        raise InputError(f"node {socket.gethostname()}: {error}; {SAME_FILES}") from None
