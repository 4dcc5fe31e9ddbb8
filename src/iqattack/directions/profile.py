"""Profiles: what some images revealed about a model, as strokes to try first on other images.

A profile is a JSON file that a separate step with its own queries writes (`iqattack profile`), and
that an attack takes as an option. No information is passed implicitly from one image to the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import isqrt
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from iqattack.directions.bank import BANK
from iqattack.errors import InputError
from iqattack.students import KINDS, Students, read_students

MOST_SIDE = 17  # of a filter, pixels


STUDENT = "student: "  # before the kind, in place of a direction of the bank


def _known(name: str) -> str:
    if name not in BANK and name.removeprefix(STUDENT) not in KINDS:
        raise ValueError(f"'{name}' is no direction of the bank, and no student")
    return name


def _square(filter_: tuple[float, ...]) -> tuple[float, ...]:
    side = isqrt(len(filter_))
    if side**2 != len(filter_) or side % 2 == 0 or side > MOST_SIDE:
        raise ValueError(
            f"{len(filter_)} coefficients are no filter; expected the square of an odd number up "
            f"to {MOST_SIDE}"
        )
    return filter_


class Stroke(BaseModel):
    """A direction of the bank, plus the filtered high frequencies of the image if it has a filter.

    The direction may also be the one in which a student expects the score to move (`student: …`).

    filter: coefficients of a square filter, row by row. weight: of the direction relative to it.
    turned: channels (red is 0) in which the direction is negated.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    direction: Annotated[str, AfterValidator(_known)]
    weight: float = 1.0
    filter: Annotated[tuple[float, ...], AfterValidator(_square)] | None = None
    turned: tuple[Annotated[int, Field(ge=0, le=2)], ...] = ()

    @property
    def student(self) -> str | None:
        """The kind of the student that provides the direction; None without one."""
        kind = self.direction.removeprefix(STUDENT)
        return None if kind == self.direction else kind

    @property
    def theta(self) -> NDArray[np.float64] | None:
        """Filter coefficients and weight in one vector, as searched; None without a filter."""
        return None if self.filter is None else np.array([*self.filter, self.weight])

    @model_validator(mode="after")
    def _not_nothing(self) -> Self:
        if self.filter is not None and not any((*self.filter, self.weight)):
            raise ValueError("all coefficients and the weight are 0")
        return self


class Ranked(Stroke):
    """A stroke with its gains on the images of the profile.

    gain: mean over images if it is tried alone. together: mean over images of the best gain if it
        and all strokes before it are tried. Both are fractions of the score range.
    """

    gain: float
    together: float


class Profile(BaseModel):
    """A profile of a model: its strokes in the order to try them, how they were learnt, and at what
    cost.

    format: 2 if there are students, else 1. version: of iqattack. model: its name. images: names of
    the images. constraint, objective, seed: of the search. queries_per_image: budget of the search.
    queries: number of images that the model scored for the profile. students: safetensors of the
    students that strokes name, in base64.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = Field(default=1, ge=1, le=2)
    version: str
    model: str
    images: tuple[str, ...]
    constraint: str
    objective: str
    queries_per_image: int
    seed: int
    queries: int = Field(description="images that the model scored for it, in all")
    strokes: tuple[Ranked, ...] = Field(min_length=1)
    students: Base64Bytes | None = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        asked = {stroke.student for stroke in self.strokes} - {None}
        try:
            there = set(self.taught())
        except InputError as error:
            raise ValueError(str(error)) from None
        if missing := asked - there:
            raise ValueError(f"a stroke asks for a student of '{missing.pop()}', which is missing")
        return self

    def taught(self) -> Students:
        """The students by kind."""
        return {} if self.students is None else _students(self.students)


@lru_cache(maxsize=4)  # every image of a run asks for the same ones
def _students(content: bytes) -> Students:
    return read_students(content, "students")


def read_profile(path: Path) -> Profile:
    """Read a profile from a file; InputError if it is not a profile."""
    expected = "expected a file that iqattack profile wrote"
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise InputError(f"profile '{path}': cannot be read ({reason}); {expected}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise InputError(
            f"profile '{path}': {where or 'file'}: {first['msg']}; {expected}"
        ) from None


@lru_cache(maxsize=8)  # every image of a run reads the same file
def _parsed(text: str) -> Profile:
    return Profile.model_validate_json(text)


def in_order(gains: NDArray[np.float64], most: int) -> list[int]:
    """Choose up to `most` columns of gains (images × strokes) greedily, in the order to try them.

    Each column adds most to the mean over images of the best gain so far, which is at least 0.
    Ends once no column adds anything.
    """
    best = np.zeros(len(gains))
    order: list[int] = []
    while len(order) < most:
        means = np.maximum(best[:, None], gains).mean(0)
        pick = int(means.argmax())
        if means[pick] <= best.mean():
            break
        order.append(pick)
        best = np.maximum(best, gains[:, pick])
    return order


def ranked(strokes: Sequence[Stroke], gains: NDArray[np.float64], most: int) -> tuple[Ranked, ...]:
    """Up to `most` strokes in the order to try them, with their gains.

    gains: (images × strokes), as fractions of the score range.
    """
    order = in_order(gains, most)
    together = np.maximum.accumulate(np.maximum(gains[:, order], 0.0), axis=1).mean(0)
    return tuple(
        Ranked(**strokes[k].model_dump(), gain=float(gains[:, k].mean()), together=float(mean))
        for k, mean in zip(order, together, strict=True)
    )
