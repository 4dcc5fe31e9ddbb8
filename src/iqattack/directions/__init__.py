"""Directions that attacks start from and search along."""

from iqattack.directions.choice import Choice
from iqattack.directions.low_frequency import low_frequency, orthogonal
from iqattack.directions.sparse_noise import SUPPORTS, Draw, SparseNoise, Support
from iqattack.directions.squares import eta, window
from iqattack.directions.textures import BUNDLED, SOURCES, Source, crop, textures

__all__ = [
    "BUNDLED",
    "SOURCES",
    "SUPPORTS",
    "Choice",
    "Draw",
    "Source",
    "SparseNoise",
    "Support",
    "crop",
    "eta",
    "low_frequency",
    "orthogonal",
    "textures",
    "window",
]
