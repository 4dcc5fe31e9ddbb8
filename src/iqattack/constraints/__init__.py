"""Where an attacked picture may lie."""

from iqattack.constraints.base import Box, Constraint, box_around
from iqattack.constraints.floor import FLOORS, Floor, SsimFloor, parse_floor
from iqattack.constraints.jnd import JndBox
from iqattack.constraints.linf import Linf
from iqattack.constraints.parse import CONSTRAINTS, parse_constraint

__all__ = [
    "CONSTRAINTS",
    "FLOORS",
    "Box",
    "Constraint",
    "Floor",
    "JndBox",
    "Linf",
    "SsimFloor",
    "box_around",
    "parse_constraint",
    "parse_floor",
]
