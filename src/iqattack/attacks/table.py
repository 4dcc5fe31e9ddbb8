"""The table of the attacks that are built in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from iqattack.attacks.boundary import boundary_attack
from iqattack.attacks.clahe import clahe
from iqattack.attacks.contract import Search
from iqattack.attacks.filter_search import filter_search
from iqattack.attacks.gamma import gamma
from iqattack.attacks.geoda import geoda
from iqattack.attacks.hop_skip_jump import hop_skip_jump
from iqattack.attacks.nes import nes
from iqattack.attacks.noise import noise
from iqattack.attacks.options import ATTACKED, Gradients, defaults
from iqattack.attacks.parsimonious import parsimonious
from iqattack.attacks.pgd import pgd
from iqattack.attacks.ran import ran
from iqattack.attacks.score_boundary import score_boundary
from iqattack.attacks.signhunter import signhunter
from iqattack.attacks.simba import simba
from iqattack.attacks.sparse_rs import sparse_rs
from iqattack.attacks.square import square
from iqattack.attacks.surfree import surfree
from iqattack.attacks.tone_map import tone_map
from iqattack.attacks.transfer import transfer
from iqattack.attacks.unsharp import unsharp


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

    @property
    def white_box(self) -> bool:
        """Whether it takes the attacked model's own gradients: no black-box attack."""
        return Gradients(ATTACKED) in self.options.values()


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
            "filter-search",
            "fixed directions, then a filter of the image's own detail, then regions",
            "iqattack",
            filter_search,
        ),
        AttackKind(
            "surfree",
            "a shorter perturbation on one score boundary",
            "Maho, Furon & Le Merrer, CVPR 2021",
            surfree,
        ),
        AttackKind(
            "square",
            "random search by squares on the ends of the box",
            "Andriushchenko, Croce, Flammarion & Hein, ECCV 2020",
            square,
        ),
        AttackKind(
            "ran",
            "the same with two squares a step",
            "Ran et al., Expert Systems with Applications 2025",
            ran,
        ),
        AttackKind(
            "nes",
            "sign steps along a gradient estimated from antithetic Gaussian samples",
            "Ilyas, Engstrom, Athalye & Lin, ICML 2018",
            nes,
        ),
        AttackKind(
            "parsimonious",
            "lazy greedy search for the blocks that lie on the upper end of the box",
            "Moon, An & Song, ICML 2019",
            parsimonious,
        ),
        AttackKind(
            "simba",
            "one direction of the DCT or pixel basis at a time",
            "Guo et al., ICML 2019",
            simba,
        ),
        AttackKind(
            "signhunter",
            "flips signs in halves, quarters and so on",
            "Al-Dujaili & O'Reilly, ICLR 2020",
            signhunter,
        ),
        AttackKind(
            "hop-skip-jump",
            "a shorter perturbation along the estimated normal of one score boundary",
            "Chen, Jordan & Wainwright, IEEE S&P 2020",
            hop_skip_jump,
        ),
        AttackKind(
            "boundary",
            "a shorter perturbation by a random walk along one score boundary",
            "Brendel, Rauber & Bethge, ICLR 2018",
            boundary_attack,
        ),
        AttackKind(
            "geoda",
            "a shorter perturbation, taking one score boundary for flat",
            "Rahmati et al., CVPR 2020",
            geoda,
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
        AttackKind(
            "transfer",
            "gradients of a substitute model that you name, on busy places",
            "Korhonen & You, QoMEX 2022",
            transfer,
        ),
        AttackKind(
            "pgd",
            "not a black-box attack: gradients of the model itself, the white-box ceiling",
            "Madry et al., ICLR 2018",
            pgd,
        ),
    )
}
