"""Tiling of large pictures, to limit memory."""

from __future__ import annotations

from collections.abc import Iterator

TILE = 2048  # pixels: a picture no larger is one tile


def tiles(height: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Slices of rows and columns of tiles of almost equal sizes, which cover a picture once."""
    for rows in _parts(height):
        for columns in _parts(width):
            yield rows, columns


def _parts(side: int) -> Iterator[slice]:
    count = -(-side // TILE)
    for k in range(count):
        yield slice(k * side // count, (k + 1) * side // count)
