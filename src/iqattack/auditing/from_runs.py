"""A card from the runs of a suite."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iqattack.auditing.card import (
    FEWEST,
    PREPARED,
    WORST,
    Card,
    CardImages,
    CardModel,
    Curve,
    Fresh,
    Line,
    RunRecord,
    Seen,
    SuiteRecord,
    Value,
)
from iqattack.auditing.suite import Suite
from iqattack.errors import RunError
from iqattack.evaluation import Evaluation, evaluate_scores, mean_intervals
from iqattack.evaluation.bootstrap import RESAMPLES
from iqattack.probing.subject import TOLERANCE
from iqattack.runs import Reached, Run, Summary, reached
from iqattack.runs.numbers import without_folders
from iqattack.runs.settings import ModelRecord

POINTS = 16  # of a curve, evenly spaced on a log axis, besides the budgets of the suite

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Done:
    """A finished run of a suite. attack: without folders. summary: its measures. verified: see
    `RunRecord`.
    """

    run: Run
    summary: Summary
    attack: str
    constraint: str
    seed: int
    verified: bool | None = None


def card_of(suite: Suite, done: Sequence[Done], *, fresh: bool = False) -> Card:
    """The card of a suite's runs; RunError if they differ in model or images.

    fresh: whether it reports the fresh scores of its runs, which may have some anyway.
    """
    first = done[0].summary
    for each in done[1:]:
        _check_same(each, first)
    points = points_of(suite.budgets)
    runs = [reached(each.run, points) for each in done]
    base = _Base.of(done[0].run, runs)
    tried = [base.arranged(one) for one in runs]
    lines, curves = list[Line](), list[Curve]()
    for constraint in suite.constraints:
        inside = [k for k, each in enumerate(done) if each.constraint == constraint]
        cases = _cases([done[k].attack for k in inside], [tried[k] for k in inside])
        for queries in suite.budgets:
            at = points.index(queries)
            lines += [_line(base, case, constraint, queries, at) for case in cases]
        curves += [_curve(case, constraint, points) for case in cases]
    everywhere = np.logical_and.reduce([~np.isnan(one.gains[:, -1]) for one in tried])
    return Card(
        suite=SuiteRecord(id=suite.id, digest=suite.digest),
        model=CardModel.of(first.model, first.settings),
        images=CardImages(
            count=first.images,
            attacked=len(base.names),
            partly=len(base.names) - int(everywhere.sum()),
            twice=_twice(done),
            digest=_digest(done),
        ),
        runs=tuple(_record(each, fresh=fresh) for each in done),
        lines=tuple(lines),
        seen=tuple(
            Seen(
                attack=each.attack,
                constraint=each.constraint,
                seed=each.seed,
                jod=each.summary.means.jod,
                jod_least=each.summary.means.jod_least,
                ssim=each.summary.means.ssim,
            )
            for each in done
        ),
        curves=tuple(curves),
    )


def points_of(budgets: Sequence[int]) -> tuple[int, ...]:
    """Numbers of queries on curves: the budgets, and others up to the largest; ascending."""
    others = np.geomspace(1, budgets[-1], POINTS).round().astype(int)
    return tuple(sorted({*budgets, *others.tolist()}))


def _check_same(each: Done, first: Summary) -> None:
    """Raise RunError if a run has another model, or images with other pixels, than the first."""
    here = each.summary
    what = None
    if here.model.changed(first.model) or here.model.name != first.model.name:
        what = "is of another model"
    elif odd := [n for n in PREPARED if getattr(here.settings, n) != getattr(first.settings, n)]:
        own, other = (getattr(one.settings, odd[0]) for one in (here, first))
        what = f"has another {odd[0]} ({own or 'none'} and not {other or 'none'})"
    elif here.images != first.images:
        what = f"is of {here.images} images, and not {first.images}"
    else:
        both = here.hashes.keys() & first.hashes.keys()
        odd = sorted(name for name in both if here.hashes[name] != first.hashes[name])
        what = f"had other pixels of {odd[0]}" if odd else None
    if what is not None:
        raise RunError(
            f"{each.run.folder}: {what} than the runs before it; delete this folder, restore what "
            "was changed, and continue with --resume"
        )


@dataclass(frozen=True)
class _Tried:
    """The results of one or more runs on all images: raw scores and gains, (N, Q); NaN for failed
    images.
    """

    scores: Array
    gains: Array


@dataclass(frozen=True)
class _Base:
    """Shared by all runs: the model, and the images that any attack finished, in order.

    clean: raw scores, (N,). mos: opinion scores, (N,), NaN if missing.
    """

    model: ModelRecord
    names: tuple[str, ...]
    clean: Array
    mos: Array

    @classmethod
    def of(cls, first: Run, runs: Sequence[Reached]) -> _Base:
        """Collect the images from the results of all runs, in the order of the first."""
        clean: dict[str, float] = {}
        mos: dict[str, float] = {}
        for one in runs:
            names = one.results.images
            rated = one.results.real("mos").tolist()
            scored = one.results.real("score_clean").tolist()
            clean = dict(zip(names, scored, strict=True)) | clean
            mos = dict(zip(names, rated, strict=True)) | mos
        order = {name: number for number, name in enumerate(first.image_names())}
        ordered = sorted(clean, key=lambda name: order.get(name, len(order)))
        return cls(
            first.model,
            tuple(ordered),
            np.array([clean[name] for name in ordered], dtype=np.float64),
            np.array([mos[name] for name in ordered], dtype=np.float64),
        )

    def arranged(self, one: Reached) -> _Tried:
        """The results of a run, in the order of these images."""
        numbers = {name: number for number, name in enumerate(self.names)}
        rows = [numbers[name] for name in one.results.images]
        whole = _Tried(*np.full((2, len(self.names), len(one.queries)), np.nan))
        whole.scores[rows], whole.gains[rows] = one.scores, one.gains
        return whole


@dataclass(frozen=True)
class _Case:
    """An attack over its seeds, or the worst case, for lines and curves.

    tried: scores of the first seed, and gains averaged over seeds; for the worst case, both of the
    best. best: by attack, the share of images on which it gained most, (Q,); empty for a single
    attack.
    """

    attack: str
    tried: _Tried
    best: dict[str, Array]

    @property
    def there(self) -> NDArray[np.bool_]:
        """Which images it has, (N,)."""
        return ~np.isnan(self.tried.gains[:, -1])


def _cases(attacks: Sequence[str], tried: Sequence[_Tried]) -> list[_Case]:
    """The worst case, then each attack, in one constraint.

    An image on which one of them failed counts in the others.
    """
    gains = np.array([one.gains for one in tried])
    scores = np.array([one.scores for one in tried])
    known = np.where(np.isnan(gains), -np.inf, gains)
    chosen = known.argmax(axis=0)[None]
    worst = _Tried(
        np.take_along_axis(scores, chosen, axis=0)[0], np.take_along_axis(gains, chosen, axis=0)[0]
    )
    moved = worst.gains > 0.0
    most = np.maximum(moved.sum(axis=0), 1)
    names = list(dict.fromkeys(attacks))
    top = known == worst.gains  # several attacks may gain most, such as all that is possible
    best = {
        name: (moved & top[[n == name for n in attacks]].any(axis=0)).sum(axis=0) / most
        for name in names
    }
    cases = [_Case(WORST, worst, best)]
    for name in names:
        seeds = [k for k, n in enumerate(attacks) if n == name]
        cases.append(_Case(name, _Tried(scores[seeds[0]], gains[seeds].mean(axis=0)), {}))
    return cases


def _line(base: _Base, case: _Case, constraint: str, queries: int, at: int) -> Line:
    """The line of a case after `queries` queries. at: their index among the points."""
    there = case.there
    gains, mos = case.tried.gains[there, at], base.mos[there]
    scores = evaluate_scores(
        base.clean[there],
        case.tried.scores[there, at],
        gains,
        np.ones_like(gains),  # crossed boundaries are not a measure here
        None if np.isnan(mos).all() else mos,
        score_range=base.model.score_range,
        lower_better=base.model.lower_better,
    )
    return Line(
        attack=case.attack,
        constraint=constraint,
        queries=queries,
        images=int(there.sum()),
        measures=_measures(scores, _sd(base, there)),
        best={name: float(share[at]) for name, share in case.best.items()},
    )


def _curve(case: _Case, constraint: str, points: tuple[int, ...]) -> Curve:
    gains = np.ascontiguousarray(case.tried.gains[case.there].T)
    images = gains.shape[1]
    means = gains.mean(axis=1) if images else np.full(len(points), np.nan)
    low = high = np.full(len(points), np.nan)
    if images >= FEWEST:
        low, high = mean_intervals(gains, n=RESAMPLES)
    return Curve(
        attack=case.attack,
        constraint=constraint,
        queries=points,
        gain=tuple(map(_finite, means.tolist())),
        low=tuple(map(_finite, low.tolist())),
        high=tuple(map(_finite, high.tolist())),
    )


def _sd(base: _Base, there: NDArray[np.bool_]) -> float:
    """Standard deviation of the clean scores, as a fraction of the score range; NaN if constant."""
    low, high = base.model.score_range
    clean, width = base.clean[there], high - low
    if not clean.size or np.ptp(clean) <= TOLERANCE * width:  # equal ones may deviate by rounding
        return math.nan
    return float(np.std(clean)) / width


def _measures(scores: Evaluation, sd: float) -> dict[str, Value]:
    """The measures by their names on a card. sd: see `_sd`."""

    def value(measured: float, name: str) -> Value:
        if scores.n < FEWEST:
            return Value(value=_finite(measured) if name == "mean_gain" else None)
        low, high = scores.intervals.get(name, (None, None))
        return Value(value=_finite(measured), low=_finite(low), high=_finite(high))

    pair, gain = scores.clean_attacked, value(scores.mean_gain, "mean_gain")

    def in_sd(end: float | None) -> float | None:
        return None if end is None or scores.n < FEWEST else _finite(end / sd)

    found = {
        "gain": gain,
        "gain_sd": Value(value=in_sd(gain.value), low=in_sd(gain.low), high=in_sd(gain.high)),
        "gain_on_clean": value(
            scores.minmax_on_clean.absolute_gain, "minmax_on_clean.absolute_gain"
        ),
        "srocc": value(pair.srocc, "clean_attacked.srocc"),
        "plcc": value(pair.plcc, "clean_attacked.plcc"),
        "krocc": value(pair.krocc, "clean_attacked.krocc"),
        "r": value(scores.by_range.r, "by_range.r"),
    }
    if scores.clean_mos is not None:
        found["srocc_mos"] = value(scores.clean_mos.srocc, "clean_mos.srocc")
    if scores.drops is not None:
        found["srocc_drop"] = value(scores.drops.srocc, "drops.srocc")
        found["plcc_drop"] = value(scores.drops.plcc, "drops.plcc")
        found["krocc_drop"] = value(scores.drops.krocc, "drops.krocc")
    return found


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _hashes(done: Sequence[Done]) -> dict[str, str]:
    """Of the pixels of all images in any run, by name."""
    hashes: dict[str, str] = {}
    for each in done:
        hashes |= each.summary.hashes
    return hashes


def _digest(done: Sequence[Done]) -> str:
    """The digest of the names and pixels of all images in any run."""
    hashes = _hashes(done)
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _twice(done: Sequence[Done]) -> int:
    """How many images have the same pixels as an earlier one."""
    hashes = _hashes(done)
    return len(hashes) - len(set(hashes.values()))


def _record(each: Done, *, fresh: bool) -> RunRecord:
    summary = each.summary
    again = None if summary.rescored is None else summary.rescored.text
    check, (low, high) = summary.check, summary.model.score_range
    return RunRecord(
        folder=f"runs/{each.run.folder.name}",
        attack=each.attack,
        constraint=each.constraint,
        seed=each.seed,
        results=hashlib.sha256((each.run.home / "results.csv").read_bytes()).hexdigest(),
        queries=summary.queries,
        noise=None if check is None else _finite(check.noise / (high - low)),
        batch=None if check is None else _finite(check.batch / (high - low)),
        findings=tuple(without_folders(said) for said in summary.findings if said != again),
        verified=each.verified,
        silent=summary.verdict.kind if summary.verdict.silent else None,
        fresh=Fresh.of(summary.rescored) if fresh and summary.rescored is not None else None,
    )
