"""Objectives of an attack: the direction of each score, and what counts as success."""

from iqattack.objectives.boundary import ScoreBoundary
from iqattack.objectives.objective import (
    OBJECTIVES,
    Direction,
    Farther,
    Objective,
    OneWay,
    Rank,
    SetObjective,
    Target,
    Top,
    WithBoundary,
    parse_objective,
    towards_end,
)
from iqattack.objectives.standing import Standing

__all__ = [
    "OBJECTIVES",
    "Direction",
    "Farther",
    "Objective",
    "OneWay",
    "Rank",
    "ScoreBoundary",
    "SetObjective",
    "Standing",
    "Target",
    "Top",
    "WithBoundary",
    "parse_objective",
    "towards_end",
]
