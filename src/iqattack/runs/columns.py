"""The results of a run in columns, which take less than a fifth of the memory of objects."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from iqattack.runs.results import FAILED, Result

REALS = (
    "mos", "score_clean", "score_adv", "gain", "linf", "rms", "psnr", "ssim", "jnd_violation",
    "jod", "flip", "ms_ssim", "scale",
)  # fmt: skip
COUNTS = ("width", "height", "queries", "attempts")
UNKNOWN = -1  # count
BLOCK = 4096  # rows made at a time
SHARED = ("direction", "attack", "status", "stages")  # values that most images share with others

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class _Shared:
    """Values shared by many rows. codes (N,): the index of each row's value."""

    codes: NDArray[np.int32]
    values: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Results(Sequence[Result]):
    """Results in the order of their run; rows are made on demand.

    images, hashes: as in `Result`. places: of the clean image: its path, or its folder and None if
    its file name is the image's. reals: float64 (N,) by the name of a field, NaN for None; known:
    mask of values that are not None. counts: int64 (N,), −1 for None. shared: the rest.
    """

    images: Sequence[str]
    places: Sequence[tuple[str, str | None]]
    hashes: Sequence[str | None]
    reals: Mapping[str, NDArray[np.float64]]
    known: Mapping[str, Mask]
    counts: Mapping[str, NDArray[np.int64]]
    shared: Mapping[str, _Shared]

    @classmethod
    def of(cls, rows: Iterable[Result]) -> Self:
        """Make columns from rows."""
        if isinstance(rows, cls):
            return rows
        images: list[str] = []
        places: list[tuple[str, str | None]] = []
        hashes: list[str | None] = []
        reals: dict[str, list[NDArray[np.float64]]] = {name: [] for name in REALS}
        known: dict[str, list[Mask]] = {name: [] for name in REALS}
        counts: dict[str, list[NDArray[np.int64]]] = {name: [] for name in COUNTS}
        codes: dict[str, list[NDArray[np.int32]]] = {name: [] for name in SHARED}
        numbers: dict[str, dict[Hashable, int]] = {name: {} for name in SHARED}
        folders: dict[str, tuple[str, None]] = {}
        left = iter(rows)
        while block := list(map(vars, islice(left, BLOCK))):
            for row in block:
                image, path = row["image"], row["path"]
                images.append(image)
                hashes.append(row["sha256"])
                folder, slash, name = path.rpartition("/")
                if name == image:  # then only the folder is kept, once
                    places.append(folders.setdefault(folder + slash, (folder + slash, None)))
                else:
                    places.append((path, ""))
            for name in REALS:
                column = [row[name] for row in block]
                reals[name].append(np.array(column, dtype=np.float64))  # of None NaN
                known[name].append(np.array([value is not None for value in column]))
            for name in COUNTS:
                column = [UNKNOWN if row[name] is None else row[name] for row in block]
                counts[name].append(np.array(column, dtype=np.int64))
            for name in SHARED:
                found = numbers[name]
                column = [found.setdefault(row[name], len(found)) for row in block]
                codes[name].append(np.array(column, dtype=np.int32))
        return cls(
            images,
            places,
            hashes,
            {name: _joined(blocks, np.float64) for name, blocks in reals.items()},
            {name: _joined(blocks, np.bool_) for name, blocks in known.items()},
            {name: _joined(blocks, np.int64) for name, blocks in counts.items()},
            {n: _Shared(_joined(codes[n], np.int32), tuple(numbers[n])) for n in SHARED},
        )

    def __len__(self) -> int:
        return len(self.images)

    @overload
    def __getitem__(self, index: int) -> Result: ...
    @overload
    def __getitem__(self, index: slice) -> Results: ...
    def __getitem__(self, index: int | slice) -> Result | Results:
        if isinstance(index, slice):
            return self.take(np.arange(len(self))[index])
        return self._row(range(len(self))[index])

    def __iter__(self) -> Iterator[Result]:
        for start in range(0, len(self), BLOCK):  # far faster than one by one
            here = slice(start, start + BLOCK)
            columns: dict[str, Sequence[Any]] = {
                "image": self.images[here],
                "path": [self.path(k) for k in range(len(self))[here]],
                "sha256": self.hashes[here],
            }
            for name in REALS:
                pairs = zip(self.reals[name][here].tolist(), self.known[name][here], strict=True)
                columns[name] = [value if known else None for value, known in pairs]
            for name in COUNTS:
                found = self.counts[name][here].tolist()
                columns[name] = [None if count == UNKNOWN else count for count in found]
            for name in SHARED:
                column = self.shared[name]
                columns[name] = [column.values[code] for code in column.codes[here].tolist()]
            for values in zip(*columns.values(), strict=True):
                yield Result.model_construct(**dict(zip(columns, values, strict=True)))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(map(Result.__eq__, self, other))

    __hash__ = None  # type: ignore[assignment]

    def _row(self, k: int) -> Result:
        values: dict[str, Any] = {"image": self.images[k], "path": self.path(k)}
        values["sha256"] = self.hashes[k]
        for name in REALS:
            values[name] = float(self.reals[name][k]) if self.known[name][k] else None
        for name in COUNTS:
            count = int(self.counts[name][k])
            values[name] = None if count == UNKNOWN else count
        for name in SHARED:
            column = self.shared[name]
            values[name] = column.values[column.codes[k]]
        return Result.model_construct(**values)

    def path(self, k: int) -> str:
        """The path of a row's clean image."""
        path, name = self.places[k]
        return path + self.images[k] if name is None else path

    def real(self, name: str) -> NDArray[np.float64]:
        """A column (N,), NaN for None."""
        return self.reals[name]

    def values(self, name: str) -> list[float]:
        """The values of a column that are not None, in order."""
        found: list[float] = self.reals[name][self.known[name]].tolist()
        return found

    def where(self, name: str, value: object) -> Mask:
        """Which rows have this direction, attack, status or stages, (N,)."""
        column = self.shared[name]
        same = np.array([v == value for v in column.values], dtype=np.bool_)
        return np.asarray(same[column.codes], dtype=np.bool_) if len(same) else _none(0)

    @property
    def failed(self) -> Mask:
        """Which images could not be attacked, (N,)."""
        column = self.shared["status"]
        failed = np.array([v.startswith(FAILED) for v in column.values], dtype=np.bool_)
        return np.asarray(failed[column.codes], dtype=np.bool_) if len(failed) else _none(0)

    @property
    def done(self) -> Results:
        """The finished images."""
        failed = self.failed
        return self if not failed.any() else self.take(np.flatnonzero(~failed))

    def take(self, numbers: Sequence[int] | NDArray[np.int64]) -> Results:
        """The rows of these numbers, in their order."""
        at = np.asarray(numbers, dtype=np.int64)
        if len(at) == len(self) and np.array_equal(at, np.arange(len(self))):
            return self
        which = at.tolist()
        return Results(
            [self.images[k] for k in which],
            [self.places[k] for k in which],
            [self.hashes[k] for k in which],
            {name: column[at] for name, column in self.reals.items()},
            {name: column[at] for name, column in self.known.items()},
            {name: column[at] for name, column in self.counts.items()},
            {n: _Shared(column.codes[at], column.values) for n, column in self.shared.items()},
        )

    def with_reals(self, rows: Mapping[int, Mapping[str, float | None]]) -> Results:
        """A copy with other values, by row number and field name; `None` removes a value."""
        names = {name for values in rows.values() for name in values}
        reals = {name: self.reals[name].copy() for name in names}
        known = {name: self.known[name].copy() for name in names}
        for k, values in rows.items():
            for name, value in values.items():
                reals[name][k] = np.nan if value is None else value
                known[name][k] = value is not None
        return replace(self, reals={**self.reals, **reals}, known={**self.known, **known})

    def numbers(self) -> dict[str, int]:
        """Row numbers by the name of the image."""
        return {name: k for k, name in enumerate(self.images)}


def _joined(blocks: Sequence[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate(blocks) if blocks else np.empty(0, dtype=kind)


def _none(size: int) -> Mask:
    return np.zeros(size, dtype=np.bool_)
