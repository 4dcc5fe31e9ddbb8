"""Large pictures in parts, so that what is computed of them does not take all memory."""

from __future__ import annotations

from collections.abc import Iterator

TILE = 2048  # pixels: a picture no larger is one tile


def tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Rows and columns of parts that cover a picture once, of almost equal sizes."""
    for rows in _parts(height):
        for columns in _parts(width):
            yield rows, columns


def _parts(side: int) -> Iterator[slice]:
    count = -(-side // TILE)
    for k in range(count):
        yield slice(k * side // count, (k + 1) * side // count)
