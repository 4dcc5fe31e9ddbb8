"""Memory settings of our own programs; importing the package does not change them."""

from __future__ import annotations

import ctypes
from contextlib import suppress

# Images and activations are allocated and freed by the megabyte; by default glibc returns each to
# the system and requests it again page by page, which costs a tenth of a run's time.
MMAP_BYTES = 2**25  # the maximum that glibc allows
TRIM_BYTES = 2**28
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h

ENVIRONMENT: dict[str, str] = {
    "MALLOC_MMAP_THRESHOLD_": str(MMAP_BYTES),
    "MALLOC_TRIM_THRESHOLD_": str(TRIM_BYTES),
}
"""The same settings for child processes."""


def keep_freed_memory() -> None:
    """Reuse freed memory rather than return it; no effect with another C library."""
    with suppress(OSError, AttributeError, TypeError):  # TypeError on Windows
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, MMAP_BYTES)
        mallopt(_M_TRIM_THRESHOLD, TRIM_BYTES)
