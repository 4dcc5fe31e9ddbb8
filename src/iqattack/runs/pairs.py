"""The clean and the attacked picture of a result, compared with the log, so that only scored
pictures are read: somebody else's run may name any file on this machine.
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
    """Hashes in the log of an image's two pictures: of the clean one, and of all that got the score
    of the attacked one.
    """

    clean: int
    attacked: frozenset[int]

    @classmethod
    def of(cls, result: Result, rows: Rows) -> Self:
        """Hashes from the rows of a result, at least one."""
        same = rows["hash"][rows["score"] == result.score_adv]
        return cls(int(rows["hash"][0]), frozenset(map(int, same)))

    @classmethod
    def read(cls, result: Result, log: QueryLog) -> Self | None:
        """Hashes of a result; None without rows."""
        rows = log.rows(result.image)
        return cls.of(result, rows) if len(rows) else None


def scored_pairs(run: Run, results: Iterable[Result]) -> Mapping[str, Scored]:
    """Hashes by the name of each finished image with rows in the log."""
    with run.open_log() as log:
        rows = ((result, log.rows(result.image)) for result in results if not result.failed)
        return {result.image: Scored.of(result, found) for result, found in rows if len(found)}


def read_pair(run: Run, result: Result, scored: Scored | None) -> tuple[Tensor, Tensor]:
    """Clean and attacked pixels of a finished image, each (3, H, W) uint8, as they were scored.

    Raises InputError if they cannot be read or differ; RunError for a link in the run.
    """
    png = run.images / result.png_name
    refuse_links(run.images, png)
    if scored is None:
        raise InputError(f"{result.image}: has no query in the log; restore a copy of the log")
    if not result.path:
        raise InputError(f"{result.image}: the run does not record the path of its clean image")
    clean = run.read_clean(result.path)
    if not result.is_of(clean) or image_hash(clean) != scored.clean:
        raise InputError(f"{result.path}: is not the image that was attacked; restore it")
    attacked = read_image(png).pixels
    if attacked.shape != clean.shape or image_hash(attacked) not in scored.attacked:
        raise InputError(
            f"{png}: the saved image is not the one that was scored; restore it from a copy, or "
            "delete it: 'iqattack attack --resume' makes it again from the log"
        )
    return clean, attacked
