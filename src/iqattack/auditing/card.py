"""A card: the results of a suite on a model, in a form that can be compared and checked."""

from __future__ import annotations

import math
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from iqattack.evaluation.verdict import SILENT, Judgement, Kind, judge, noise_gain
from iqattack.notebook import block, items, lines, table
from iqattack.probing.subject import TOLERANCE
from iqattack.runs.numbers import percent
from iqattack.runs.rescored import Rescoring
from iqattack.runs.settings import ModelRecord, Settings
from iqattack.version import __version__

FEWEST = 3  # images: fewer have no interval and no ranking
WORST = "worst case"
PARTLY = "failed with some attacks"
PREPARED = ("input", "compile", "autocast")  # settings that affect what the model computes
# Why a model's own runs say nothing about its robustness, by kind of their verdict.
OF_MODEL: dict[Kind, str] = {
    "constant": "it gives the same score to all clean images",
    "flat": "the clean scores are nearly equal",
    "workers": "the models of different worker processes differ",
    "drift": "scores of one image drifted",
    "nonfinite": "it gave no finite score to most candidates",
    "unattacked": "most clean scores lie at the end of the score range",
    "noise": "its scores are noisy",
    "batch": "its scores depend on the batch",
}


class Value(BaseModel):
    """A measure and its 95 % bootstrap interval over images; None if missing."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float | None
    low: float | None = None
    high: float | None = None


class SuiteRecord(BaseModel):
    """The suite. id: such as `quick-v1`. digest: of its content, see `Suite`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(pattern=r"^[a-z][a-z0-9]*-v[1-9][0-9]{0,8}$")
    digest: str


class CardModel(BaseModel):
    """The model. files: SHA-256 of the files that it depends on, by their names. drawn: whether a
    defence of it draws at random, see `Traits`. input, compile, autocast: how it received images
    and was run, as in `Settings`. These four are left out of JSON at their defaults.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    score_range: tuple[float, float]
    lower_better: bool
    files: dict[str, str]
    drawn: bool = False
    input: str | None = None
    compile: bool = False
    autocast: str | None = None

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {n: v for n, v in handler(self).items() if n not in (*PREPARED, "drawn") or v}

    @classmethod
    def of(cls, record: ModelRecord, settings: Settings) -> CardModel:
        """Make it from a run's record and settings, without folder names."""
        names: dict[str, str] = {}
        for path, digest in sorted(record.files.items()):
            name = path.replace("\\", "/").rpartition("/")[2]
            while name in names:
                name += "'"
            names[name] = digest
        return cls(
            name=record.name,
            score_range=record.score_range,
            lower_better=record.lower_better,
            files=names,
            drawn=record.drawn,
            input=settings.input,
            compile=settings.compile,
            autocast=settings.autocast,
        )


class CardImages(BaseModel):
    """The images. attacked: number attacked by at least one attack; partly: number that only some
    attacks could attack. twice: number with the same pixels as an earlier one, which count as
    independent; left out of JSON if there are none. digest: SHA-256 of all names and pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    count: int
    attacked: int
    partly: int = 0
    twice: int = 0
    digest: str

    @model_serializer(mode="wrap")
    def _without_defaults(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {n: v for n, v in handler(self).items() if n != "twice" or v}


class Fresh(BaseModel):
    """Gain of a run by scores that had no part in the choice of its images, see `Rescoring`.

    times: fewest fresh scores per picture. gain: mean over images, as a fraction of the score
    range; low, high: its 95 % interval over images. bias: the reported gain minus this gain. error:
    its standard error due to noise alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    times: int
    gain: float
    low: float | None
    high: float | None
    bias: float
    error: float

    @classmethod
    def of(cls, found: Rescoring) -> Fresh:
        """Make it from a run's rescoring."""
        low, high = found.intervals.get("gain_fresh", (None, None))
        return cls(
            times=found.times,
            gain=found.gain_fresh,
            low=low,
            high=high,
            bias=found.bias,
            error=found.error,
        )


class RunRecord(BaseModel):
    """One run of the audit.

    folder: beneath the card's. results: SHA-256 of its results.csv. noise, batch: from the check of
    the model, as fractions of the score range; None without a check. findings: about the model.
    verified: whether all images, scored again, are as reported; None if not verified. silent: kind
    of the run's verdict if nothing can be said about robustness, see `iqattack.evaluation.verdict`.
    fresh: if the audit asked for fresh scores. Both are left out of JSON if there are none.
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
    silent: Kind | None = None
    fresh: Fresh | None = None

    @property
    def without_bias(self) -> str:
        """The gain by fresh scores in a phrase; empty without any."""
        fresh = self.fresh
        if fresh is None:
            return ""
        gain, error, reported = (
            f"{100.0 * part:.1f} %" for part in (fresh.gain, fresh.error, fresh.gain + fresh.bias)
        )
        return (
            f"{self.attack} in {self.constraint}: {fresh.times:,} fresh scores of each picture put "
            f"the mean gain at {gain} ± {error} of the score range, instead of the reported "
            f"{reported}"
        )

    @model_serializer(mode="wrap")
    def _without_nothing(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found = handler(self)
        return {n: v for n, v in found.items() if n not in ("silent", "fresh") or v is not None}


class Line(BaseModel):
    """The measures of one attack with one budget, or of the worst case.

    attack: its spec, or `worst case`: for each image, the attack and seed that gained most. images:
    number in the measures: those that it finished, or in the worst case those that any attack
    finished. measures: gain (mean, as a fraction of the score range; also over seeds), gain_sd (the
    same in standard deviations of the clean scores, which a wider range does not lower), and for
    the first seed gain_on_clean (absolute gain, higher is better, on the scale of the clean scores,
    as in the MSU benchmark), srocc, plcc and krocc of clean and attacked scores, r (R robustness on
    the score range), and with opinion scores srocc_mos (of the clean scores) and the drops of the
    three correlations. best: in the worst case, the share of images on which each attack gained
    most; several may on one image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    attack: str
    constraint: str
    queries: int
    images: int
    measures: dict[str, Value]
    best: dict[str, float] = {}


class Curve(BaseModel):
    """The mean gain of one attack, or of the worst case, against queries.

    queries: ascending, including the suite's budgets. gain, low, high: the mean and its interval
    after each, as in `Line`; None if missing.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    attack: str
    constraint: str
    queries: tuple[int, ...]
    gain: tuple[float | None, ...]
    low: tuple[float | None, ...]
    high: tuple[float | None, ...]


class Seen(BaseModel):
    """The visibility of one run's changes: JOD and SSIM; None if not measured."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    attack: str
    constraint: str
    seed: int
    jod: float | None
    jod_least: float | None
    ssim: float | None


class Card(BaseModel):
    """The results of a suite on a model; `card.json`. The same runs give the same bytes."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: Literal[1] = 1
    iqattack: str = __version__
    suite: SuiteRecord
    model: CardModel
    images: CardImages
    runs: tuple[RunRecord, ...]
    lines: tuple[Line, ...]
    seen: tuple[Seen, ...]
    curves: tuple[Curve, ...] = ()

    def line(self, attack: str, constraint: str, queries: int) -> Line | None:
        """The line of an attack, or of the worst case."""
        wanted = (attack, constraint, queries)
        return next(
            (line for line in self.lines if (line.attack, line.constraint, line.queries) == wanted),
            None,
        )

    @property
    def budgets(self) -> list[int]:
        """The budgets of the lines."""
        return sorted({line.queries for line in self.lines})

    @property
    def constraints(self) -> list[str]:
        """Without duplicates, in order."""
        return list(dict.fromkeys(line.constraint for line in self.lines))

    @property
    def verdict(self) -> str:
        """The worst case at the largest budget, in a few sentences."""
        if not self.lines:
            return f"{self.model.name}: nothing was measured."
        if (why := self.silence) is not None:
            return f"{self.model.name}: nothing can be said about its robustness: {why}."
        said = []
        for line in self.worst_lines:
            gain, srocc = line.measures["gain"], line.measures["srocc"]
            order = "" if srocc.value is None else f" (SROCC with the clean order {shown(srocc)})"
            moved = shown(gain, percent=True)
            said.append(f"by {moved} of their range in {line.constraint}{order}")
        left = ", ".join(self.failed)
        each = "1 image" if self.images.attacked == 1 else f"each of {self.images.attacked} images"
        return (
            f"{self.model.name}: with {self.budgets[-1]:,} queries per image and attack, the "
            f"strongest attack of {self.suite.id} on {each} moves scores "
            f"{'; '.join(said)}.{f' {left.capitalize()}.' if left else ''}"
        )

    # -- whether the measures say anything ------------------------------------------------------

    @property
    def silence(self) -> str | None:
        """Why nothing can be said about the model's robustness, in a phrase; None if something can.

        Nothing is said if no run's own verdict says anything. Otherwise the largest gain of the
        worst case is compared with noise and with the effect of the batch.
        """
        kinds = [run.silent for run in self.runs if run.silent is not None]
        if kinds and len(kinds) == len(self.runs):
            return OF_MODEL[min(kinds, key=SILENT.index)]
        lines = self.worst_lines
        if not lines:
            return None
        line = max(lines, key=lambda line: or_least(line.measures["gain"].value))
        kind, gain = self.judged(line).kind, percent(line.measures["gain"].value)
        if kind not in SILENT:
            return None
        if kind == "noise":
            most = percent(noise_gain(self.most("noise"), self.chances(line)))
            return (
                f"noise alone gains up to {most} of the score range, and the attacks gained {gain}"
            )
        if kind == "batch":
            change = percent(self.most("batch"), 2)
            return (
                f"scores depend on the batch, by {change} of the score range, and the attacks "
                f"gained {gain}"
            )
        return f"no candidate was scored with {line.queries:,} query per image"

    @property
    def troubles(self) -> list[str]:
        """Why the audit is not sound, whatever its measures, a sentence each."""
        return [*(f"{folder}: is not as reported" for folder in self.unsound), *self.failed]

    @property
    def unsound(self) -> list[str]:
        """Folders of the runs that are not as reported."""
        return [run.folder for run in self.runs if run.verified is False]

    @property
    def failed(self) -> list[str]:
        """How many images failed, a phrase for all attacks and one for some."""
        images = self.images
        kinds = ((images.count - images.attacked, "could not be attacked"), (images.partly, PARTLY))
        return [f"{number} of {images.count} images {what}" for number, what in kinds if number]

    @property
    def worst_lines(self) -> list[Line]:
        """The worst case of each constraint at the largest budget."""
        if not self.lines:
            return []
        found = (self.line(WORST, constraint, self.budgets[-1]) for constraint in self.constraints)
        return [line for line in found if line is not None]

    def judged(self, line: Line) -> Judgement:
        """The verdict on a line of the worst case."""
        gain, srocc = line.measures["gain"].value, line.measures["srocc"]
        value, low, high = (
            math.nan if end is None else end for end in (srocc.value, srocc.low, srocc.high)
        )
        return judge(
            value,
            (low, high),
            line.images,
            gain=or_least(gain),
            queries=1 if line.queries <= 1 else self.chances(line),
            noise=self.most("noise"),
            batch=self.most("batch"),
        )

    def chances(self, line: Line) -> int:
        """Number of scores per image of which the worst case is the best."""
        runs = sum(run.constraint == line.constraint for run in self.runs)
        return line.queries * max(runs, 1)

    def most(self, name: Literal["noise", "batch"]) -> float:
        """The largest of any run, as a fraction of the score range; 0 within rounding."""
        found = max((getattr(run, name) or 0.0 for run in self.runs), default=0.0)
        return found if found > TOLERANCE else 0.0

    # -- as text --------------------------------------------------------------------------------

    def _rows(self) -> list[list[str]]:
        """A row for each line, after a header."""
        rows = [["constraint", "queries", "attack", "gain", "SROCC"]]
        for line in self.lines:
            gain, srocc = line.measures["gain"], line.measures["srocc"]
            values = (shown(gain, percent=True), shown(srocc))
            rows.append([line.constraint, f"{line.queries:,}", line.attack, *values])
        return rows

    def __repr__(self) -> str:
        rows = [(f"{row[0]}, {row[1]} queries, {row[2]}", f"gain {row[3]}, SROCC {row[4]}")
                for row in self._rows()[1:]]  # fmt: skip
        return lines(self.verdict, rows, self.troubles)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        head, *rows = self._rows()
        return block(self.verdict, table(head, rows, ("attack",)), items(self.troubles))


def or_least(value: float | None) -> float:
    """A value to compare; a missing one is the least."""
    return -math.inf if value is None else value


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
