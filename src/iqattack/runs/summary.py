"""The measures of a run: summary.json."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, ConfigDict, computed_field

from iqattack.attacks import is_white_box
from iqattack.errors import RunError
from iqattack.evaluation import (
    Evaluation,
    Interval,
    bootstrap_interval,
    evaluate_scores,
    mean_gain,
)
from iqattack.evaluation.bootstrap import LARGE
from iqattack.models import bare_spec
from iqattack.notebook import block, facts, items, lines
from iqattack.probing import Check, findings, is_constant
from iqattack.runs.columns import Results
from iqattack.runs.numbers import images, jod, number, percent, without_folders
from iqattack.runs.ranking import Ranking
from iqattack.runs.rescored import Rescoring
from iqattack.runs.results import UNCHANGED, Result
from iqattack.runs.settings import ModelChange, ModelRecord, Record, Settings
from iqattack.runs.verdict import Spread, Verdict, doubts_of, verdict_of

JOD_SEEN = 9.5  # below it, many observers notice a change; `jod_below` is the share of such images


class Session(BaseModel):
    """The last session that queried the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: float
    queries: int
    queries_per_second: float


class Means(BaseModel):
    """Means over the attacked images, None without any.

    psnr: over changed images; ssim, ms_ssim: over images that are large enough, ssim_images of them
    for ssim; jod, flip: over measured images, jod_images of them for jod. jod_least: the least JOD;
    jod_below: share of images below 9.5.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    queries: float | None
    linf: float | None
    rms: float | None
    psnr: float | None
    ssim: float | None
    ssim_images: int | None = None
    ms_ssim: float | None
    jnd_violation: float | None
    jod: float | None = None
    jod_least: float | None = None
    jod_below: float | None = None
    jod_images: int | None = None
    flip: float | None = None


class Visibility(BaseModel):
    """How JOD and FLIP were measured.

    display: its name in ColorVideoVDP's table. distance: viewing distance in metres.
    pixels_per_degree: of visual angle. versions: of the measuring packages, by name, if installed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    display: str
    distance: float
    pixels_per_degree: float
    versions: dict[str, str]


class Measured(BaseModel):
    """A value and its 95 % interval over images."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    value: float
    interval: Interval


def mean_measured(values: ArrayLike) -> Measured:
    """The mean of values (N,), one per image; non-finite values are left out."""
    return Measured(value=mean_gain(values), interval=bootstrap_interval(mean_gain, values))


class Summary(BaseModel):
    """What an attack did to a model.

    created, versions: when the run was started, and with which versions; settings, model, files:
    the contents of run.toml. changes: of the model's files while the run was under way. budget:
    queries per image to which the measures refer; below settings.queries, they are those of the
    best image so far, and measures that need its pixels are None. images: number in the run;
    attacked: finished; unchanged: finished without gain; failed: could not be attacked; pending:
    not finished yet. queries: images that the model scored; attempts: further images that were sent
    to it, but not answered; both over all sessions and images, failed ones included. verdict: the
    statement about the model on terminal and page. nonfinite: share of the attack's images without
    a finite score. check: of the model around the search, if there was one. findings: about the
    model, one phrase each. constant: all clean scores are equal up to rounding, and nothing can be
    said about robustness. spread: the distribution of the scores. white_box: the attack used the
    model's own gradients. scores: gains, correlations and robustness with 95 % bootstrap intervals,
    which beyond 12,000 images use samples of 5,000; NaN is null in JSON. hashes: SHA-256 of the
    clean pixels of each attacked image, by name; left out beyond 12,000 images, for which the log
    has them. visibility: how JOD and FLIP were measured, if they were. full_reference: means over
    images of the requested metrics of pyiqa, by name. ranking: result for the ranking, if that was
    the objective and the run is done. rescored: evaluation of fresh scores, if there are any.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", ser_json_inf_nan="null", protected_namespaces=()
    )

    created: str
    versions: dict[str, str]
    settings: Settings
    white_box: bool = False
    model: ModelRecord
    files: dict[str, str] = {}
    changes: tuple[ModelChange, ...] = ()
    budget: int
    images: int
    attacked: int
    unchanged: int
    failed: int
    pending: int
    queries: int = 0
    attempts: int = 0
    nonfinite: float = 0.0
    check: Check | None = None
    findings: tuple[str, ...] = ()
    constant: bool = False
    spread: Spread | None = None
    means: Means
    scores: Evaluation
    session: Session | None = None
    hashes: dict[str, str]
    visibility: Visibility | None = None
    full_reference: dict[str, Measured] = {}
    ranking: Ranking | None = None
    rescored: Rescoring | None = None

    @computed_field(repr=False)  # type: ignore[prop-decorator]
    @property
    def verdict(self) -> Verdict:
        """The statement about the model."""
        return verdict_of(self)

    @property
    def attack(self) -> str:
        """The attack as shown in tables; see `Settings.label`."""
        return self.settings.label

    @property
    def mean_gain(self) -> float:
        """Mean fraction of the score range that scores moved in the wanted direction."""
        return self.scores.mean_gain

    def _facts(self) -> list[tuple[str, str]]:
        """The facts shown in terminals and notebooks."""
        scores, means, asked = self.scores, self.means, self.settings

        def with_interval(text: str, name: str, digits: int = 3, scale: float = 1.0) -> str:
            low, high = (scale * end for end in scores.intervals.get(name, (math.nan, math.nan)))
            known = not math.isnan(low) and not math.isnan(high)
            return f"{text} [{number(low, digits)}, {number(high, digits)}]" if known else text

        srocc = number(scores.clean_attacked.srocc)
        drop = None if scores.drops is None else number(scores.drops.srocc)
        what = f"{without_folders(self.attack)} in {asked.constraint}, objective {asked.objective}"
        left = ((self.failed, "failed"), (self.pending, "pending"))
        counted = [images(self.attacked), *(f"{n:,} {what}" for n, what in left if n)]
        rows = [
            ("model", self.model.name),
            ("attack", what),
            ("images", ", ".join(counted)),
            ("mean gain", with_interval(percent(self.mean_gain), "mean_gain", 1, 100.0)),
            ("SROCC clean–attacked", with_interval(srocc, "clean_attacked.srocc")),
            ("SROCC drop", None if drop is None else with_interval(drop, "drops.srocc")),
            ("SSIM, mean", None if means.ssim is None else number(means.ssim, 4)),
            ("JOD, mean", None if means.jod is None else jod(means.jod)),
            ("JOD, least", None if means.jod_least is None else jod(means.jod_least)),
            ("queries, mean", number(means.queries, 1)),
        ]
        return [(name, value) for name, value in rows if value is not None]

    def __repr__(self) -> str:
        return lines(self.verdict.text, self._facts(), self.findings)

    __str__ = __repr__

    def _repr_html_(self) -> str:
        return block(self.verdict.text, facts(self._facts()), items(self.findings))


def summarise(
    record: Record,
    results: Sequence[Result],
    pending: int,
    session: Session | None = None,
    *,
    check: Check | None = None,
    nonfinite: float = 0.0,
    budget: int | None = None,
    intervals: bool = True,
    visibility: Visibility | None = None,
    ranking: Ranking | None = None,
    rescored: Rescoring | None = None,
) -> Summary:
    """Compute the measures of results; RunError if no image is finished.

    check: of the model. nonfinite: see `Summary`. budget: queries per image to which the results
    refer; None for the run's. intervals: whether to bootstrap, which takes most of the time.
    visibility: how jod and flip of the results were measured. ranking: see `ranking_of`. rescored:
    see `Run.rescoring`.
    """
    results = Results.of(results)
    done = results.done
    if not len(done):
        raise RunError("no image of this run is finished yet; wait, or resume the run")
    sign = -1.0 if record.settings.mos_lower_better else 1.0
    mos = sign * done.real("mos")

    evaluate = evaluate_scores if intervals else partial(evaluate_scores, resamples=0)

    def mean(name: str) -> float | None:
        values = done.real(name)
        values = values[np.isfinite(values)]
        return statistics.fmean(values.tolist()) if len(values) else None

    jods = done.values("jod")
    clean, attacked = done.real("score_clean").tolist(), done.real("score_adv").tolist()
    low, high = record.model.score_range
    kept = len(done) <= LARGE
    summary = Summary(
        created=record.created,
        versions=record.versions,
        settings=record.settings,
        white_box=is_white_box(record.settings.attack, bare_spec(record.settings.model)),
        model=record.model,
        files=record.files,
        changes=record.changes,
        budget=record.settings.queries if budget is None else budget,
        images=len(results) + pending,
        attacked=len(done),
        unchanged=int(np.count_nonzero(done.where("status", UNCHANGED))),
        failed=len(results) - len(done),
        pending=pending,
        queries=sum(results.counts["queries"].tolist()),
        attempts=sum(results.counts["attempts"].tolist()),
        nonfinite=nonfinite,
        check=check,
        constant=is_constant(clean, high - low),
        spread=Spread.of(clean, attacked, record.model.score_range),
        means=Means(
            queries=statistics.fmean(done.counts["queries"].tolist()),
            linf=mean("linf"),
            rms=mean("rms"),
            psnr=mean("psnr"),
            ssim=mean("ssim"),
            ssim_images=len(done.values("ssim")),
            ms_ssim=mean("ms_ssim"),
            jnd_violation=mean("jnd_violation"),
            jod=mean("jod"),
            jod_least=min(jods, default=None),
            jod_below=statistics.fmean(jod < JOD_SEEN for jod in jods) if jods else None,
            jod_images=None if visibility is None else len(jods),
            flip=mean("flip"),
        ),
        scores=evaluate(
            clean,
            attacked,
            done.real("gain"),
            _reaches(done, record.model),
            None if np.isnan(mos).all() else mos,
            score_range=record.model.score_range,
            lower_better=record.model.lower_better,
        ),
        session=session,
        hashes={
            image: digest
            for image, digest in zip(done.images, done.hashes, strict=True)
            if kept and digest is not None
        },
        visibility=visibility,
        ranking=ranking,
        rescored=rescored,
    )
    found = findings(check or Check(), clean, record.model.score_range)
    found += record.accepted
    found += () if rescored is None else (rescored.text,)
    found += [doubt.long for doubt in doubts_of(summary) if doubt.long is not None]
    return summary.model_copy(update={"findings": tuple(found)})


def _reaches(done: Results, model: ModelRecord) -> NDArray[np.float64]:
    """The largest possible gains of finished images within the score range, (N,); see
    `Target.reach`."""
    clean, (low, high) = done.real("score_clean"), model.score_range
    rising = done.where("direction", "up") != model.lower_better
    left = np.where(rising, high - clean, clean - low) / (high - low)
    unknown = done.where("direction", None) | ~done.known["score_clean"]
    return np.where(unknown, np.nan, np.where(left > 0.0, left, 0.0))
