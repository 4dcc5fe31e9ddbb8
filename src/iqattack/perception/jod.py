"""ColorVideoVDP: the visibility of a change in just-objectionable differences (JOD).

Mantiuk, Hanji, Ashraf, Asano & Chapiro, "ColorVideoVDP: A visual difference predictor for image,
video and display distortions", ACM TOG 43(4), 2024. 10 JOD means no visible difference;
at one JOD less, 75 % of observers prefer the original. Computed by the authors' package `cvvdp`.
"""

from __future__ import annotations

import importlib
import logging
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from iqattack.errors import InputError, one_line
from iqattack.perception.similarity import each
from iqattack.perception.tiles import tiles
from iqattack.perception.viewing import INSTALL, Viewing, data_folder

PACKAGE = "cvvdp"
NO_DIFFERENCE = 10.0
# Below, the window of the masking model (σ = 3 pixels) does not fit into the finest bands.
LEAST_SIDE = 8
DIGITS = 4  # of a JOD: more would depend on the processor
# Modules of its own folder that the package imports by these names.
_NAMES = ("interp", "third_party")
_importing = Lock()
brought_along: set[str] = set()
"""Modules that were imported with the package, and not by a model."""


class ColorVideoVdp:
    """JOD of pictures at given viewing conditions.

    Pictures are measured one pair at a time, so that no value depends on a batch. Pictures larger
    than 2048×2048 pixels are processed in tiles, whose differences are pooled together. Threads may
    share an instance; they then wait for one another.
    """

    def __init__(self, display: str | None = None, distance: float | None = None) -> None:
        """display: as in `Viewing.of`. distance: in metres; by default that of the display.

        Raises InputError without the package, and as `Viewing.of` does.
        """
        self.viewing = Viewing.of(display, distance)
        self._library = _library()
        self._metrics: dict[str, Any] = {}
        self._lock = Lock()

    def jod(self, image: Tensor, others: Tensor) -> Tensor:
        """The JOD of 8-bit pictures (..., 3, H, W) against the original `image` (3, H, W).

        Returns (...) float64, at most 10, the value of an unchanged picture, rounded to 4 digits;
        NaN if a side has fewer than 8 pixels.
        """
        return each(image, others, lambda image, other: self._measured(image, other, "none")[0])

    def measure(self, image: Tensor, other: Tensor) -> tuple[float, Tensor]:
        """The JOD of one picture (3, H, W), and its map as from `visible`."""
        value, lost = self._measured(image.cpu(), other.cpu(), "raw")
        return value, torch.zeros(image.shape[-2:], dtype=torch.float32) if lost is None else lost

    def visible(self, image: Tensor, other: Tensor) -> Tensor:
        """A map (H, W) float32 of where a change is visible, at least 0.

        Each value is the loss of JOD if the whole picture differed as it does there. All zeros if a
        side has fewer than 8 pixels.
        """
        return self.measure(image, other)[1]

    def _measured(self, image: Tensor, other: Tensor, heatmap: str) -> tuple[float, Tensor | None]:
        height, width = image.shape[-2:]
        if min(height, width) < LEAST_SIDE:
            return math.nan, None
        pair = image.byte(), other.byte()
        lost = None if heatmap == "none" else torch.empty(height, width, dtype=torch.float32)
        pooled: Any = 0.0
        with self._lock, torch.inference_mode(), _quiet(), _one_thread():
            metric = self._metric(heatmap)
            for rows, columns in tiles(height, width):
                clean, changed = (one[None, :, None, rows, columns] for one in pair)
                value, stats = metric.predict(changed, clean, dim_order="BCFHW")
                part = clean.shape[-1] * clean.shape[-2] / (height * width)
                if part < 1.0:
                    # Within a band, the metric takes a norm over all pixels.
                    pooled += part * torch.from_numpy(stats["Q_per_ch"]) ** metric.beta
                if lost is not None:
                    lost[rows, columns] = 10.0 * stats["heatmap"][0, 0, 0].float()
            if isinstance(pooled, Tensor):
                value = metric.do_pooling_and_jods(pooled ** (1.0 / metric.beta))
        return round(float(value), DIGITS), lost

    def _metric(self, heatmap: str) -> Any:
        if heatmap not in self._metrics:
            tables = [str(data_folder())]  # or an environment variable could give others
            geometry = self._library.vvdp_display_geometry(
                (1, 1), ppd=self.viewing.pixels_per_degree
            )
            self._metrics[heatmap] = self._library.cvvdp(
                display_name=self.viewing.display,
                display_geometry=geometry,
                config_paths=tables,
                heatmap=heatmap,
                quiet=True,
                device=torch.device("cpu"),
            )
        return self._metrics[heatmap]


def _library() -> Any:
    """The package; InputError if it is not installed or cannot be imported."""
    with _importing:
        try:
            if (there := sys.modules.get("pycvvdp")) is not None:
                return there
            known = set(sys.modules)
            with _own_folder(data_folder().parent), _quiet():
                library = importlib.import_module("pycvvdp")
            brought_along.update(set(sys.modules) - known)
            return library
        except ModuleNotFoundError as error:
            raise InputError(
                f"JOD needs the package '{error.name}', which is not installed: {INSTALL}"
            ) from error
        except InputError:
            raise InputError(
                f"JOD needs the package '{PACKAGE}', which is not installed: {INSTALL}"
            ) from None
        except Exception as error:  # above all a torchvision that was built for another torch
            raise InputError(
                f"{PACKAGE} does not import: {one_line(error)}; check that torchvision fits torch "
                f"{torch.__version__}"
            ) from error


@contextmanager
def _own_folder(folder: Path) -> Iterator[None]:
    """Import the package, which finds modules of its own by names that anybody may use, and leaves
    its folder in sys.path, where others would find them.
    """
    others = _taken()
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path[:] = [entry for entry in sys.path if entry != str(folder)]
        _taken()
        sys.modules.update(others)


def _taken() -> dict[str, Any]:
    """The modules of these names, taken out of those that are imported."""
    named = [name for name in sys.modules if name.partition(".")[0] in _NAMES]
    return {name: sys.modules.pop(name) for name in named}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Small pictures take ten times as long in several, and a sum depends on how many share it."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@contextmanager
def _quiet() -> Iterator[None]:
    """Drop what the package logs: it uses the root logger, which then gets a handler."""
    root = logging.getLogger()
    handler = logging.NullHandler()
    root.addHandler(handler)
    root.addFilter(_not_its)
    try:
        yield
    finally:
        root.removeFilter(_not_its)
        root.removeHandler(handler)


def _not_its(record: logging.LogRecord) -> bool:
    return "pycvvdp" not in Path(record.pathname).parts
