"""What may be said of a model after an attack: one rule, for terminal, page and summary.json.

| kind | where | what is said |
| --- | --- | --- |
| `constant` | all clean scores are equal, up to rounding | nothing |
| `flat` | clean scores fill 0.0001 of the range or less | nothing |
| `unattacked` | no candidate was scored, or most images had no reach | nothing |
| `noise` | 2σ·√(2·ln queries) ≥ mean gain, or σ² ≥ half of the clean scores' variance | nothing |
| `batch` | 2β ≥ mean gain, or β² ≥ half of the clean scores' variance | nothing |
| `workers`, `drift` | the same of what another process or time does to a score | nothing |
| `nonfinite` | half of the candidates or more had no finite score | nothing |
| `none` | 1 or 2 images | there is no ranking |
| `few` | 3 to 9 images | too few for a statement, and how many are needed at least |
| `kept` | SROCC ≥ 0.95, interval above 0.8 | stayed almost as it was |
| `slight` | SROCC ≥ 0.8, interval above 0.4 | changed a little |
| `strong` | SROCC ≥ 0.4, interval between −0.2 and 0.95 | changed a lot |
| `lost` | SROCC below 0.4, interval below 0.8; or all attacked scores are equal | was lost |
| `reversed` | SROCC below −0.2, interval below 0 | was reversed |
| `open` | another interval | open, and how many images are needed |

The first row that holds is the verdict. SROCC is of clean and attacked scores, with its 95 %
interval: it may reach into the neighbouring kind and no further, and a ranking is reversed only
where 0 lies outside of it. σ is the noise of a score and β what a batch does to it, which the check
of a run measures on few of them: they may well be twice as large. With worker processes, their
models may differ, and in the course of a run scores may drift. An image has no reach where its
clean score lies at the end of the range that it is to reach, or beyond: it is not attacked.
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
    """The kind of a verdict, and how many images a statement about their ranking needs at least.

    needed: None where one is made, or where more images would not help.
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
    """The verdict on `images` images with both scores, see the table above.

    srocc, interval: of clean and attacked scores; NaN where one side is constant. A NaN in the
    interval supports no statement. gain: mean, in the wanted direction. queries: for an image, the
    clean one included. constant: all clean scores are equal. filled: highest less lowest clean
    score. without_reach: images that were not attacked. spread, noise: standard deviations, of the
    clean scores and of the scores of one image; batch, workers, drift: what a batch, another
    process and another time do to a score. gain, filled, spread and those are fractions of the
    score range. nonfinite: share of the candidates without a finite score.

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
    """Upper bound on the mean gain of the best of n scores by noise alone: σ·√(2·ln n).

    The bound of the expected maximum of n sub-Gaussian variables (Boucheron, Lugosi & Massart 2013,
    sec. 2.5).
    """
    return noise * math.sqrt(2.0 * math.log(max(queries, 1)))


def images_needed(srocc: float, interval: Interval, images: int, bounds: Interval) -> int | None:
    """About how many images would bring the interval within the bounds, the SROCC staying.

    On Fisher's scale, artanh, an interval's half shrinks as 1/√(n − 3). None where it is within, or
    is unknown.
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
    """How many images, at least, have an interval within the bounds around that SROCC.

    More where scores are tied, or the SROCC of more images is nearer to a bound.

    On Fisher's scale the standard error is 1.03/√(n − 3) (Fieller, Hartley & Pearson, Biometrika
    1957: variance 1.06/(n − 3)); the intervals of so few images are too rough to go by.
    """
    away = [abs(_fisher(srocc) - _fisher(bound)) for bound in bounds if math.isfinite(bound)]
    return 3 + math.ceil(1.06 * (NORMAL / max(min(away), 1e-3)) ** 2)


def _within(interval: Interval, bounds: Interval) -> bool:
    return bounds[0] < interval[0] and interval[1] < bounds[1]


def _fisher(value: float) -> float:
    return math.atanh(min(max(value, -0.999), 0.999))
