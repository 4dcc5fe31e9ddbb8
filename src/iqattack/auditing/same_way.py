"""Whether a check runs a model in the same way as the runs did; their settings are not adopted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from iqattack.runs.settings import Settings
from iqattack.runs.verify import TOLERANCE


class Way(Protocol):
    """How the model is run here, as in run.toml, and the tolerance of its scores."""

    @property
    def input(self) -> str | None:
        """Its terms in canonical form."""
        ...

    @property
    def compile(self) -> bool:
        """Whether torch compiles it."""
        ...

    @property
    def autocast(self) -> str | None:
        """The dtype of autocast."""
        ...

    @property
    def tolerance(self) -> float:
        """A fraction of the score range."""
        ...


def other_ways(here: Way, runs: Sequence[Settings]) -> Iterator[str]:
    """The differences from the runs, with the option to give."""
    wanted = (("input", here.input), ("compile", here.compile), ("autocast", here.autocast))
    for name, given in wanted:
        for there in dict.fromkeys(getattr(settings, name) for settings in runs):
            if there == given:
                continue
            option = f"--{name}" if there is True else f"--{name} {there}"
            if there:
                yield f"the runs were made with {option.removeprefix('--')}; give {option}"
            else:
                yield f"the runs were made without {name}; leave out --{name}"


def too_tolerant(here: Way) -> Iterator[str]:
    """A message if the tolerance is too large to verify a model."""
    if here.tolerance > TOLERANCE:
        yield (
            f"the tolerance is {here.tolerance:g} of the range, but the level model allows at most "
            f"{TOLERANCE:g}; leave out --tolerance"
        )
