"""The built-in attacks: what each one does, its threat model and its options.

`attacks/table.py` imports their functions; the tests compare the options with their signatures.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

# Threat models: what an attack receives beside the image.
SCORES = "black box: the scores of its candidates"
CROSSED = (
    "black box: scores until a candidate crosses the score boundary, then only whether one crosses"
)
SUBSTITUTE = (
    "black box with a substitute: the scores of its candidates, and gradients of another model "
    "that the attacker has"
)
POOLED = "black box: the scores of its candidates, and of those for the other images of the run"
LEARNT = (
    "black box with prior knowledge: the scores of its candidates, and a file learnt from scores "
    "of "
    "other "
    "images"
)
WHITE_BOX = "white box: gradients of the attacked model itself"


@dataclass(frozen=True)
class AttackText:
    """One attack.

    summary: one line. paper: its source. code: its function, as `file:function` of the package
    `attacks`. access: its threat model. about: what it does, in two or three sentences. options:
    the meaning of each, by name. constraint: the one that it is made for, if not a box. of_set:
    whether it attacks all images of a run together.
    """

    name: str
    summary: str
    paper: str
    code: str
    access: str
    about: str
    options: Mapping[str, str] = field(default_factory=dict, hash=False)
    constraint: str | None = None
    of_set: bool = False


_BOUNDARY = {
    "boundary": "score boundary, as a share of the way from the clean score to the end of the "
    "range; a boundary in the objective, as in rank:0.2, takes precedence",
    "starts": "most texture candidates to try for crossing the boundary",
    "adapt": "queries for each boundary before the next one is set; 0: a single boundary",
}
_FILTER = {
    "filters": "most queries for the filter search",
    "share": "largest share of the budget for it",
    "patience": "queries without progress after which the filter search ends",
    "side": "side of the filter in pixels, odd",
    "palette": "number of best filters to paint regions with",
}
_KNOWN = {
    "profile": "profile.json of iqattack profile, in place of the bank",
    "substitute": "model whose gradients give two more directions",
}
_NORM = "distance to the clean image that is minimised"

ATTACKS: dict[str, AttackText] = {
    text.name: text
    for text in (
        AttackText(
            "score-boundary",
            "adaptive score boundaries, texture on edges and salient regions, SurFree",
            "Yang et al., IEEE TCSVT 2024, arXiv 2401.05217",
            "score_based.score_boundary:score_boundary",
            SCORES,
            "Sets score boundaries on the way to the end of the score range and crosses one after "
            "the other. Sparse noise from natural textures, on edges and salient regions, crosses "
            "a boundary; SurFree then shortens the perturbation, which leaves room in the box for "
            "the next boundary.",
            {
                "boundaries": "rules that adapt the boundaries; fixed: only one, at first",
                "first": "the first boundary, as a share of the way to the end of the range",
                "greedy": "go on from a candidate that gained without crossing",
                "supports": "where noise may be added",
                "sources": "sources of noise: sharp, degraded or smooth reference images, or "
                "random numbers",
                "amplitudes": "standard deviations of the noise, in units of the box; from about "
                "10, only its sign counts",
                "windows": "put noise into windows that shrink with the budget",
                "rounds": "number of boundaries, from the first on, at which SurFree makes room",
                "surfree": "most queries of SurFree at each of them",
                "halvings": "steps of the binary search towards the image before SurFree",
                "textures": "folder of reference images",
            },
        ),
        AttackText(
            "filter-search",
            "fixed directions, then a filter of the image's own detail, then regions",
            "iqattack",
            "score_based.filter_search:filter_search",
            SCORES,
            "Tries a bank of fixed directions (noise, stripes, blur, JPEG), then searches with "
            "CMA-ES for a small filter of the image's own high frequencies that moves the score, "
            "then repaints regions with the best filters. Where the objective has a score "
            "boundary, it only needs to know whether a candidate crosses it.",
            {
                **_FILTER,
                "channels": "also try the best direction with negated channels",
                "regions": "repaint regions",
                **_KNOWN,
            },
        ),
        AttackText(
            "portfolio-search",
            "filter-search, whose regions take the brushes and channels that gain most",
            "iqattack",
            "score_based.portfolio_search:portfolio_search",
            SCORES,
            "Begins as filter-search does, tries opponent colours, then repaints regions with the "
            "best filters and the whole bank, in all channels, in one, or in one with the opposite "
            "sign. Both are drawn by their recent gain per query, which adapts to what the model "
            "looks at: it is stronger if a model sees colours, and with many queries.",
            {**_FILTER, **_KNOWN},
        ),
        AttackText(
            "pooled-search",
            "portfolio-search on a whole set, whose images learn from each other",
            "iqattack",
            "set_based.pooled_search:pooled_search",
            POOLED,
            "On each image, first tries what gained most on the images before it: fixed "
            "directions, and filters found there; then continues as portfolio-search. Each query "
            "counts in the budget of its image; the gain over portfolio-search depends on the "
            "model and the budget. Shards and Ray are not supported.",
            {
                **_FILTER,
                "together": "images at a time: fewer learn more from each other, more keep more "
                "workers busy",
            },
            of_set=True,
        ),
        AttackText(
            "surfree",
            "a shorter perturbation on one score boundary",
            "Maho, Furon & Le Merrer, CVPR 2021",
            "decision_based.surfree:surfree",
            CROSSED,
            "Crosses a score boundary with texture, then shortens the perturbation: it turns it "
            "within random planes of low-frequency directions for as long as the candidate stays "
            "across, without estimating a gradient.",
            {
                "boundary": _BOUNDARY["boundary"],
                "starts": _BOUNDARY["starts"],
                "halvings": "steps of the first binary search towards the image",
                "adapt": _BOUNDARY["adapt"],
            },
        ),
        AttackText(
            "square",
            "random search by squares on the ends of the box",
            "Andriushchenko, Croce, Flammarion & Hein, ECCV 2020",
            "score_based.square:square",
            SCORES,
            "Random search: starts from vertical stripes on the ends of the box, repaints a square "
            "at a random place and keeps what gains. The squares shrink over the budget.",
            {
                "norm": "linf: every value at an end of the box; l2: also limits the RMS of the "
                "change to epsilon",
                "p_init": "share of the pixels that the first squares cover",
                "epsilon": "RMS limit of l2, in grey levels",
                "grey": "whether the channels of a stripe or square have one sign",
            },
        ),
        AttackText(
            "ran",
            "Square with several squares a step",
            "Ran et al., Expert Systems with Applications 2025",
            "score_based.ran:ran",
            SCORES,
            "Square's random search with several squares in each candidate, as published for "
            "NR-IQA models. Its bi-directional loss is --objective farther.",
            {
                "squares": "squares in each candidate",
                "p_init": "share of the pixels that each of the first squares covers",
                "grey": "whether the channels of a stripe or square have one sign",
            },
        ),
        AttackText(
            "nes",
            "sign steps along a gradient estimated from noisy samples",
            "Ilyas, Engstrom, Athalye & Lin, ICML 2018",
            "score_based.nes:nes",
            SCORES,
            "Estimates the gradient of the score from noisy candidates, each compared with their "
            "mean, and takes a sign step along it, with momentum. Grey noise and shrinking steps "
            "are ours; the paper's form is nes:mirrored=yes,grey=no,last=1.",
            {
                "samples": "candidates of one estimate, rounded down to pairs",
                "sigma": "standard deviation of the samples, in grey levels",
                "eta": "first step, in grey levels",
                "last": "last step, in grey levels",
                "momentum": "share of the last direction that is kept in the next",
                "grey": "whether noise is the same in all channels",
                "mirrored": "whether each sample is followed by its mirror image (antithetic)",
                "density": "share of the pixels that a sample changes",
            },
        ),
        AttackText(
            "parsimonious",
            "lazy greedy search for the blocks that lie on the upper end of the box",
            "Moon, An & Song, ICML 2019",
            "score_based.parsimonious:parsimonious",
            SCORES,
            "Every block of the image lies on the upper or the lower end of the box. A lazy greedy "
            "local search flips the blocks that gain, and goes on with blocks of half the side.",
            {
                "k": "side of the first blocks in pixels, a power of two",
                "batch": "blocks that are searched together",
            },
        ),
        AttackText(
            "simba",
            "one direction of the DCT or pixel basis at a time",
            "Guo et al., ICML 2019",
            "score_based.simba:simba",
            SCORES,
            "Adds one random direction of an orthonormal basis at a time, with either sign, and "
            "keeps it if it gains. In the DCT basis, low frequencies come first.",
            {
                "basis": "the basis",
                "step": "peak of a DCT direction, in units of the box's mean radius",
            },
        ),
        AttackText(
            "signhunter",
            "flips signs in halves, quarters and so on",
            "Al-Dujaili & O'Reilly, ICLR 2020",
            "score_based.signhunter:signhunter",
            SCORES,
            "Every value lies on the upper or the lower end of the box. It flips the signs of the "
            "whole image, of halves, of quarters and so on, and keeps each flip that gains.",
        ),
        AttackText(
            "hop-skip-jump",
            "a shorter perturbation along the estimated normal of one score boundary",
            "Chen, Jordan & Wainwright, IEEE S&P 2020",
            "decision_based.hop_skip_jump:hop_skip_jump",
            CROSSED,
            "Crosses a score boundary with texture, then shortens the perturbation: it estimates "
            "the boundary's normal from random probes, steps along it, and returns to the boundary "
            "by binary search.",
            {
                "boundary": _BOUNDARY["boundary"],
                "norm": _NORM,
                "starts": _BOUNDARY["starts"],
                "adapt": _BOUNDARY["adapt"],
            },
        ),
        AttackText(
            "boundary",
            "a shorter perturbation by a random walk along one score boundary",
            "Brendel, Rauber & Bethge, ICLR 2018",
            "decision_based.boundary:boundary_attack",
            CROSSED,
            "Crosses a score boundary with texture, then walks along it: a random step at equal "
            "distance from the clean image, then one towards it, each kept if the candidate stays "
            "across.",
            _BOUNDARY,
        ),
        AttackText(
            "geoda",
            "a shorter perturbation, taking one score boundary for flat",
            "Rahmati et al., CVPR 2020",
            "decision_based.geoda:geoda",
            CROSSED,
            "Crosses a score boundary with texture, then takes the boundary for a plane: it "
            "estimates the normal from low-frequency probes and looks for the nearest point that "
            "crosses along it.",
            {
                "boundary": _BOUNDARY["boundary"],
                "norm": _NORM,
                "starts": _BOUNDARY["starts"],
                "adapt": _BOUNDARY["adapt"],
            },
        ),
        AttackText(
            "sparse-rs",
            "random search over few pixels, a patch or a frame; for l0:K",
            "Croce et al., AAAI 2022, arXiv 2006.12834",
            "score_based.sparse_rs:sparse_rs",
            SCORES,
            "Random search over which pixels differ and which end of the box each channel takes. "
            "The constraint l0:K says how many pixels may differ.",
            {
                "kind": "scattered pixels, a square patch that moves, or the image's frame",
                "alpha": "twice the share of the pixels that the first candidates choose anew",
                "p_init": "share of the patch or frame that the first candidates repaint",
                "grey": "whether the channels of a pixel change alike",
            },
            "l0:500",
        ),
        AttackText(
            "clahe",
            "local contrast by histogram equalisation, two parameters; for none",
            "Zuiderveld 1994; Siniukov et al., Applied Sciences 2021",
            "unrestricted.clahe:clahe",
            SCORES,
            "Contrast-limited adaptive histogram equalisation of the lightness. CMA-ES searches "
            "for the clip limit and the number of tiles that move the score most.",
            constraint="none",
        ),
        AttackText(
            "gamma",
            "the power law, two parameters; for none",
            "Siniukov et al., Applied Sciences 2021",
            "unrestricted.gamma:gamma",
            SCORES,
            "Applies s = c·r^γ to all pixels. CMA-ES searches for the γ and the c that move the "
            "score most.",
            constraint="none",
        ),
        AttackText(
            "unsharp",
            "sharper or softer, two parameters; for none",
            "Siniukov et al., Applied Sciences 2021",
            "unrestricted.unsharp:unsharp",
            SCORES,
            "Unsharp masking of the whole image, which also blurs where the amount is negative. "
            "CMA-ES searches for the amount and the radius that move the score most.",
            constraint="none",
        ),
        AttackText(
            "tone-map",
            "tone mapping, three parameters; for none",
            "Drago et al., Eurographics 2003; Siniukov et al., Applied Sciences 2021",
            "unrestricted.tone_map:tone_map",
            SCORES,
            "Drago's tone-mapping operator on the whole image. CMA-ES searches for the gamma, the "
            "saturation and the bias that move the score most.",
            constraint="none",
        ),
        AttackText(
            "noise",
            "Gaussian and uniform noise at the box, best of n: the baseline",
            "none",
            "reference.noise:noise",
            SCORES,
            "Scores as many noisy images as the budget allows and keeps the best: the baseline "
            "that every other attack has to beat.",
            {"kind": "kind of noise; both: alternating"},
        ),
        AttackText(
            "transfer",
            "gradients of a substitute model that you name, on textured regions",
            "Korhonen & You, QoMEX 2022",
            "reference.transfer:transfer",
            SUBSTITUTE,
            "Follows the gradient of a substitute model to the ends of the box, up and down, on "
            "edges and texture first, and has the attacked model score each step. If the "
            "substitute is the attacked model itself, the attack is a white-box one and is marked "
            "as such.",
            {
                "substitute": "model whose gradients are taken, as in --model",
                "steps": "steps of a walk to the end of the box",
                "mask": "walk over edges and texture first, then everywhere",
            },
        ),
        AttackText(
            "universal",
            "one change for all images, learnt beforehand by iqattack universal",
            "Moosavi-Dezfooli et al., CVPR 2017; by queries: Bychkov et al., ICME 2025",
            "set_based.universal:universal",
            LEARNT,
            "Adds patterns that were learnt on other images, and has each scored. Their file "
            "records the queries of learning, which must be reported with their gain; iqattack "
            "apply applies them without queries.",
            {
                "file": "perturbation.safetensors of iqattack universal; by default one learnt on "
                "the built-in model",
                "k": "patterns to try, one query each",
            },
        ),
        AttackText(
            "pgd",
            "not a black-box attack: gradients of the model itself, the white-box ceiling",
            "Madry et al., ICLR 2018",
            "reference.pgd:pgd",
            WHITE_BOX,
            "Sign steps along the gradient of the attacked model, with random restarts. It gives "
            "an upper reference for black-box attacks; the model must be differentiable.",
            {
                "model": "model whose gradients are taken; attacked: the one under attack",
                "steps": "of a restart",
                "path": "length of all steps of a restart, in radii of the box",
            },
        ),
    )
}
