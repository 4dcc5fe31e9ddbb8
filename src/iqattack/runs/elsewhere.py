"""What another machine must have in common with the one on which a run was started."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager

from iqattack.errors import InputError
from iqattack.models import Scorer
from iqattack.runs.settings import Record

SAME_FILES = (
    "nodes need the same files at the same paths: use a shared file system, or let Ray distribute "
    "them (runtime_env)"
)


def differences(there: Record, scorer: Scorer) -> tuple[str, ...]:
    """How this machine differs from the one on which a run was started, in phrases; InputError if
    its model differs.

    there: the record that machine would write now. scorer: as loaded on this machine.
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
    """Name this machine in an InputError about what the block loads, and say what nodes need."""
    try:
        yield
    except InputError as error:
        raise InputError(f"node {socket.gethostname()}: {error}; {SAME_FILES}") from None
