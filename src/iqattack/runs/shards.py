"""Parts of a set of images that machines attack independently."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from iqattack.engine import QueryLog
from iqattack.errors import InputError
from iqattack.images import ImageSet

WHOLE = "whole set"  # name in a shard's log of the record of the whole set
MOST_IMAGES = 2**40  # in a set: no real set has more


@dataclass(frozen=True)
class Shard:
    """The `number`-th of `of` parts of a set, counted from 1.

    Image k, counted from 0, belongs to shard k mod `of` + 1, so that properties that vary slowly
    over the set are spread over all shards, and sizes differ by at most one. Raises InputError for
    a number outside 1 to `of`.
    """

    number: int
    of: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.of:
            raise InputError(
                f"shard {self}: expected K/N with K from 1 to N, such as 3/16 for the third of 16"
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse a shard such as `3/16`; InputError for any other text."""
        found = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", text)
        if found is None:
            raise InputError(f"shard '{text}': expected K/N, such as 3/16 for the third of 16")
        return cls(int(found[1]), int(found[2]))

    def part(self, images: ImageSet) -> ImageSet:
        """The images of the shard, in the order of the set; InputError if the set has fewer images
        than shards.
        """
        if self.of > len(images):
            raise InputError(
                f"shard {self}: {len(images)} images make at most {len(images)} shards; use fewer"
            )
        return images[self.number - 1 :: self.of]

    def size(self, images: int) -> int:
        """The number of its images, in a set of `images` images."""
        return len(range(self.number - 1, images, self.of))


class Names:
    """Identifies a set of images by their names, which are added in order."""

    def __init__(self) -> None:
        self._images = 0
        self._digest = hashlib.sha256()

    def add(self, name: str) -> None:
        """Add the next image."""
        self._images += 1
        self._digest.update(f"{name}\n".encode())  # a name is a single line

    @property
    def whole(self) -> WholeSet:
        """The set of the added images."""
        return WholeSet(images=self._images, names=self._digest.hexdigest())


class WholeSet(BaseModel):
    """A shard's record of its whole set.

    images: their number. names: SHA-256 of their names, one per line, in order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: int = Field(ge=1, le=MOST_IMAGES)
    names: str

    @classmethod
    def of(cls, images: ImageSet) -> WholeSet:
        """The record of a set."""
        names = Names()
        for entry in images:
            names.add(entry.name)
        return names.whole

    @classmethod
    def read(cls, log: QueryLog) -> Self | None:
        """The record in the log of a shard; None if there is none."""
        text = log.kept(WHOLE)
        try:
            return None if text is None else cls.model_validate_json(text)
        except ValidationError:
            return None

    def keep(self, log: QueryLog) -> None:
        """Store it."""
        log.keep(WHOLE, self.model_dump_json())
