"""A card: what a suite found out about a model, in a form that can be compared and checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from iqattack.auditing.suite import Suite
from iqattack.evaluation import Evaluation, evaluate_scores
from iqattack.runs import Run, Summary
from iqattack.runs.settings import ModelRecord
from iqattack.runs.traces import results_at
from iqattack.version import __version__

FORMAT = 1
WORST = "worst case"
Floats = NDArray[np.float64]


class Value(BaseModel):
    """A measure and its 95 % bootstrap interval over images; None where there is none."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None = None
    high: float | None = None


class SuiteRecord(BaseModel):
    """Which suite it was. digest: of its content, see `Suite`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    digest: str


class CardModel(BaseModel):
    """The model. files: SHA-256 of those that it depends on, by their names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    score_range: tuple[float, float]
    lower_better: bool
    files: dict[str, str]

    @classmethod
    def of(cls, record: ModelRecord) -> CardModel:
        """Of a run's record, without the folders of whoever ran it."""
        names = {path.replace("\\", "/").rpartition("/")[2]: d for path, d in record.files.items()}
        return cls(
            name=record.name,
            score_range=record.score_range,
            lower_better=record.lower_better,
            files=names,
        )


class CardImages(BaseModel):
    """The images. attacked: of them, by every attack. digest: SHA-256 of all names and pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int
    attacked: int
    digest: str


class RunRecord(BaseModel):
    """One run of it.

    folder: beneath the card's. results: SHA-256 of its results.csv. noise, batch: what the check of
    the model found, fractions of the score range; None where there was none. findings: what to know
    of the model. verified: whether all images were scored again, as reported; None if not asked.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    folder: str
    attack: str
    constraint: str
    seed: int
    results: str
    queries: int
    noise: float | None = None
    batch: float | None = None
    findings: tuple[str, ...] = ()
    verified: bool | None = None


class Line(BaseModel):
    """The measures of one attack with one budget, or of the worst case.

    attack: its spec, or `worst case`: of each image the attack, and seed, that gained most. images:
    that the measures are of. measures: gain (mean, of the score range; over seeds, too), of the
    first seed srocc, plcc and krocc of clean and attacked scores and r (R robustness on the score
    range), srocc_drop and plcc_drop with opinion scores, where there are any. best: in the worst
    case, the share of images that each attack gained most on.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    attack: str
    constraint: str
    queries: int
    images: int
    measures: dict[str, Value]
    best: dict[str, float] = {}


class Seen(BaseModel):
    """How visible the changes of one run are: JOD and SSIM; None where they were not measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    attack: str
    constraint: str
    seed: int
    jod: float | None
    jod_least: float | None
    ssim: float | None


class Card(BaseModel):
    """What a suite found out about a model; `card.json`. The same runs give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: int = FORMAT
    iqattack: str = __version__
    suite: SuiteRecord
    model: CardModel
    images: CardImages
    runs: tuple[RunRecord, ...]
    lines: tuple[Line, ...]
    seen: tuple[Seen, ...]

    def line(self, attack: str, constraint: str, queries: int) -> Line | None:
        """The line of an attack, or of the worst case."""
        wanted = (attack, constraint, queries)
        return next(
            (line for line in self.lines if (line.attack, line.constraint, line.queries) == wanted),
            None,
        )

    @property
    def budgets(self) -> list[int]:
        """Queries that there are lines of."""
        return sorted({line.queries for line in self.lines})

    @property
    def constraints(self) -> list[str]:
        """Each once, in their order."""
        return list(dict.fromkeys(line.constraint for line in self.lines))

    @property
    def verdict(self) -> str:
        """It in a few sentences, of the worst case at the largest budget."""
        queries = self.budgets[-1]
        said = []
        for constraint in self.constraints:
            line = self.line(WORST, constraint, queries)
            if line is None:
                continue
            gain, srocc = line.measures["gain"], line.measures["srocc"]
            order = (
                "" if srocc.value is None else f", and SROCC with the clean order is {shown(srocc)}"
            )
            said.append(
                f"in {constraint} they move by {shown(gain, percent=True)} of their range{order}"
            )
        return (
            f"{self.model.name}: with {queries:,} queries an image, the strongest attack of "
            f"{self.suite.id} on each of {self.images.attacked} images moves scores: "
            f"{'; '.join(said)}."
        )


def shown(value: Value, *, percent: bool = False) -> str:
    """A value with its interval, as text."""
    if value.value is None:
        return "–"
    form = "{:.1f} %" if percent else "{:.2f}"
    scale = 100.0 if percent else 1.0
    text = form.format(scale * value.value)
    if value.low is None or value.high is None:
        return text
    ends = "{:.1f}" if percent else "{:.2f}"
    return f"{text} [{ends.format(scale * value.low)}, {ends.format(scale * value.high)}]"


# -- from runs ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Done:
    """One run of a suite that is done. summary: its measures. verified: see `RunRecord`."""

    run: Run
    summary: Summary
    attack: str
    constraint: str
    seed: int
    verified: bool | None = None


@dataclass(frozen=True)
class _At:
    """What became of all images with one budget, by name: score, gain."""

    scores: dict[str, float]
    gains: dict[str, float]


def card_of(suite: Suite, done: Sequence[Done]) -> Card:
    """The card of the runs of a suite, which have the same model and images."""
    found: dict[tuple[int, int], _At] = {}
    for number, each in enumerate(done):
        for queries in suite.budgets:
            rows = results_at(each.run, queries)[0].done
            names = [str(name) for name in rows.images]
            found[number, queries] = _At(
                dict(zip(names, rows.real("score_adv").tolist(), strict=True)),
                dict(zip(names, rows.real("gain").tolist(), strict=True)),
            )
    rows = results_at(done[0].run, suite.budgets[-1])[0].done
    common = set.intersection(*(set(at.gains) for at in found.values()))
    kept = np.array([str(name) in common for name in rows.images], bool)
    names = [str(name) for name in np.asarray(rows.images)[kept]]
    base = _Base(done[0].run, names, rows.real("score_clean")[kept], rows.real("mos")[kept])
    lines = []
    for constraint in suite.constraints:
        inside = [k for k, each in enumerate(done) if each.constraint == constraint]
        for queries in suite.budgets:
            lines += _lines(base, done, inside, queries, found)
    first = done[0].summary
    return Card(
        suite=SuiteRecord(id=suite.id, digest=suite.digest),
        model=CardModel.of(first.model),
        images=CardImages(count=first.images, attacked=len(names), digest=_digest(first)),
        runs=tuple(map(_record, done)),
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
    )


@dataclass(frozen=True)
class _Base:
    """What all runs share: a run, and its images that every attack was tried on."""

    run: Run
    names: list[str]
    clean: Floats
    mos: Floats


def _lines(
    base: _Base,
    done: Sequence[Done],
    inside: Sequence[int],
    queries: int,
    found: Mapping[tuple[int, int], _At],
) -> list[Line]:
    """Of the attacks of one constraint with one budget, and their worst case first."""
    gains = np.array([[found[k, queries].gains[name] for name in base.names] for k in inside])
    scores = np.array([[found[k, queries].scores[name] for name in base.names] for k in inside])
    best = gains.argmax(0) if base.names else np.zeros(0, int)
    attacks = [done[k].attack for k in inside]
    shares = {
        attack: float(np.mean([attacks[k] == attack for k in best])) if len(best) else 0.0
        for attack in dict.fromkeys(attacks)
    }
    columns = np.arange(len(base.names))
    constraint = done[inside[0]].constraint
    lines = [
        _line(base, WORST, constraint, queries, scores[best, columns], gains[best, columns], shares)
    ]
    for attack in dict.fromkeys(attacks):
        rows = [number for number, name in enumerate(attacks) if name == attack]
        # Of several seeds: their mean gain on each image, and the scores of the first.
        lines.append(
            _line(base, attack, constraint, queries, scores[rows[0]], gains[rows].mean(0), {})
        )
    return lines


def _line(
    base: _Base,
    attack: str,
    constraint: str,
    queries: int,
    attacked: Floats,
    gains: Floats,
    best: dict[str, float],
) -> Line:
    model = base.run.model
    mos = None if np.isnan(base.mos).all() else base.mos
    scores = evaluate_scores(
        base.clean,
        attacked,
        gains,
        np.ones_like(gains),  # boundaries that were crossed are no measure here
        mos,
        score_range=model.score_range,
        lower_better=model.lower_better,
    )
    return Line(
        attack=attack,
        constraint=constraint,
        queries=queries,
        images=len(base.names),
        measures=_measures(scores),
        best=best,
    )


def _measures(scores: Evaluation) -> dict[str, Value]:
    """By their names on a card."""

    def value(measured: float, name: str) -> Value:
        low, high = scores.intervals.get(name, (None, None))
        return Value(value=_finite(measured), low=_finite(low), high=_finite(high))

    pair = scores.clean_attacked
    found = {
        "gain": value(scores.mean_gain, "mean_gain"),
        "srocc": value(pair.srocc, "clean_attacked.srocc"),
        "plcc": value(pair.plcc, "clean_attacked.plcc"),
        "krocc": value(pair.krocc, "clean_attacked.krocc"),
        "r": value(scores.by_range.r, "by_range.r"),
    }
    if scores.drops is not None:
        found["srocc_drop"] = value(scores.drops.srocc, "drops.srocc")
        found["plcc_drop"] = value(scores.drops.plcc, "drops.plcc")
    return found


def _finite(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)


def _digest(summary: Summary) -> str:
    """Of the names and pixels of all images."""
    text = "".join(f"{name} {digest}\n" for name, digest in sorted(summary.hashes.items()))
    return hashlib.sha256(text.encode()).hexdigest()


def _record(each: Done) -> RunRecord:
    summary = each.summary
    check, (low, high) = summary.check, summary.model.score_range
    return RunRecord(
        folder=f"runs/{each.run.folder.name}",
        attack=each.attack,
        constraint=each.constraint,
        seed=each.seed,
        results=hashlib.sha256((each.run.folder / "results.csv").read_bytes()).hexdigest(),
        queries=summary.queries,
        noise=None if check is None else _finite(check.noise / (high - low)),
        batch=None if check is None else _finite(check.batch / (high - low)),
        findings=summary.findings,
        verified=each.verified,
    )
