"""The measure that promises in JOD are held to: ColorVideoVDP on its `standard_fhd`."""

from __future__ import annotations

from functools import cache

from iqattack.errors import InputError
from iqattack.perception import NO_DIFFERENCE, ColorVideoVdp

LEAST = 5.0  # JOD, below which nobody speaks of hiding


@cache
def metric() -> ColorVideoVdp:
    """ColorVideoVDP, loaded once; InputError without it."""
    return ColorVideoVdp()


def check_jod(least: float, whose: str, example: str) -> None:
    """InputError for a JOD that is not between 5 and 10."""
    if not LEAST < least < NO_DIFFERENCE:
        raise InputError(
            f"{whose}: expected JOD between 5 and 10, where 10 is no visible difference, such as "
            f"{example}"
        )
