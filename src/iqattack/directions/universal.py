"""Universal perturbations: patterns for any image, and their file.

A pattern is a stroke, which acts on each picture's own detail, or a tile, which is repeated over
it. The file has the safetensors format; its metadata are the strokes and how they were learnt, its
tensors the tiles.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from iqattack.directions.profile import MOST_SIDE, Stroke, in_order
from iqattack.errors import InputError, first_fault
from iqattack.specs import printable

KEY = "iqattack"  # of the metadata
LARGEST = 1e30  # coefficient of a filter: larger ones overflow float32
EXPECTED = "expected a file that iqattack universal wrote"
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
MOST = 4096  # pixels a side of a tile
CHANNELS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Tile:
    """A tile, plus the filtered high frequencies of the image if it has a filter.

    values: (1 or 3, h, w) float32 from −1, the lower end of the box, to 1, the upper. filter:
    coefficients of a square filter, row by row; with one, only the signs of the values count.
    weight: of these signs relative to the filter.
    """

    values: Tensor
    filter: tuple[float, ...] | None = None
    weight: float = 1.0

    @property
    def theta(self) -> NDArray[np.float64] | None:
        """Filter coefficients and weight in one vector, as searched; None without a filter."""
        return None if self.filter is None else np.array([*self.filter, self.weight])


Pattern = Stroke | Tile


class Beside(BaseModel):
    """A filter of each image's detail that is added to a tile.

    filter: coefficients of a square filter, row by row. weight: of the tile relative to it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    filter: tuple[float, ...]
    weight: float

    @model_validator(mode="after")
    def _usable(self) -> Self:
        side = isqrt(len(self.filter))
        if side**2 != len(self.filter) or side % 2 == 0 or side > MOST_SIDE:
            raise ValueError(f"{len(self.filter)} coefficients are no square filter")
        if not any((*self.filter, self.weight)):
            raise ValueError("all coefficients and the weight are 0")
        return self


class Known(BaseModel):
    """A pattern with its gains on the images from which it was learnt.

    stroke, tile: exactly one of them; the tile by the name of its tensor. beside: a filter added to
    the tile. gain: mean over images if it is applied alone. together: mean over images of the best
    gain of it and all patterns before it. Both are fractions of the score range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    stroke: Stroke | None = None
    tile: str | None = None
    beside: Beside | None = None
    gain: float
    together: float

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.stroke is None) == (self.tile is None):
            raise ValueError("expected a stroke or a tile")
        if self.stroke is not None and self.stroke.student is not None:
            raise ValueError("a student is no pattern that suits any image")
        if self.beside is not None and self.tile is None:
            raise ValueError("a filter beside a tile, but no tile")
        for part in (self.stroke, self.beside):
            if part and any(abs(c) > LARGEST for c in (*(part.filter or ()), part.weight)):
                raise ValueError(f"coefficients or a weight beyond ±{LARGEST:g}")
        return self

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        known: dict[str, Any] = handler(self)
        if self.beside is None:  # unknown to earlier versions
            del known["beside"]
        return known

    def text(self, tiles: Mapping[str, Tensor]) -> str:
        """A short description."""
        if self.stroke is None:
            _, height, width = tiles[str(self.tile)].shape
            text = f"tile of {width}×{height}"
            filter_ = None if self.beside is None else self.beside.filter
        else:
            text, filter_ = self.stroke.direction, self.stroke.filter
            if self.stroke.turned:
                text += f", negated in {' and '.join(CHANNELS[k] for k in self.stroke.turned)}"
        if filter_ is not None:
            side = round(len(filter_) ** 0.5)
            text += f", filter {side}×{side}"
        return text

    def pattern(self, tiles: Mapping[str, Tensor]) -> Pattern:
        """The pattern itself. tiles: tensors by name."""
        if self.stroke is not None:
            return self.stroke
        values = tiles[str(self.tile)]
        if self.beside is None:
            return Tile(values)
        return Tile(values, self.beside.filter, self.beside.weight)


class Universal(BaseModel):
    """Metadata of a universal perturbation: its patterns, how they were learnt, and at what cost.

    format: 2 if a tile has a filter beside it, else 1. jpeg: quality of recompression
    before scoring; None for none. up, down: patterns that raise and lower raw scores, in the
    order in which to try them; one of the two may be empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=1, ge=1, le=2)
    version: str
    model: str
    images: tuple[str, ...]
    constraint: str
    objective: str
    way: str
    seed: int
    queries: int = Field(ge=0, description="images that the model scored for it, in all")
    jpeg: int | None = Field(default=None, ge=1, le=100)
    up: tuple[Known, ...] = ()
    down: tuple[Known, ...] = ()

    @model_validator(mode="after")
    def _whole(self) -> Self:
        every = (*self.up, *self.down)
        if not every:
            raise ValueError("has no patterns")
        if self.format == 1 and any(known.beside for known in every):
            raise ValueError("a filter beside a tile needs format 2")
        return self

    def known(self, *, rising: bool) -> tuple[Known, ...]:
        """The patterns for one direction of the raw score. rising: whether to raise it."""
        return self.up if rising else self.down


@dataclass(frozen=True)
class Perturbation:
    """A universal perturbation, as in its file.

    learnt: its patterns, how they were learnt, and at what cost. tiles: tensors by name.
    """

    learnt: Universal
    tiles: Mapping[str, Tensor]

    def patterns(self, *, rising: bool) -> list[Pattern]:
        """The patterns that raise raw scores, or lower them, in the order in which to try them."""
        return [known.pattern(self.tiles) for known in self.learnt.known(rising=rising)]

    def to_bytes(self) -> bytes:
        """The contents of the file; equal perturbations give the same bytes."""
        # Safetensors refuses tensors that share their memory, as those of equal tiles may.
        tiles = {name: self.tiles[name].contiguous().clone() for name in sorted(self.tiles)}
        # Left out where there is none: versions of before do not know it.
        without = None if self.learnt.jpeg else {"jpeg"}
        return save(tiles, metadata={KEY: self.learnt.model_dump_json(exclude=without)})


def ordered(
    patterns: Sequence[Pattern], gains: NDArray[np.float64], most: int, prefix: str
) -> tuple[list[Known], dict[str, Tensor]]:
    """Up to `most` patterns in the order in which to try them, and the tiles among them by name.

    gains: (images × patterns), as fractions of the score range. The first pattern has the largest
    mean gain, since it may be applied without a choice; each other one adds most to the best gain
    so far. prefix: of the names of tiles.
    """
    first = int(gains.mean(0).argmax())
    alone = np.maximum(gains[:, first], 0.0)
    order = [first, *in_order(gains - alone[:, None], most - 1)]
    together = np.maximum.accumulate(np.maximum(gains[:, order], 0.0), axis=1).mean(0)
    known, tiles = [], {}
    for place, (k, mean) in enumerate(zip(order, together, strict=True)):
        pattern, name = patterns[k], f"{prefix} {place}"
        stroke = None if isinstance(pattern, Tile) else pattern
        beside = None
        if isinstance(pattern, Tile):
            tiles[name] = pattern.values
            if pattern.filter is not None:
                beside = Beside(filter=pattern.filter, weight=pattern.weight)
        known.append(
            Known(
                stroke=stroke,
                tile=None if stroke else name,
                beside=beside,
                gain=float(gains[:, k].mean()),
                together=float(mean),
            )
        )
    return known, tiles


def read_universal(path: Path) -> Perturbation:
    """Read a universal perturbation from a file; InputError if it is not one."""
    if path.exists() and not path.is_file():  # a named pipe would block
        raise InputError(f"universal perturbation '{path}': is no file; {EXPECTED}")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(
            f"universal perturbation '{path}': cannot be read ({error.strerror}); {EXPECTED}"
        ) from error
    try:
        return _parsed(content)
    except ValueError as error:
        raise InputError(
            f"universal perturbation '{path}': {printable(str(error))}; {EXPECTED}"
        ) from None


@lru_cache(maxsize=4)  # every image of a run reads the same file
def _parsed(content: bytes) -> Perturbation:
    try:
        tiles = load(content)
    except (SafetensorError, KeyError) as error:  # KeyError: a type that torch lacks
        raise ValueError(f"no safetensors ({error})") from None
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    text = (header.get("__metadata__") or {}).get(KEY)
    if text is None:
        raise ValueError(f"its metadata have no '{KEY}'")
    try:
        learnt = Universal.model_validate_json(text)
    except ValidationError as error:
        raise ValueError(": ".join(filter(None, first_fault(error)))) from None
    for known in (*learnt.up, *learnt.down):
        if known.tile is not None:
            _check(known.tile, tiles)
    return Perturbation(learnt, tiles)


def _check(name: str, tiles: Mapping[str, Tensor]) -> None:
    values = tiles.get(name)
    if values is None:
        raise ValueError(f"has no tensor '{name}'")
    shape = tuple(values.shape)
    if len(shape) != 3 or shape[0] not in (1, 3) or not all(0 < s <= MOST for s in shape[1:]):
        raise ValueError(f"'{name}' has shape {shape}, no (1 or 3, h, w) of up to {MOST} pixels")
    if values.dtype not in FLOATS:
        raise ValueError(f"'{name}' holds {values.dtype}; use float32")
    if not (values.abs() <= 1).all():
        raise ValueError(f"'{name}' holds values that are not from −1 to 1")
