"""The contract of detectors of similar queries."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Detector(Protocol):
    """The state of a detector for one account."""

    def flags(self, image: Tensor) -> bool:
        """Whether an image (3, H, W) uint8 resembles an earlier one; the image is then stored."""
        ...


class DetectorKind(Protocol):
    """A detector with its constants; each account gets its own state."""

    @property
    def spec(self) -> str:
        """Its spec, with all constants."""
        ...

    def open(self) -> Detector:
        """A new, empty state for one account."""
        ...
