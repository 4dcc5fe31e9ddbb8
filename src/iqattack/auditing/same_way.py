"""Whether a model is run in a check as it was in the runs; nothing of that is taken from them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from iqattack.runs.settings import Settings
from iqattack.runs.verify import TOLERANCE


class Way(Protocol):
    """How the model is run here, as in run.toml, and by how much its scores may differ."""

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
    """What differs in the runs, and the option to give."""
    wanted = (("input", here.input), ("compile", here.compile), ("autocast", here.autocast))
    for name, given in wanted:
        for there in dict.fromkeys(getattr(settings, name) for settings in runs):
            if there == given:
                continue
            option = f"--{name}" if there is True else f"--{name} {there}"
            if there:
                yield f"the runs were made with {option.removeprefix('--')}; give {option}"
            else:
                yield f"the runs were made without {name}; leave --{name} out"


def too_tolerant(here: Way) -> Iterator[str]:
    """That the scores may differ by more than verifies a model."""
    if here.tolerance > TOLERANCE:
        yield (
            f"scores may differ by {here.tolerance:g} of the range, and the level model takes at "
            f"most {TOLERANCE:g}; leave --tolerance out"
        )
