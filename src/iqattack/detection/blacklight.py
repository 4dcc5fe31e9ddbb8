"""Blacklight (Li, Shan, Wenger, Zhang, Zheng & Zhao, USENIX Security 2022, arXiv 2006.14042).

The queries of an attack differ so little that most short windows of their pixels are identical
after quantisation. An image is stored as *fingerprints*: the largest of the hashes of all windows
of consecutive quantised values. Two images that share more than a threshold number of fingerprints
are similar. Earlier detectors compare embeddings of a network (Chen, Carlini & Wagner, arXiv
1907.05587).

The paper hashes with a salted SHA-256, so that an attacker cannot know which windows count. A
replay only needs hashes that differ for different windows, so these are 64-bit mixing functions,
which NumPy computes for all windows at once.
"""

from __future__ import annotations

from array import array
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from torch import Tensor

from iqattack.errors import InputError

Hashes = NDArray[np.uint64]

# Odd multipliers and shifts of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014).
_GOLDEN, _FIRST, _SECOND = (
    np.uint64(0x9E3779B97F4A7C15),
    np.uint64(0xBF58476D1CE4E5B9),
    np.uint64(0x94D049BB133111EB),
)


class Blacklight(BaseModel):
    """Blacklight with its constants; the defaults are the paper's for images of ImageNet's size.

    window: number of consecutive values (w in the paper; 20 for images of 32×32). quantisation:
    width of a quantisation step in grey levels (q). keep: number of fingerprints per image (N).
    matches: number of shared fingerprints above which two images are similar (T). stride: step from
    one window to the next (p).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window: Annotated[int, Field(ge=1, le=4096)] = 50
    quantisation: Annotated[int, Field(ge=1, le=255)] = 50
    keep: Annotated[int, Field(ge=1, le=4096)] = 50
    matches: Annotated[int, Field(ge=0)] = 25
    stride: Annotated[int, Field(ge=1, le=4096)] = 1

    @model_validator(mode="after")
    def _attainable(self) -> Blacklight:
        if self.matches >= self.keep:
            raise InputError(
                f"detector blacklight: matches={self.matches} is not below keep={self.keep}, so no "
                "two images can share more; give a smaller matches or a larger keep"
            )
        return self

    @property
    def spec(self) -> str:
        """See `DetectorKind`."""
        return "blacklight:" + ",".join(f"{name}={value}" for name, value in self)

    def open(self) -> Remembered:
        """See `DetectorKind`."""
        return Remembered(self)

    def fingerprints(self, image: Tensor) -> Hashes:
        """Fingerprints of an image (3, H, W) uint8: at most `keep` distinct hashes, largest first.

        Values are taken in the order of rows, columns and channels. An image with fewer distinct
        windows has fewer fingerprints, and none if it is shorter than a window.
        """
        values = image.permute(1, 2, 0).contiguous().numpy().reshape(-1) // self.quantisation
        hashes = window_hashes(values, self.window)[:: self.stride]
        kept = self.keep
        while True:  # the largest with repeats, until enough of them differ
            some = hashes if kept >= len(hashes) else np.partition(hashes, -kept)[-kept:]
            different = np.unique(some)
            if len(different) >= self.keep or kept >= len(hashes):
                return different[::-1][: self.keep]
            kept *= 4


class Remembered:
    """The fingerprints of one account's queries; see `Detector`."""

    def __init__(self, kind: Blacklight) -> None:
        self._kind = kind
        self._images = 0
        self._having: dict[int, array[int]] = {}  # numbers of the images with a fingerprint

    def flags(self, image: Tensor) -> bool:
        """See `Detector`."""
        return self.most_shared(image) > self._kind.matches

    def most_shared(self, image: Tensor) -> int:
        """The largest number of fingerprints that an image (3, H, W) uint8 shares with an earlier
        one; the image is then stored.
        """
        found = self._kind.fingerprints(image).tolist()
        alike = [self._having[it] for it in found if it in self._having]
        most = 0
        if alike:
            numbers = np.concatenate([np.array(it, dtype=np.int64) for it in alike])
            most = int(np.bincount(numbers).max())
        for it in found:
            self._having.setdefault(it, array("q")).append(self._images)
        self._images += 1
        return most


def window_hashes(values: NDArray[np.uint8], window: int) -> Hashes:
    """Hashes of all windows of consecutive values (n,): (n − window + 1,); empty for n < window.

    A window of 2k values is hashed from the hashes of its halves, and one of any size from those of
    its parts of 1, 2, 4, … values, so the number of passes grows with the logarithm of its size.
    """
    count = len(values) - window + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    table = _mixed(np.arange(256, dtype=np.uint64))
    part = table[values]  # hashes of `size` values each
    size, done = 1, 0
    found: Hashes | None = None
    while True:
        if window & size:
            piece = part[done : done + count]
            found = piece if found is None else _joined(found, piece)
            done += size
        size *= 2
        if size > window:
            return found if found is not None else part[:count]
        half = size // 2
        part = _joined(part[:-half], part[half:])


def _joined(first: Hashes, second: Hashes) -> Hashes:
    """Hashes of ordered pairs."""
    return _mixed(first * _GOLDEN + second)


def _mixed(values: Hashes) -> Hashes:
    """A pseudorandom bijection of 64-bit integers."""
    mixed = values + _GOLDEN
    mixed ^= mixed >> np.uint64(30)
    mixed *= _FIRST
    mixed ^= mixed >> np.uint64(27)
    mixed *= _SECOND
    mixed ^= mixed >> np.uint64(31)
    return mixed
