"""Directions from which attacks start and along which they search."""

from iqattack.directions.bank import BANK, bank, high_frequencies
from iqattack.directions.by_gain import ByGain
from iqattack.directions.choice import Choice
from iqattack.directions.coloured import COLOURED, coloured_checkerboards
from iqattack.directions.low_frequency import low_frequency, orthogonal
from iqattack.directions.profile import MOST_SIDE, STUDENT, Profile, Stroke, ranked, read_profile
from iqattack.directions.sparse_noise import SUPPORTS, Draw, SparseNoise, Support, interval
from iqattack.directions.squares import eta, window
from iqattack.directions.textures import BUNDLED, SOURCES, Source, crop, textures
from iqattack.directions.universal import (
    Beside,
    Known,
    Pattern,
    Perturbation,
    Tile,
    Universal,
    ordered,
    read_universal,
)

__all__ = [
    "BANK",
    "BUNDLED",
    "COLOURED",
    "MOST_SIDE",
    "SOURCES",
    "STUDENT",
    "SUPPORTS",
    "Beside",
    "ByGain",
    "Choice",
    "Draw",
    "Known",
    "Pattern",
    "Perturbation",
    "Profile",
    "Source",
    "SparseNoise",
    "Stroke",
    "Support",
    "Tile",
    "Universal",
    "bank",
    "coloured_checkerboards",
    "crop",
    "eta",
    "high_frequencies",
    "interval",
    "low_frequency",
    "ordered",
    "orthogonal",
    "ranked",
    "read_profile",
    "read_universal",
    "textures",
    "window",
]
