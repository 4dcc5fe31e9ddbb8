"""The verdict on the model of a run, in a sentence or two."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from iqattack.evaluation.verdict import (
    FEWEST,
    MOST_NONFINITE,
    RANKINGS,
    SILENT,
    Judgement,
    Kind,
    judge,
    noise_gain,
)
from iqattack.objectives import Top, parse_objective
from iqattack.perception.jod import NO_DIFFERENCE
from iqattack.probing.check import ends as to
from iqattack.probing.scores import AGAINST, COARSE, LABELLED, NARROW, common_step
from iqattack.probing.subject import TOLERANCE
from iqattack.runs.numbers import ends, images, jod, number, percent
from iqattack.runs.results import JND_SCALE

if TYPE_CHECKING:
    from iqattack.runs.summary import Summary

# The effect on the ranking, by kind of verdict.
RANKING = {
    "kept": "stayed almost unchanged",
    "slight": "changed a little",
    "strong": "changed a lot",
    "lost": "was lost",
    "reversed": "was reversed",
}
# Verdicts in tables.
SHORT: dict[Kind, str] = {
    "constant": "scores are equal",
    "flat": "scores nearly equal",
    "unattacked": "too few attacked",
    "noise": "noise",
    "batch": "depends on the batch",
    "workers": "workers differ",
    "drift": "scores drift",
    "nonfinite": "no finite scores",
    "none": "no ranking",
    "few": "too few images",
    "kept": "ranking kept",
    "slight": "ranking changed a little",
    "strong": "ranking changed a lot",
    "lost": "ranking mostly lost",
    "reversed": "ranking reversed",
    "open": "open",
}
# Why scores that should be equal differ, and what to do, by kind.
BETWEEN: dict[Kind, tuple[str, str]] = {
    "batch": ("scores depend on the batch", "Attack again with --batch 1."),
    "workers": (
        "scores differ between the workers' models",
        "Fix the seeds of the model's initialisation, or attack again without --workers.",
    ),
    "drift": (
        "scores of one image drifted during the run",
        "Find out which state the model keeps between calls, or what changed behind it, and attack "
        "again.",
    ),
}
SETTLED = 20  # images on which an SROCC of AGAINST is not chance
CLEARLY_AGAINST = -0.7  # SROCC on fewer images: occurs in 3 of 100 sets of 8 unrelated ones
LACKING = 0.01  # share of the candidates without a finite score that is reported
LEAST = {kind: least for kind, least, _ in RANKINGS}  # SROCC of each
# Words for a mean SSIM: the first whose number is reached.
VISIBLE = (
    (0.99, "tiny"),
    (0.95, "small"),
    (0.9, "moderate"),
    (-math.inf, "large"),
)


class Spread(BaseModel):
    """The distribution of the scores of images that have both.

    clean, attacked: lowest and highest raw score. deviation: standard deviation of the clean
    scores, in score units. distinct: number of distinct clean scores. step: the common divisor of
    all score differences, in score units; None without one. outside: number of clean and attacked
    scores beyond the score range.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    clean: tuple[float, float]
    attacked: tuple[float, float]
    deviation: float
    distinct: int
    step: float | None
    outside: tuple[int, int]

    @classmethod
    def of(
        cls, clean: Sequence[float], attacked: Sequence[float], score_range: tuple[float, float]
    ) -> Spread:
        """Compute from raw scores (N,), N ≥ 1; non-finite ones are left out."""
        pairs = np.array([clean, attacked], dtype=np.float64)
        pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
        if not pairs.size:
            nothing = (math.nan, math.nan)
            return cls(
                clean=nothing,
                attacked=nothing,
                deviation=math.nan,
                distinct=0,
                step=None,
                outside=(0, 0),
            )
        slack = TOLERANCE * (score_range[1] - score_range[0])
        beyond = (pairs < score_range[0] - slack) | (pairs > score_range[1] + slack)
        (low, lowest), (high, highest) = pairs.min(axis=1), pairs.max(axis=1)
        return cls(
            clean=(float(low), float(high)),
            attacked=(float(lowest), float(highest)),
            deviation=float(pairs[0].std()),
            distinct=len(np.unique(pairs[0])),
            step=common_step(np.unique(pairs)),
            outside=(int(beyond[0].sum()), int(beyond[1].sum())),
        )


class Doubt(BaseModel):
    """A reason to read the numbers of a run with care.

    about: noise, drawn, batch, workers, drift, nonfinite, direction, range, narrow, rounded,
    unmoved, unpaired or unchecked. short: for the verdict. long: with its remedy; None if a finding
    of the check of the model has it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    about: str
    short: str
    long: str | None = None


class Verdict(BaseModel):
    """The verdict on a model.

    kind: see `iqattack.evaluation.verdict`. needed: fewest images for a statement about their
    ranking; None if one is made, or more would not help. doubts: reasons to read the numbers with
    care. text: everything in sentences.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    needed: int | None
    doubts: tuple[str, ...]
    text: str

    def __str__(self) -> str:
        return self.text

    @property
    def short(self) -> str:
        """Its kind in two or three words."""
        return SHORT[self.kind]

    @property
    def silent(self) -> bool:
        """Whether nothing can be said about robustness, whatever the measures."""
        return self.kind in SILENT


@dataclass(frozen=True)
class Statements:
    """A verdict in parts. effect: on scores and their ranking, or why nothing can be said about
    robustness. gain: the words of `effect` that give the mean gain; None if it has none. seen: how
    visible the changes are; None if nothing can be said. doubts: reasons to read this with care.
    """

    kind: Kind
    needed: int | None
    effect: str
    gain: str | None
    seen: str | None
    doubts: tuple[Doubt, ...]


def verdict_of(summary: Summary) -> Verdict:
    """Make the verdict on a run."""
    said = statements_of(summary)
    text = said.effect
    if said.seen is not None:
        text = f"{said.effect}, and {said.seen}."
        if short := [doubt.short for doubt in said.doubts]:
            text += f" Read this with care: {'; '.join(short)}."
    return Verdict(
        kind=said.kind,
        needed=said.needed,
        doubts=tuple(doubt.about for doubt in said.doubts),
        text=text,
    )


def statements_of(summary: Summary) -> Statements:
    """The parts of the verdict on a run."""
    judgement, doubts = _judged(summary), tuple(doubts_of(summary))
    kind, needed = judgement.kind, judgement.needed
    if kind in SILENT:
        return Statements(kind, needed, _silence(summary, kind), None, None, doubts)
    places, gain = _places(summary), None
    if places is None and summary.unchanged < summary.attacked:
        gain = _gain(summary)
    effect = places or f"{_moved(summary)}; {_ranking(summary, kind, needed)}"
    return Statements(kind, needed, effect, gain, _seen(summary), doubts)


def _judged(summary: Summary) -> Judgement:
    scores, flaws = summary.scores, _flaws(summary)
    pair = scores.clean_attacked
    return judge(
        pair.srocc,
        scores.intervals.get("clean_attacked.srocc", (math.nan, math.nan)),
        pair.n,
        gain=scores.mean_gain,
        queries=summary.budget,
        constant=summary.constant,
        filled=_filled(summary),
        without_reach=scores.crossing.without_reach,
        spread=_deviation(summary) if pair.n > 1 else math.inf,
        noise=flaws.noise,
        batch=flaws.batch,
        workers=flaws.workers,
        drift=flaws.drift,
        nonfinite=summary.nonfinite,
    )


def doubts_of(summary: Summary) -> list[Doubt]:
    """Reasons to doubt the numbers of a run, the most serious first."""
    if summary.constant:
        return []  # there are no numbers to doubt
    found = [*_differing(summary), *_against(summary)]
    width = _width(summary)
    low, high = summary.model.score_range
    n, spread = summary.scores.clean_attacked.n, summary.spread
    if spread is not None and any(spread.outside):
        clean, attacked = spread.outside
        seen = min(spread.clean[0], spread.attacked[0]), max(spread.clean[1], spread.attacked[1])
        short = (
            f"{clean} clean and {attacked} attacked scores of {images(n)} lie outside the score "
            f"range {low:g} to {high:g}, which is the scale of gains"
        )
        long = f"{short}; they range from {to(*seen)}: attack again with the "
        found.append(Doubt(about="range", short=short, long=f"{long}model's range, --score-range"))
    if spread is not None and not any(spread.outside):
        filled = _filled(summary)
        if n > 1 and filled < NARROW:
            short = f"the clean scores fill {percent(filled, 2)} of the score range"
            found.append(Doubt(about="narrow", short=short))
    if spread is not None and (rounded := _rounding(spread, n, width)):
        found.append(
            Doubt(
                about="rounded",
                short=rounded,
                long=f"{rounded}: an attack sees no smaller change, and images with equal scores "
                "have no order; return finer scores if the model has them, such as a mean over its "
                "classes",
            )
        )
    check = summary.check
    tried = summary.attacked - summary.scores.crossing.without_reach if summary.budget > 1 else 0
    unheard = summary.nonfinite >= MOST_NONFINITE  # no score shows whether one would have moved
    pooled = summary.settings.budget_total is not None  # scores moved, but no place was won
    if tried and summary.unchanged == summary.attacked and not unheard and not pooled:
        still = check is not None and check.still
        short = "no score moved in the wanted direction"
        if still:
            short = "no score moved at all, perhaps due to the model's input or its rounding"
        found.append(
            Doubt(
                about="unmoved",
                short=short,
                long=("no score moved at all" if still else short)
                + ": before you call the model robust, check with iqattack probe that it sees "
                "changes as small as the constraint allows",
            )
        )
    if check is None or not check.queries or check.failed is not None:
        found.append(
            Doubt(
                about="unchecked",
                short="noise and dependence on the batch were not measured",
                long="noise and dependence on the batch were not measured in this run, or not "
                "completely; run iqattack probe",
            )
        )
    elif check.unpaired:
        found.append(
            Doubt(
                about="unpaired",
                short="dependence on the batch was not measured",
                long="dependence on the batch was not measured, for lack of two images of equal "
                "size with finite scores; run iqattack probe",
            )
        )
    return found


def _differing(summary: Summary) -> list[Doubt]:
    """Doubts because scores differ for other reasons than the images, or are missing."""
    found, flaws = [], _flaws(summary)
    if flaws.noise > 0.0:
        most = percent(noise_gain(flaws.noise, summary.budget))
        short = f"noise alone gains up to {most} of the range on average"
        if (fresh := summary.rescored) is not None:
            short += f"; by fresh scores, the mean gain is {percent(fresh.gain_fresh, 2)}"
        found.append(Doubt(about="noise", short=short))
    if summary.model.drawn and summary.rescored is None:
        short = "its defence is random, so that the best of many queries is partly luck"
        found.append(
            Doubt(
                about="drawn",
                short=short,
                long=f"{short}: score the images again with fresh draws, iqattack rescore",
            )
        )
    if flaws.batch > 0.0:
        short = f"scores depend on the batch, by {percent(flaws.batch, 2)} of the range"
        found.append(Doubt(about="batch", short=short))
    if flaws.workers > 0.0:
        short = f"the workers' models differ, by {percent(flaws.workers, 2)} of the range"
        found.append(Doubt(about="workers", short=short))
    if flaws.drift > 0.0:
        short = f"scores of one image drifted by {percent(flaws.drift, 2)} of the range"
        found.append(Doubt(about="drift", short=short))
    if summary.nonfinite >= LACKING:
        short = f"the model had no finite score for {percent(summary.nonfinite)} of the candidates"
        found.append(
            Doubt(
                about="nonfinite",
                short=short,
                long=f"{short}: find out for which images it fails, and make it score them; the "
                "attack gained nothing from them",
            )
        )
    return found


def _against(summary: Summary) -> list[Doubt]:
    """Doubts because better clean scores come with lower opinion scores."""
    agreement = summary.scores.clean_mos
    if agreement is None or math.isnan(agreement.srocc):
        return []
    _, high = summary.scores.intervals.get("clean_mos.srocc", (math.nan, math.nan))
    # With fewer images, chance alone sometimes gives an SROCC of AGAINST.
    least = AGAINST if agreement.n >= SETTLED else CLEARLY_AGAINST
    against = agreement.srocc <= least and agreement.n >= LABELLED
    if not (against or (high < 0.0 and agreement.n >= FEWEST)):
        return []
    short = f"clean scores run against the opinion scores (SROCC {number(agreement.srocc, 2)})"
    remedy = "check --lower-better, or whether low opinion scores mean good images, which is "
    return [
        Doubt(about="direction", short=short, long=f"{short}: {remedy}--mos-columns dmos=COLUMN")
    ]


def _rounding(spread: Spread, n: int, width: float) -> str | None:
    if spread.step is not None and spread.step >= COARSE * width:
        return (
            f"scores differ by multiples of {spread.step:g}, {percent(spread.step / width)} of the "
            "range"
        )
    if n >= 4 and 2 * spread.distinct <= n:
        return f"the clean scores of {images(n)} take only {spread.distinct} values"
    return None


def _width(summary: Summary) -> float:
    low, high = summary.model.score_range
    return high - low


def _filled(summary: Summary) -> float:
    """The share of the score range that the clean scores fill; infinite if unknown."""
    if summary.spread is None or math.isnan(summary.spread.clean[0]):
        return math.inf
    return (summary.spread.clean[1] - summary.spread.clean[0]) / _width(summary)


def _deviation(summary: Summary) -> float:
    return math.inf if summary.spread is None else summary.spread.deviation / _width(summary)


@dataclass(frozen=True)
class _Flaws:
    """The findings of the check, as fractions of the score range; 0 within rounding or if
    unknown."""

    noise: float = 0.0
    batch: float = 0.0
    workers: float = 0.0
    drift: float = 0.0


def _flaws(summary: Summary) -> _Flaws:
    if summary.check is None:
        return _Flaws()
    found = {f.name: getattr(summary.check, f.name) / _width(summary) for f in fields(_Flaws)}
    return _Flaws(**{name: share for name, share in found.items() if share > TOLERANCE})


def _silence(summary: Summary, kind: Kind) -> str:
    """Why nothing can be said about robustness, and what to do."""
    gain, flaws = percent(summary.mean_gain, 2), _flaws(summary)
    if kind == "constant":
        return (
            f"The model gave the same score to all of {_of_all(summary)}: nothing can be said "
            "about its robustness. Check the model before its numbers are used."
        )
    nothing = "Nothing can be said about the model's robustness: "
    low, high = summary.model.score_range
    if kind == "flat":
        seen = "" if summary.spread is None else f", {to(*summary.spread.clean)},"
        return (
            f"{nothing}the clean scores of {_of_all(summary)}{seen} fill only "
            f"{percent(_filled(summary), 2)} of the score range {low:g} to {high:g}. Check the "
            "model, and its range, --score-range."
        )
    if kind == "unattacked":
        return nothing + _unattacked(summary)
    if kind == "nonfinite":
        return (
            f"{nothing}for {percent(summary.nonfinite)} of the attack's candidates it gave no "
            "finite score, and they gained nothing. Make the model score them, and attack again."
        )
    if kind in BETWEEN:
        what, remedy = BETWEEN[kind]
        return (
            f"{nothing}{what}, by {percent(getattr(flaws, kind), 2)} of their range as "
            f"measured on two images; the mean gain over {_of_all(summary)} is {gain}, and clean "
            f"scores have a standard deviation of {percent(_deviation(summary), 2)}. {remedy}"
        )
    most = percent(noise_gain(flaws.noise, summary.budget), 2)
    clean = f"; clean scores have a standard deviation of {percent(_deviation(summary), 2)}"
    return (
        f"{nothing}its scores are noisy, with a standard deviation of {percent(flaws.noise, 2)} of "
        "their range, known within a factor of two. By such noise alone the best of "
        f"{summary.budget:,} scores gains up to {most}, and the mean gain over {_of_all(summary)} "
        f"is {gain}"
        f"{clean if summary.scores.clean_attacked.n > 1 else ''}. Average several calls in the "
        "model, or make it deterministic."
    )


def _unattacked(summary: Summary) -> str:
    if summary.budget <= 1:
        return (
            f"with 1 query per image, only the clean images of {_of_all(summary)} were scored. "
            "Attack with more queries."
        )
    ended, (low, high) = summary.scores.crossing.without_reach, summary.model.score_range
    return (
        f"{ended:,} of {_of_all(summary)} {_were(ended)} not attacked, as the clean score lay at "
        f"or beyond the target end of the score range {low:g} to {high:g}. Attack again with the "
        "model's range, --score-range, or with another --objective."
    )


def _were(n: int) -> str:
    return "was" if n == 1 else "were"


def _of_all(summary: Summary) -> str:
    if summary.attacked == summary.images:
        return images(summary.attacked)
    missing = [
        f"{n:,} {what}"
        for n, what in ((summary.failed, "failed"), (summary.pending, "pending"))
        if n
    ]
    return f"{summary.attacked:,} of {images(summary.images)} ({', '.join(missing)})"


def _moved(summary: Summary) -> str:
    queries = f"{summary.budget:,} quer{'y' if summary.budget == 1 else 'ies'}"
    limit = f"With at most {queries} per image"
    if summary.settings.budget_total is not None:
        limit = f"With {summary.queries:,} queries for all images"
    ended = summary.scores.crossing.without_reach
    left = (
        f"; {ended:,} of them {_were(ended)} not attacked, as the clean score lay at or beyond the "
        "end of the score range"
        if ended
        else ""
    )
    if summary.unchanged == summary.attacked and summary.settings.budget_total is not None:
        return f"{limit}, no change of the order of {_of_all(summary)} was possible"
    if summary.unchanged == summary.attacked:
        no = f"the attack moved no score of {_of_all(summary)} in the wanted direction"
        return f"{limit}, {no}{left}"
    interval = summary.scores.intervals.get("mean_gain", (math.nan, math.nan))
    known = summary.attacked > 1 and not math.isnan(sum(interval))
    low, high = (100.0 * end for end in interval)
    within = f" (95 % interval {ends((low, high), _digits(summary))} %)" if known else ""
    return (
        f"{limit}, the attack moved scores by {_gain(summary)} of their range{within} on average "
        f"over {_of_all(summary)}{left}"
    )


def _gain(summary: Summary) -> str:
    return percent(summary.scores.mean_gain, _digits(summary))


def _digits(summary: Summary) -> int:
    """Decimals of a mean gain in percent."""
    return 1 if summary.scores.mean_gain >= 0.01 else 2


def _places(summary: Summary) -> str | None:
    """The effect on chosen places of the ranking, if they were the objective: the others are
    unchanged, so the ranking as a whole says nothing.
    """
    objective, ranking = parse_objective(summary.settings.objective), summary.ranking
    if ranking is None or not isinstance(objective, Top):
        return None
    k, done = objective.k, 1.0 - ranking.last.value
    first = "the first" if k == 1 else f"the first {k}"
    chosen = len(objective.named)
    if chosen:
        there = f"among {first}" if objective.into else f"not among {first}"
        there += ", or not" if objective.into and objective.out else ""
        are = "is" if round(done * chosen) == 1 else "are"
        what = f"{round(done * chosen)} of {chosen} chosen {are} in the intended place, {there}"
    else:
        what = f"{percent(done, 0)} of {first} were replaced by others"
    return (
        f"With {summary.queries:,} queries for all images, {what}; {images(ranking.touched)} "
        f"{_were(ranking.touched)} changed"
    )


def _ranking(summary: Summary, kind: Kind, needed: int | None) -> str:
    scores = summary.scores
    srocc, n = scores.clean_attacked.srocc, scores.clean_attacked.n
    if kind == "none":
        one = "1 image has" if n == 1 else f"{n} images have"
        return f"{one} no ranking (at least {needed} are needed)"
    interval = scores.intervals.get("clean_attacked.srocc", (math.nan, math.nan))
    if math.isnan(srocc):
        found = "all attacked scores are equal"
    else:
        found = f"SROCC {number(srocc, 2)}"
        if not math.isnan(sum(interval)):
            found += f", 95 % interval {ends(interval, 2)}"
    if kind == "few":
        return (
            f"{n} images are too few for a statement about their ranking ({found}): "
            f"at least {needed:,} are needed"
        )
    if kind == "open":
        more = "" if needed is None else f": a decision takes at least about {needed:,} images"
        return f"the effect on the ranking of the images is undecided ({found}){more}"
    became = RANKING[kind]
    if kind == "lost" and not math.isnan(srocc) and interval[1] >= LEAST["strong"]:
        became = f"{RANKING['strong']} or {became}"
    return f"the ranking of the images {became} ({found})"


def _seen(summary: Summary) -> str:
    means = summary.means
    if summary.unchanged == summary.attacked:
        return "no image was changed"
    if means.jnd_violation is None:
        if summary.budget < summary.settings.queries:
            return "visibility is known for the full budget only"
        return "visibility cannot be measured here"
    if means.jod is not None and means.jod_least is not None:
        return _jod(summary, means.jod, means.jod_least)
    return _without_jod(summary, means.jnd_violation)


def _without_jod(summary: Summary, violation: float) -> str:
    """How visible the changes are, by their structure."""
    ssim = summary.means.ssim
    name, _, given = summary.settings.constraint.partition(":")
    if name == "bands" and ssim is not None:
        # SSIM ignores spatial frequency, and would call large what is hardly visible.
        return (
            f"the constraint allows each band at most {given.partition(':')[0]} times the just "
            f"visible contrast (SSIM {number(ssim)}; JOD was not measured)"
        )
    over = (
        f"{percent(violation)} of the pixels changed by more than {JND_SCALE} of the "
        "just-noticeable difference"
    )
    if ssim is None:
        return over
    word = next(word for least, word in VISIBLE if ssim >= least)
    known = summary.means.ssim_images
    known = summary.attacked if known is None else known
    few = "" if known >= summary.attacked else f" over {images(known)} that could be measured"
    return f"the change is {word} by SSIM ({number(ssim)}{few}; {over})"


def _jod(summary: Summary, mean: float, least: float) -> str:
    """How visible the changes are, according to ColorVideoVDP."""
    known = summary.means.jod_images or 0
    few = "" if known >= summary.attacked else f" over {images(known)} that could be measured"
    if least >= NO_DIFFERENCE:
        return f"no difference is visible (JOD 10{few})"
    scale = "10: no visible difference; 9: 75 % of observers prefer the original"
    if known == 1:
        return f"the attacked image has JOD {jod(mean)}{few} ({scale})"
    return (
        f"the attacked images have JOD {jod(mean)} on average{few}, {jod(least)} at least ({scale})"
    )
