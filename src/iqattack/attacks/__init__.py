"""The attacks, one file each, and the table of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from iqattack.attacks.clahe import clahe
from iqattack.attacks.contract import Answer, Attack, Search, Task
from iqattack.attacks.gamma import gamma
from iqattack.attacks.noise import noise
from iqattack.attacks.options import defaults, parse_options
from iqattack.attacks.score_boundary import score_boundary
from iqattack.attacks.sparse_rs import sparse_rs
from iqattack.attacks.surfree import surfree
from iqattack.attacks.tone_map import tone_map
from iqattack.attacks.unsharp import unsharp
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
            "sparse-rs",
            "random search over few pixels, a patch or a frame; for l0:K",
            "Croce et al., AAAI 2022, arXiv 2006.12834",
            sparse_rs,
        ),
        AttackKind(
            "clahe",
            "local contrast by histogram equalisation, two parameters; for none",
            "Zuiderveld 1994; Siniukov et al., Applied Sciences 2021",
            clahe,
        ),
        AttackKind(
            "gamma",
            "the power law, two parameters; for none",
            "Siniukov et al., Applied Sciences 2021",
            gamma,
        ),
        AttackKind(
            "unsharp",
            "sharper or softer, two parameters; for none",
            "Siniukov et al., Applied Sciences 2021",
            unsharp,
        ),
        AttackKind(
            "tone-map",
            "tone mapping, three parameters; for none",
            "Drago et al., Eurographics 2003; Siniukov et al., Applied Sciences 2021",
            tone_map,
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
    name, _, options = spec.partition(":")
    if name not in ATTACKS:
        raise unknown("attack", name, ATTACKS)
    function = ATTACKS[name].function
    return partial(function, **parse_options(name, function, options))


__all__ = [
    "ATTACKS",
    "Answer",
    "Attack",
    "AttackKind",
    "Search",
    "Task",
    "load_attack",
]
