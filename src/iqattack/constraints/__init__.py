"""Where an attacked picture may lie."""

from iqattack.constraints.bands import Bands, BandsRegion
from iqattack.constraints.base import Box, Constraint, Region, box_around
from iqattack.constraints.floor import FLOORS, Floor, JodFloor, SsimFloor, parse_floor
from iqattack.constraints.jnd import JndBox
from iqattack.constraints.jod import JodBands, ends, find_scale, is_scale
from iqattack.constraints.l0 import L0, Unconstrained
from iqattack.constraints.linf import Linf
from iqattack.constraints.parse import CONSTRAINTS, parse_constraint

__all__ = [
    "CONSTRAINTS",
    "FLOORS",
    "L0",
    "Bands",
    "BandsRegion",
    "Box",
    "Constraint",
    "Floor",
    "JndBox",
    "JodBands",
    "JodFloor",
    "Linf",
    "Region",
    "SsimFloor",
    "Unconstrained",
    "box_around",
    "ends",
    "find_scale",
    "is_scale",
    "parse_constraint",
    "parse_floor",
]
