"""From text such as `linf:3` to a constraint."""

from __future__ import annotations

from collections.abc import Callable

from iqattack.constraints.bands import Bands
from iqattack.constraints.base import Constraint
from iqattack.constraints.floor import FLOORS
from iqattack.constraints.jnd import DEFAULT_MODEL, JndBox
from iqattack.constraints.jod import JodBands
from iqattack.constraints.l0 import L0, Unconstrained
from iqattack.constraints.linf import Linf
from iqattack.errors import InputError, unknown
from iqattack.specs import number


def _linf(spec: str, fields: list[str]) -> Constraint:
    if len(fields) != 1:
        raise InputError(f"constraint '{spec}': expected linf:GREY_LEVELS, such as linf:3")
    return Linf(number(spec, fields[0], "linf:3"))


def _jnd(spec: str, fields: list[str]) -> Constraint:
    if not 1 <= len(fields) <= 2:
        raise InputError(
            f"constraint '{spec}': expected jnd:SCALE or jnd:SCALE:MODEL, such as jnd:0.38"
        )
    model = fields[1] if len(fields) == 2 else DEFAULT_MODEL
    return JndBox(number(spec, fields[0], "jnd:0.38"), model)


def _bands(spec: str, fields: list[str]) -> Constraint:
    if not 1 <= len(fields) <= 2:
        raise InputError(
            f"constraint '{spec}': expected bands:SCALE or bands:SCALE:PIXELS_PER_DEGREE, such as "
            "bands:3 or bands:3:19"
        )
    return Bands(
        *(
            number(spec, field, example)
            for field, example in zip(fields, ("bands:3", "bands:3:19"), strict=False)
        )
    )


def _jod(spec: str, fields: list[str]) -> Constraint:
    if len(fields) != 1:
        raise InputError(f"constraint '{spec}': expected jod:LEAST, such as jod:9.75")
    return JodBands(number(spec, fields[0], "jod:9.75"))


def _l0(spec: str, fields: list[str]) -> Constraint:
    if len(fields) != 1:
        raise InputError(f"constraint '{spec}': expected l0:PIXELS, such as l0:500")
    return L0(number(spec, fields[0], "l0:500"))


def _none(spec: str, fields: list[str]) -> Constraint:
    if fields:
        raise InputError(f"constraint '{spec}': none takes no value")
    return Unconstrained()


# What follows the name in a spec, split at colons, to a constraint.
CONSTRAINTS: dict[str, Callable[[str, list[str]], Constraint]] = {
    "bands": _bands,
    "linf": _linf,
    "jnd": _jnd,
    "jod": _jod,
    "l0": _l0,
    "none": _none,
}


def parse_constraint(spec: str) -> Constraint:
    """Read `bands:3`, `jod:9.75`, `linf:3`, `jnd:0.38`, `jnd:0.38:canny`, `l0:500` or `none`.

    InputError for others.

    >>> from iqattack.constraints import parse_constraint
    >>> parse_constraint("linf:3").spec, parse_constraint("bands:2.50").spec
    ('linf:3', 'bands:2.5')
    >>> parse_constraint("linf")
    Traceback (most recent call last):
    iqattack.errors.InputError: constraint 'linf': expected linf:GREY_LEVELS, such as linf:3
    """
    name, *fields = spec.split(":")
    if name in FLOORS and name not in CONSTRAINTS:
        raise InputError(
            f"constraint '{spec}' is a floor, which goes on top of a constraint such as linf:3"
        )
    if name not in CONSTRAINTS:
        raise unknown("constraint", name, CONSTRAINTS)
    return CONSTRAINTS[name](spec, fields)
