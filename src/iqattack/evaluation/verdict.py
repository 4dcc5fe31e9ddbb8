"""The verdict of an attack on a model: one rule for the terminal, the page and summary.json.

| kind | condition | statement |
| --- | --- | --- |
| `constant` | all clean scores are equal, up to rounding | none |
| `flat` | clean scores span at most 0.0001 of the range | none |
| `unattacked` | no candidate was scored, or most images had no reach | none |
| `noise` | 2σ·√(2·ln queries) ≥ mean gain, or σ² ≥ half of the clean scores' variance | none |
| `batch` | 2β ≥ mean gain, or β² ≥ half of the clean scores' variance | none |
| `workers`, `drift` | likewise, for the effect of another process or of time on a score | none |
| `nonfinite` | at least half of the candidates had no finite score | none |
| `none` | 1 or 2 images | there is no ranking |
| `few` | 3 to 9 images | too few for a statement, and how many are needed at least |
| `kept` | SROCC ≥ 0.95, interval above 0.8 | the ranking stayed almost the same |
| `slight` | SROCC ≥ 0.8, interval above 0.4 | it changed a little |
| `strong` | SROCC ≥ 0.4, interval between −0.2 and 0.95 | it changed a lot |
| `lost` | SROCC below 0.4, interval below 0.8; or all attacked scores are equal | it was lost |
| `reversed` | SROCC below −0.2, interval below 0 | it was reversed |
| `open` | any other interval | undecided, and how many images are needed |

The first row whose condition holds is the verdict. SROCC is that of clean and attacked scores, with
its 95 % interval, which may extend into the neighbouring kind but no further; a ranking counts as
reversed only if the interval excludes 0. σ is the standard deviation of repeated scores and β the
effect of the batch on a score. The check of a run estimates both from few scores, so they may well
be twice as large. The models of different worker processes may differ, and scores may drift during
a run. An image has no reach if its clean score lies at the end of the range aimed at, or beyond;
such an image is not attacked.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from iqattack.evaluation.bootstrap import Interval

Kind = Literal[
    "constant",
    "flat",
    "unattacked",
    "noise",
    "batch",
    "workers",
    "drift",
    "nonfinite",
    "none",
    "few",
    "kept",
    "slight",
    "strong",
    "lost",
    "reversed",
    "open",
]

NORMAL = 1.96  # standard errors on either side of a 95 % interval
FEWEST = 10  # images: fewer have too few different resamples for an interval to be trusted
# Kind, least SROCC of it, and the bounds between which the interval must lie.
RANKINGS: tuple[tuple[Kind, float, Interval], ...] = (
    ("kept", 0.95, (0.8, math.inf)),
    ("slight", 0.8, (0.4, math.inf)),
    ("strong", 0.4, (-0.2, 0.95)),
    ("lost", -0.2, (-math.inf, 0.8)),
    ("reversed", -math.inf, (-math.inf, 0.0)),
)
FLAT = 1e-4  # of the range: clean scores that fill no more are as good as equal
# Nothing is said about robustness.
SILENT: tuple[Kind, ...] = (
    "constant",
    "flat",
    "unattacked",
    "noise",
    "batch",
    "workers",
    "drift",
    "nonfinite",
)
MOST_NONFINITE = 0.5  # share of the candidates from which nothing is said


@dataclass(frozen=True)
class Judgement:
    """A verdict. kind: as in the table above. needed: how many images a statement about the ranking
    needs at least; None if a statement is made, or if more images would not help.
    """

    kind: Kind
    needed: int | None = None


def judge(
    srocc: float,
    interval: Interval,
    images: int,
    *,
    gain: float,
    queries: int,
    constant: bool = False,
    filled: float = math.inf,
    without_reach: int = 0,
    spread: float = math.inf,
    noise: float = 0.0,
    batch: float = 0.0,
    workers: float = 0.0,
    drift: float = 0.0,
    nonfinite: float = 0.0,
) -> Judgement:
    """The verdict on `images` images with both scores, by the table of this module.

    srocc, interval: of clean and attacked scores, with the 95 % interval; NaN if one side is
    constant. A NaN in the interval supports no statement. images: number with both scores. gain:
    mean gain, in the wanted direction. queries: per image, the clean image included. constant:
    whether all clean scores are equal. filled: highest minus lowest clean score. without_reach:
    number of images that were not attacked. spread: standard deviation of the clean scores. noise:
    standard deviation of repeated scores of one image. batch, workers, drift: the effect of the
    batch, of another process and of time on a score. nonfinite: share of the candidates without a
    finite score. gain, filled, spread, noise, batch, workers and drift are fractions of the score
    range.

    >>> from iqattack.evaluation.verdict import judge
    >>> judge(-0.5, (-0.8, -0.2), images=24, gain=0.4, queries=500).kind
    'reversed'
    >>> judge(-0.5, (-0.9, 0.5), images=6, gain=0.4, queries=500)  # too few images
    Judgement(kind='few', needed=17)
    """

    def made_by(gained: float, change: float) -> bool:
        return change > 0.0 and (gain <= 2.0 * gained or 2.0 * change**2 >= spread**2)

    rows: tuple[tuple[Kind, bool], ...] = (
        ("constant", constant),
        ("flat", images > 1 and filled <= FLAT),
        ("unattacked", queries <= 1 or 2 * without_reach > images),
        ("noise", made_by(noise_gain(noise, queries), noise)),
        ("batch", made_by(batch, batch)),
        ("workers", made_by(workers, workers)),
        ("drift", made_by(drift, drift)),
        ("nonfinite", nonfinite >= MOST_NONFINITE),
    )
    for kind, holds in rows:
        if holds:
            return Judgement(kind)
    if images <= 2:
        return Judgement("none", FEWEST)
    return _of_ranking(srocc, interval, images)


def _of_ranking(srocc: float, interval: Interval, images: int) -> Judgement:
    if math.isnan(srocc):  # the attack gave all images one score
        return Judgement("few", FEWEST) if images < FEWEST else Judgement("lost")
    at = next(i for i, (_, least, _) in enumerate(RANKINGS) if srocc >= least)
    kind, _, bounds = RANKINGS[at]
    if images < FEWEST:
        return Judgement("few", max(FEWEST, images_by_fieller(srocc, bounds)))
    if _within(interval, bounds):
        return Judgement(kind)
    if kind == "reversed" and _within(interval, RANKINGS[at - 1][2]):
        return Judgement("lost")
    return Judgement("open", images_needed(srocc, interval, images, bounds))


def noise_gain(noise: float, queries: int) -> float:
    """An upper bound on the gain that noise alone gives the best of n scores: σ·√(2·ln n).

    It bounds the expected maximum of n sub-Gaussian variables (Boucheron, Lugosi & Massart,
    Concentration Inequalities, 2013, sec. 2.5). noise: σ, as a fraction of the score range.
    queries: n.
    """
    return noise * math.sqrt(2.0 * math.log(max(queries, 1)))


def images_needed(srocc: float, interval: Interval, images: int, bounds: Interval) -> int | None:
    """Estimate how many images would bring the interval within the bounds at the same SROCC.

    On Fisher's scale, artanh, the half-width of an interval decreases as 1/√(n − 3). None if the
    interval already lies within the bounds, or is NaN.
    """
    if math.isnan(sum(interval)) or _within(interval, bounds):
        return None
    centre = _fisher(srocc)
    factors = [
        (centre - _fisher(end)) / (centre - _fisher(bound))
        for end, bound in zip(interval, bounds, strict=True)
        if math.isfinite(bound) and centre != _fisher(bound)
    ]
    return 3 + math.ceil(max(images - 3, 1) * max(factors, default=1.0) ** 2)


def images_by_fieller(srocc: float, bounds: Interval) -> int:
    """The least number of images for which an interval around this SROCC lies within the bounds.

    More are needed if scores are tied, or if the SROCC of more images is nearer to a bound.

    On Fisher's scale the standard error is 1.03/√(n − 3) (Fieller, Hartley & Pearson, Biometrika
    1957: variance 1.06/(n − 3)). Bootstrap intervals of so few images are too rough for this.
    """
    away = [abs(_fisher(srocc) - _fisher(bound)) for bound in bounds if math.isfinite(bound)]
    return 3 + math.ceil(1.06 * (NORMAL / max(min(away), 1e-3)) ** 2)


def _within(interval: Interval, bounds: Interval) -> bool:
    return bounds[0] < interval[0] and interval[1] < bounds[1]


def _fisher(value: float) -> float:
    return math.atanh(min(max(value, -0.999), 0.999))
