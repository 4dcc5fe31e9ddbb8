"""How much of a finished attack a defence leaves, and what it costs.

The pictures of an attack on the undefended model are scored behind the defence, that is, for an
attack that does not know of it. A run of the same attack on the defended model is adaptive. Both
are judged by scores that no attack has seen: behind a random defence those of fresh draws, behind a
defence that only changes scores those of the undefended model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from torch import Tensor

from iqattack.defences import Answers, Behind, Chain, files_of, label, parse_defence
from iqattack.errors import InputError, RunError
from iqattack.evaluation import bootstrap_interval, normalised_gain, srocc
from iqattack.models import BY, Scorer, defend, judges
from iqattack.objectives import towards_end
from iqattack.perception import ssim
from iqattack.runs.cells import csv_of
from iqattack.runs.files import write_text
from iqattack.runs.numbers import number
from iqattack.runs.pairs import Scored, read_pair
from iqattack.runs.rescore import check_model
from iqattack.runs.results import Result
from iqattack.runs.run import Run
from iqattack.runs.settings import ModelRecord, file_sha256
from iqattack.runs.summary import Measured, mean_measured
from iqattack.runs.verify import scores_of
from iqattack.scoring import DEFAULT_RETRY, InProcess, Retry, ScorePool

KEYS = 8  # draws of a random defence, which no attack has seen
MOST_KEYS = 1000
SAME = (
    "constraint", "floor", "objective", "queries", "attack", "seed", "resize", "convert",
    "input", "compile", "autocast",
)  # fmt: skip


class BehindDefence(BaseModel):
    """One image. Scores are raw, gains fractions of the score range, negative where the score moved
    the other way.

    score_clean, gain: those of the run on the undefended model. score_clean_defended: behind the
    defence. gain_not_adaptive: of the run's picture behind the defence, on fresh draws.
    gain_adaptive and gain_adaptive_reported: of the picture of the adaptive run, on fresh draws and
    as reported; None without such a run. ssim: between the pictures; ssim_clean_defended: between
    the clean picture and its defended version; ssim_defended: between the defended versions of
    both. None if these are too small, or differ in size from the picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    image: str
    mos: float | None
    score_clean: float
    score_clean_defended: float
    gain: float
    gain_not_adaptive: float
    gain_adaptive: float | None
    gain_adaptive_reported: float | None
    ssim: float | None
    ssim_clean_defended: float | None
    ssim_defended: float | None


class DefenceMeasures(BaseModel):
    """How much of an attack a defence leaves, and what it costs; means over images.

    run, adaptive: folders. queries: images that defended models scored for this. left_not_adaptive,
    left_adaptive: mean gain behind the defence over the mean gain without; None if nothing was
    gained without. gain_worst, left_worst: for each image, of whichever picture of the two runs
    gains most behind the defence; None without an adaptive run. note: a warning if the adaptive
    attack is the weaker one. clean_change, clean_distance: mean signed and absolute change of clean
    scores through the defence, as fractions of the score range, positive for better quality.
    srocc_clean: of clean scores with and without the defence. srocc_mos, srocc_mos_defended: of
    clean scores and opinion scores, without and with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="null")

    run: str
    adaptive: str | None
    attack: str
    defence: str
    images: tuple[BehindDefence, ...]
    queries: int
    gain: Measured
    gain_not_adaptive: Measured
    gain_adaptive: Measured | None
    gain_adaptive_reported: Measured | None
    left_not_adaptive: Measured | None
    left_adaptive: Measured | None
    gain_worst: Measured | None = None
    left_worst: Measured | None = None
    note: str | None = None
    clean_change: Measured
    clean_distance: Measured
    srocc_clean: float
    srocc_mos: float | None
    srocc_mos_defended: float | None
    ssim: float | None
    ssim_clean_defended: float | None
    ssim_defended: float | None

    def write(self, path: Path) -> None:
        """Write the rows as CSV; InputError if that fails."""
        write_text(path, csv_of(BehindDefence, self.images))


def measure_defence(
    run: Run,
    scorer: Scorer,
    defence: str,
    *,
    adaptive: Run | None = None,
    keys: int = KEYS,
    retry: Retry = DEFAULT_RETRY,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> DefenceMeasures:
    """Score the pictures of a run behind a defence, and compare.

    run: a run on the undefended model, `scorer`. adaptive: the same attack on the defended model.
    keys: draws of a random defence. Takes two queries per image, three with an adaptive run; one
    fewer for a defence of scores alone, one more for a defence of both; with random image
    transforms 2·keys + 1, or 3·keys + 1. They are in no run's log. progress: called with (images
    done, images).

    Raises InputError for a defence that does not exist, or if the model fails; RunError for runs
    that do not fit.
    """
    chain = parse_defence(defence)
    if not 1 <= keys <= MOST_KEYS:
        raise InputError(f"keys {keys}: expected 1 to {MOST_KEYS:,} draws of a random defence")
    check_model(run, scorer)
    if BY in run.model.name:
        raise RunError(
            f"{run.folder}: its model is already defended; give the run on the undefended model, "
            "and this one as the adaptive run"
        )
    done = run.checked_state(pictures=False)[0].done
    if not len(done):
        raise RunError(f"{run.folder}: no image is finished yet; wait, or resume the run")
    others = {} if adaptive is None else _adaptive(run, adaptive, chain)
    rows = []
    with ExitStack() as stack:
        asked = _Asked(stack, scorer, chain, keys, retry)
        for number, result in enumerate(done):
            progress(number, len(done))
            rows.append(_row(asked, run, result, adaptive, others.get(result.image)))
    progress(len(done), len(done))
    return _measured(run, adaptive, chain, rows, asked.queries)


class _Asked:
    """Queries of defended models. queries: images that they scored."""

    def __init__(
        self,
        stack: ExitStack,
        scorer: Scorer,
        chain: Chain,
        keys: int,
        retry: Retry,
    ) -> None:
        def pool(model: Scorer) -> ScorePool:
            return stack.enter_context(closing(InProcess(model, batch=1, retry=retry)))

        self.queries = 0
        self.chain = chain
        found = judges(scorer, chain, range(1, keys + 1))
        self.own = found == [scorer]  # the model itself, whose scores the run has
        self.same = not chain.random and not any(one.tells for one in chain.defences)
        self._user = pool(defend(scorer, chain))
        self._judges = [self._user] if self.same else [pool(judge) for judge in found]

    def returned(self, image: Tensor) -> float:
        """The score that a user receives."""
        return self._ask(self._user, image)

    def judged(self, image: Tensor) -> NDArray[np.float64]:
        """Scores of an image by each judge, (J,)."""
        return np.array([self._ask(pool, image) for pool in self._judges])

    def _ask(self, pool: ScorePool, image: Tensor) -> float:
        self.queries += 1
        (score,) = scores_of(pool, image)
        return score


def _adaptive(run: Run, adaptive: Run, chain: Chain) -> dict[str, Result]:
    """Results of the adaptive run by image; RunError if it is not a run of the same attack."""
    name = f"{run.model.name}{BY}{label(chain)}"
    if (adaptive.model.name, adaptive.model.score_range) != (name, run.model.score_range):
        low, high = run.model.score_range
        raise RunError(
            f"{adaptive.folder}: its model is '{adaptive.model.name}', expected '{name}' with the "
            f"range {low:g},{high:g}; attack that with the settings of {run.folder}"
        )
    if adaptive.model.lower_better != run.model.lower_better:
        there, here = ("lower" if one.model.lower_better else "higher" for one in (run, adaptive))
        raise RunError(
            f"{adaptive.folder}: {here} scores are better, but in {run.folder} {there} ones; give "
            "runs of the same model"
        )
    bare = _without_defences(adaptive, chain)
    changed = run.model.changed(bare)
    if changed is not None and run.model.hashes and bare.hashes:
        raise RunError(
            f"{adaptive.folder}: its model's {Path(changed).name} differs from that of "
            f"{run.folder}; give runs of the same model"
        )
    for field in SAME:
        there, here = getattr(run.settings, field), getattr(adaptive.settings, field)
        if there != here:
            raise RunError(
                f"{adaptive.folder}: its {field} is {here}, but {there} in {run.folder}; give runs "
                "with the same settings"
            )
    found = {result.image: result for result in adaptive.checked_state(pictures=False)[0].done}
    lacking = set(run.checked_state(pictures=False)[0].done.images) - found.keys()
    if lacking:
        raise RunError(
            f"{adaptive.folder}: has no result for {min(lacking)}, but {run.folder} does; give "
            "finished runs on the same images"
        )
    return found


def _without_defences(adaptive: Run, chain: Chain) -> ModelRecord:
    """The record of a defended model without the files of the defences; RunError where those have
    other contents now.
    """
    files = dict(adaptive.model.files)
    for path in files_of(chain):
        digest = file_sha256(path)
        there = [name for name, recorded in files.items() if recorded == digest]
        if not there:
            raise RunError(
                f"{adaptive.folder}: its defence had another {path.name} than {path}; restore "
                "that file, or attack again"
            )
        del files[there[0]]
    return adaptive.model.model_copy(update={"files": files})


def _row(
    asked: _Asked, run: Run, result: Result, adaptive: Run | None, other: Result | None
) -> BehindDefence:
    """One image; other: its result in the adaptive run."""
    clean, attacked = _pair(run, result)
    user = asked.returned(clean)
    before = after = np.array([user])  # on fresh draws
    if asked.own:
        before, after = np.array([result.score_clean]), np.array([result.score_adv])
    else:
        before = before if asked.same else asked.judged(clean)
        after = asked.judged(attacked)
    found = None
    if adaptive is not None and other is not None:
        there, picture = _pair(adaptive, other)
        if not torch.equal(there, clean):
            raise RunError(
                f"{adaptive.folder}: {result.image} differs from that in {run.folder}; give runs "
                "on the same images"
            )
        found = _gain(run, other, before, asked.judged(picture))
    seen = [_seen(asked.chain, picture) for picture in (clean, attacked)]
    return BehindDefence(
        image=result.image,
        mos=result.mos,
        score_clean=result.score_clean or 0.0,
        score_clean_defended=user,
        gain=result.gain or 0.0,
        gain_not_adaptive=_gain(run, result, before, after),
        gain_adaptive=found,
        gain_adaptive_reported=None if other is None else other.gain,
        ssim=result.ssim,
        ssim_clean_defended=_ssim(clean, seen[0]),
        ssim_defended=_ssim(seen[0], seen[1]),
    )


def _pair(run: Run, result: Result) -> tuple[Tensor, Tensor]:
    with run.open_log() as log:
        return read_pair(run, result, Scored.read(result, log))


def _gain(
    run: Run, result: Result, before: NDArray[np.float64], after: NDArray[np.float64]
) -> float:
    """How far scores moved in the direction of a result, as a fraction of the score range."""
    ends = run.model.score_range, run.model.lower_better
    rising = towards_end(result.direction or "up", 0.0, *ends).rising
    moved = normalised_gain(before, after, 1.0 if rising else -1.0, run.model.score_range)
    return float(moved.mean())


def _seen(chain: Chain, image: Tensor) -> Tensor:
    """The version of an image (3, H, W) uint8 that a model behind a defence receives; the first of
    several.
    """
    given: list[Tensor] = []

    def ask(images: Tensor) -> Answers:
        given.append(images[0])
        return [0.0] * len(images)

    chain(image[None], ask, Behind((0.0, 1.0)))
    return given[0]


def _ssim(one: Tensor, other: Tensor) -> float | None:
    if one.shape != other.shape:
        return None
    found = float(ssim(one, other))
    return None if np.isnan(found) else found


def _measured(
    run: Run, adaptive: Run | None, chain: Chain, rows: Sequence[BehindDefence], queries: int
) -> DefenceMeasures:
    def column(name: str) -> NDArray[np.float64]:
        return np.array([getattr(row, name) for row in rows], dtype=np.float64)  # NaN for None

    def mean(name: str) -> float | None:
        values = column(name)
        values = values[np.isfinite(values)]
        return float(values.mean()) if len(values) else None

    def left(behind: NDArray[np.float64]) -> Measured | None:
        without = column("gain")
        if not without.mean() > 0.0:
            return None
        interval = bootstrap_interval(_ratio, behind, without)
        return Measured(value=_ratio(behind, without), interval=interval)

    blind, aware = column("gain_not_adaptive"), column("gain_adaptive")
    worst = np.maximum(blind, aware)
    low, high = run.model.score_range
    better = -1.0 if run.model.lower_better else 1.0
    clean = better * column("score_clean")
    defended = better * column("score_clean_defended")
    mos = (-1.0 if run.settings.mos_lower_better else 1.0) * column("mos")
    known = np.isfinite(mos)
    change = (defended - clean) / (high - low)
    return DefenceMeasures(
        run=str(run.folder),
        adaptive=None if adaptive is None else str(adaptive.folder),
        attack=run.settings.label,
        defence=label(chain),
        images=tuple(rows),
        queries=queries,
        gain=mean_measured(column("gain")),
        gain_not_adaptive=mean_measured(blind),
        gain_adaptive=None if adaptive is None else mean_measured(aware),
        gain_adaptive_reported=(
            None if adaptive is None else mean_measured(column("gain_adaptive_reported"))
        ),
        left_not_adaptive=left(blind),
        left_adaptive=None if adaptive is None else left(aware),
        gain_worst=None if adaptive is None else mean_measured(worst),
        left_worst=None if adaptive is None else left(worst),
        note=None if adaptive is None else _weaker(adaptive, blind, aware),
        clean_change=mean_measured(change),
        clean_distance=mean_measured(np.abs(change)),
        srocc_clean=srocc(clean, defended),
        srocc_mos=srocc(clean[known], mos[known]) if known.any() else None,
        srocc_mos_defended=srocc(defended[known], mos[known]) if known.any() else None,
        ssim=mean("ssim"),
        ssim_clean_defended=mean("ssim_clean_defended"),
        ssim_defended=mean("ssim_defended"),
    )


def _weaker(adaptive: Run, blind: NDArray[np.float64], aware: NDArray[np.float64]) -> str | None:
    """A note if the adaptive attack gained less than the one that does not know the defence."""
    if not aware.mean() < blind.mean():
        return None
    return (
        f"{adaptive.folder}: the adaptive attack gains {number(float(aware.mean()))}, less than "
        f"{number(float(blind.mean()))}, the gain of the attack that does not know the defence; "
        "this does not support the defence: judge it by the worst of both, or attack with more "
        "queries"
    )


def _ratio(behind: NDArray[np.float64], without: NDArray[np.float64]) -> float:
    """Ratio of the means; NaN unless the second is above 0."""
    whole = float(without.mean())
    return float(behind.mean()) / whole if whole > 0.0 else float("nan")
