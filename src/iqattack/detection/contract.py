"""What a detector of similar queries is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Detector(Protocol):
    """What one account asked so far."""

    def flags(self, image: Tensor) -> bool:
        """Whether an image (3, H, W) uint8 resembles an earlier one; it is remembered, too."""
        ...


class DetectorKind(Protocol):
    """A detector and its constants, of which each account gets a state of its own."""

    @property
    def spec(self) -> str:
        """As it is written, with all constants."""
        ...

    def open(self) -> Detector:
        """One that remembers nothing yet."""
        ...
