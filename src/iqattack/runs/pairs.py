"""The clean and the attacked picture of a result, held against the log: what was scored, and
nothing else. A run that somebody sent may name any file of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from torch import Tensor

from iqattack.engine import QueryLog, image_hash
from iqattack.engine.log import Rows, refuse_links
from iqattack.errors import InputError
from iqattack.images import read_image
from iqattack.runs.results import Result

if TYPE_CHECKING:
    from iqattack.runs.run import Run


@dataclass(frozen=True)
class Scored:
    """Hashes in the log of an image's two pictures: of the clean one, and of all that were given
    the score of the attacked one.
    """

    clean: int
    attacked: frozenset[int]

    @classmethod
    def of(cls, result: Result, rows: Rows) -> Self:
        """Those of the rows of a result, at least one."""
        same = rows["hash"][rows["score"] == result.score_adv]
        return cls(int(rows["hash"][0]), frozenset(map(int, same)))

    @classmethod
    def read(cls, result: Result, log: QueryLog) -> Self | None:
        """Those of a result; None for one without rows."""
        rows = log.rows(result.image)
        return cls.of(result, rows) if len(rows) else None


def scored_pairs(run: Run, results: Iterable[Result]) -> Mapping[str, Scored]:
    """By the name of each image that is finished and has rows in the log."""
    with run.open_log() as log:
        rows = ((result, log.rows(result.image)) for result in results if not result.failed)
        return {result.image: Scored.of(result, found) for result, found in rows if len(found)}


def read_pair(run: Run, result: Result, scored: Scored | None) -> tuple[Tensor, Tensor]:
    """Clean and attacked pixels of a finished image, each (3, H, W) uint8, as they were scored.

    Raises InputError where they cannot be had or are others; RunError for a link in the run.
    """
    png = run.images / result.png_name
    refuse_links(run.images, png)
    if scored is None:
        raise InputError(f"{result.image}: has no query in the log; put back a copy of the log")
    if not result.path:
        raise InputError(f"{result.image}: the run does not tell where its clean image was")
    clean = run.read_clean(result.path)
    if not result.is_of(clean) or image_hash(clean) != scored.clean:
        raise InputError(f"{result.path}: is not the image that was attacked; put that one back")
    attacked = read_image(png).pixels
    if attacked.shape != clean.shape or image_hash(attacked) not in scored.attacked:
        raise InputError(
            f"{png}: the saved image is not the one that was scored; put a copy of that back, or "
            "delete it: 'iqattack attack --resume' makes it again from the log"
        )
    return clean, attacked
