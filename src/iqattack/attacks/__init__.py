"""The attacks, one file each, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from iqattack.attacks.contract import Answer, Attack, Search, Task
from iqattack.attacks.noise import noise
from iqattack.attacks.options import defaults, parse_options
from iqattack.attacks.score_boundary import score_boundary
from iqattack.attacks.surfree import surfree
from iqattack.errors import unknown


@dataclass(frozen=True)
class AttackKind:
    """An attack as the table has it: its name, one line, where it is from, and the function."""

    name: str
    summary: str
    paper: str
    function: Callable[..., Search]

    @property
    def options(self) -> dict[str, object]:
        """Names and defaults of its options."""
        return defaults(self.function)


ATTACKS: dict[str, AttackKind] = {
    kind.name: kind
    for kind in (
        AttackKind(
            "score-boundary",
            "adaptive score boundaries, texture on edges and salient regions, SurFree",
            "Yang et al., IEEE TCSVT 2024, arXiv 2401.05217",
            score_boundary,
        ),
        AttackKind(
            "surfree",
            "a shorter perturbation on one score boundary",
            "Maho, Furon & Le Merrer, CVPR 2021",
            surfree,
        ),
        AttackKind(
            "noise",
            "Gaussian and uniform noise at the box, best of n: the floor",
            "none",
            noise,
        ),
    )
}


def load_attack(spec: str) -> Attack:
    """The attack of a spec, `NAME` or `NAME:option=value,option=value`.

    Raises InputError for a name, an option or a value that there is not.
    """
    name, _, given = spec.partition(":")
    return partial(_kind(name).function, **parse_options(name, _kind(name).function, given))


def canonical_attack(spec: str) -> str:
    """The same spec with its options sorted and folders as absolute paths; raises likewise."""
    name, _, given = spec.partition(":")
    options = parse_options(name, _kind(name).function, given)
    texts = dict(part.split("=", 1) for part in given.split(",") if part)
    texts |= {key: str(value) for key, value in options.items() if isinstance(value, Path)}
    return ":".join(filter(None, (name, ",".join(f"{k}={v}" for k, v in sorted(texts.items())))))


def _kind(name: str) -> AttackKind:
    if name not in ATTACKS:
        raise unknown("attack", name, ATTACKS)
    return ATTACKS[name]


__all__ = [
    "ATTACKS",
    "Answer",
    "Attack",
    "AttackKind",
    "Search",
    "Task",
    "canonical_attack",
    "load_attack",
]
