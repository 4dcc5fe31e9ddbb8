"""One image of a run, before and after, for a notebook or a file."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from iqattack.errors import InputError, RunError
from iqattack.notebook import block, facts, lines, picture
from iqattack.runs.files import write_bytes
from iqattack.runs.numbers import NONE, jod, number, percent, without_folders
from iqattack.runs.pairs import read_pair, scored_pairs
from iqattack.runs.pixels import Picture, fitted, to_array, to_png
from iqattack.runs.results import Result
from iqattack.runs.visibility import known
from iqattack.specs import printable

if TYPE_CHECKING:
    from iqattack.runs.columns import Results
    from iqattack.runs.run import Run

SIDE = 320  # pixels, of the longer side of each picture
FACTOR = 16  # by which the difference is amplified
GAP = 8  # pixels between pictures in a file
WAYS = {"up": "better", "down": "worse"}


@dataclass(frozen=True, repr=False)
class Shown:
    """An image of a run, for display in a notebook.

    result: its row. pictures: clean, attacked, and their absolute difference, amplified `factor`
    times: (H, W, 3) uint8 each, scaled for a screen. The difference is taken before scaling.
    """

    result: Result
    pictures: tuple[Picture, Picture, Picture]
    factor: int = FACTOR

    def save(self, path: str | Path) -> None:
        """Write the three pictures side by side as a PNG; InputError if that fails."""
        path = Path(path)
        if path.suffix.lower() != ".png":
            raise InputError(f"{path}: expected a name that ends in .png")
        write_bytes(path, self._repr_png_())

    @property
    def _sentence(self) -> str:
        row = self.result
        way = WAYS.get(row.direction or "", NONE)
        return f"{row.image}: made to look {way}, gain {percent(row.gain)} of the score range."

    def _facts(self) -> list[tuple[str, str]]:
        row = self.result
        return [
            ("score", f"{number(row.score_clean)} → {number(row.score_adv)}"),
            ("gain", percent(row.gain)),
            ("SSIM", number(row.ssim, 4)),
            ("JOD", jod(row.jod)),
            ("L∞", number(row.linf, 0)),
            ("queries", f"{row.queries:,}"),
        ]

    def __repr__(self) -> str:
        return lines(self._sentence, self._facts())

    def _repr_html_(self) -> str:
        row = self.result
        captions = (
            f"clean, {number(row.score_clean)}",
            f"attacked, {number(row.score_adv)}",
            f"difference × {self.factor}",
        )
        shown = zip(self.pictures, captions, strict=True)
        return block(
            self._sentence,
            *(picture(to_png(array), caption, array.shape[0]) for array, caption in shown),
            facts(self._facts()),
        )

    def _repr_png_(self) -> bytes:
        gap = np.full((self.pictures[0].shape[0], GAP, 3), 255, dtype=np.uint8)
        clean, attacked, difference = self.pictures
        return to_png(np.concatenate([clean, gap, attacked, gap, difference], axis=1))


def shown(run: Run, image: str | int | None = None) -> Shown:
    """An image of a run by its name or its number; by default the one whose score moved most.

    Raises RunError while no image is finished, InputError for an image that does not exist, failed,
    or whose pictures cannot be read.
    """
    results, _ = run.state()
    number_ = _number(run, results, image)
    result = results[number_]
    if result.failed:
        reason = printable(without_folders(result.status))
        raise InputError(f"{result.image}: {reason}; there is no attacked image to show")
    result = known(run, [result])[0][0]
    clean, attacked = read_pair(run, result, scored_pairs(run, [result]).get(result.image))
    amplified = (FACTOR * (attacked.int() - clean.int()).abs()).clamp(max=255).byte()
    before, after, difference = (
        fitted(to_array(pixels), SIDE) for pixels in (clean, attacked, amplified)
    )
    return Shown(result, (before, after, difference))


def _number(run: Run, results: Results, image: str | int | None) -> int:
    """The row of an image."""
    if image is None:
        gains = results.real("gain")
        if not np.isfinite(gains).any():
            raise RunError(f"{run.folder}: no image is finished yet; wait, or resume the run")
        return int(np.nanargmax(gains))
    if isinstance(image, int):
        if not -len(results) <= image < len(results):
            raise InputError(
                f"image {image}: {run.folder} has {len(results):,} finished or failed images, "
                "counted from 0"
            )
        return image % len(results)
    found = results.numbers().get(image)
    if found is None:
        near = difflib.get_close_matches(image, results.images, n=1)
        some = near or list(results.images[:1])
        hint = f"; it has {printable(some[0])}" if some else ""
        raise InputError(f"image '{printable(image)}': {run.folder} has no result for it{hint}")
    return found
