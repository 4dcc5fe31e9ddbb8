"""FLIP: the visibility of the difference when two pictures alternate.

Andersson, Nilsson, Akenine-Möller, Oskarsson, Åström & Fairchild, "FLIP: A Difference Evaluator for
Alternating Images", Proc. ACM CGIT 3(2), 2020. Computed by the authors' package `flip-evaluator`.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from iqattack.errors import InputError, one_line
from iqattack.perception.similarity import each
from iqattack.perception.tiles import tiles
from iqattack.perception.viewing import INSTALL, Viewing

PACKAGE = "flip-evaluator"
DIGITS = 6  # of a mean: more would depend on the processor
MARGIN = 0.25  # degrees: its filters reach no farther (0.135, sec. 4.1.1)


class Flip:
    """FLIP of pictures at given viewing conditions."""

    def __init__(self, display: str | None = None, distance: float | None = None) -> None:
        """display: as in `Viewing.of`. distance: in metres; by default that of the display.

        Raises InputError without the package, and as `Viewing.of` does.
        """
        self.viewing = Viewing.of(display, distance)
        try:
            self._evaluate = importlib.import_module("flip_evaluator").evaluate
        except ModuleNotFoundError as error:
            raise InputError(
                f"FLIP needs the package '{PACKAGE}', which is not installed: {INSTALL}"
            ) from error
        except ImportError as error:
            raise InputError(
                f"{PACKAGE} does not import: {one_line(error)}; install it again: {INSTALL}"
            ) from error

    def mean(self, image: Tensor, others: Tensor) -> Tensor:
        """The mean FLIP of 8-bit pictures (..., 3, H, W) against the original `image` (3, H, W).

        Returns (...) float64 in 0..1, rounded to 6 digits; 0 for an unchanged picture.
        """
        return each(image, others, lambda image, other: self.measure(image, other)[0])

    def measure(self, image: Tensor, other: Tensor) -> tuple[float, Tensor]:
        """The mean FLIP of one picture (3, H, W), and its map as from `visible`."""
        seen = self.visible(image, other)
        return round(float(seen.double().mean()), DIGITS), seen

    def visible(self, image: Tensor, other: Tensor) -> Tensor:
        """The FLIP map (H, W) float32, 0..1, of 8-bit pictures (3, H, W)."""
        height, width = image.shape[-2:]
        before, after = (_array(one) for one in (image, other))
        seen = np.empty((height, width), np.float32)
        margin = math.ceil(MARGIN * self.viewing.pixels_per_degree)
        for rows, columns in tiles(height, width):
            top, left = max(rows.start - margin, 0), max(columns.start - margin, 0)
            part = slice(top, rows.stop + margin), slice(left, columns.stop + margin)
            found, *_ = self._evaluate(
                _unit(before[part]),
                _unit(after[part]),
                "LDR",
                applyMagma=False,
                computeMeanError=False,
                parameters={"ppd": self.viewing.pixels_per_degree},
            )
            inside = found[rows.start - top :, columns.start - left :, 0]
            seen[rows, columns] = inside[: rows.stop - rows.start, : columns.stop - columns.start]
        return torch.from_numpy(seen)


def _array(pixels: Tensor) -> NDArray[Any]:
    return pixels.cpu().permute(1, 2, 0).numpy()


def _unit(pixels: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(pixels, dtype=np.float32) / np.float32(255.0)
