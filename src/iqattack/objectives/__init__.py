"""Which way each score is to move, and what counts as success."""

from iqattack.objectives.boundary import ScoreBoundary
from iqattack.objectives.objective import (
    OBJECTIVES,
    Direction,
    Farther,
    Objective,
    OneWay,
    Rank,
    Target,
    WithBoundary,
    parse_objective,
    towards_end,
)

__all__ = [
    "OBJECTIVES",
    "Direction",
    "Farther",
    "Objective",
    "OneWay",
    "Rank",
    "ScoreBoundary",
    "Target",
    "WithBoundary",
    "parse_objective",
    "towards_end",
]
