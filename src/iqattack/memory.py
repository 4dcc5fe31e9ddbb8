"""How this process keeps memory: for programs of our own, not for whoever imports the package."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Images and activations come and go by the megabyte; by default glibc hands each one back to the
# system and takes it again page by page, which costs a tenth of a run's time.
MMAP_BYTES = 2**25  # the most that it allows
TRIM_BYTES = 2**28
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

ENVIRONMENT: dict[str, str] = {
    "MALLOC_MMAP_THRESHOLD_": str(MMAP_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(TRIM_BYTES),
}
"""The same for processes that are started."""


def keep_freed_memory() -> None:
    """Use freed memory again rather than hand it back; nothing where the C library is another."""
    with suppress(OSError, AttributeError, TypeError):  # the last is Windows'
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
