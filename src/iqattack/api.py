"""The Python interface, one line per step::

import iqattack

images = iqattack.ImageSet.from_folder("photos")
model = iqattack.load_model("cnniqa:weights.pth")
run = iqattack.attack(images, model, queries=2000, out="runs/photos")
print(iqattack.evaluate(run).mean_gain)
print(iqattack.verify(run, model).differences)
print(iqattack.report(run))
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, cast

from iqattack.attacks import (
    ATTACKED,
    ATTACKS,
    GIVEN,
    Answer,
    Attack,
    BudgetSpent,
    Gradient,
    Task,
    all_attacks,
    find,
    kind_of,
    load_attack,
)
from iqattack.auditing import (
    POLICY,
    Asking,
    Card,
    CardCheck,
    Steps,
    Suite,
    read_policy,
    read_suite,
)
from iqattack.auditing import audit as run_audit
from iqattack.auditing import check_card as run_check
from iqattack.auditing.audit import is_audit, runs_of
from iqattack.catalogue import defaults
from iqattack.defences import parse_defence
from iqattack.detection import DEFAULT as DEFAULT_DETECTOR
from iqattack.directions import Perturbation, Profile
from iqattack.engine import Interrupted
from iqattack.errors import DeviceError, InputError, TransientError
from iqattack.images import ImageSet, match_mos, read_mos
from iqattack.imports import absolute
from iqattack.models import (
    EAGER,
    Inference,
    Input,
    Loaded,
    Model,
    Scorer,
    Traits,
    builtin_card,
    defend,
    gradient_of,
    load_model,
    model_kinds,
    spec_of,
    split_spec,
    wrap,
)
from iqattack.models.time_limit import check_timeout
from iqattack.objectives import SetObjective, parse_objective
from iqattack.options import check_given
from iqattack.perception import Viewing
from iqattack.probing import QUERIES, Probe
from iqattack.probing import probe as run_probe
from iqattack.reporting import write_card_page, write_report
from iqattack.reporting.board import Board, write_board
from iqattack.reporting.figures import Request
from iqattack.reporting.figures import plot as plot_runs
from iqattack.runs import (
    PERTURBATION,
    Callbacks,
    Comparison,
    DefenceMeasures,
    Detection,
    How,
    Laid,
    ModelRecord,
    Record,
    Rescoring,
    Result,
    Run,
    Settings,
    Shard,
    Summary,
    Survey,
    UntrustedError,
    VerifyResult,
    apply_universal,
    check_times,
    check_trusted,
    execute,
    full_reference,
    make_profile,
    make_survey,
    make_universal,
    measure_defence,
    measured,
    summary_at,
)
from iqattack.runs import compare as compare_runs
from iqattack.runs import detect as detect_run
from iqattack.runs import merge as merge_runs
from iqattack.runs import rescore as rescore_run
from iqattack.runs import verify as verify_run
from iqattack.runs.behind import KEYS
from iqattack.runs.export import SHARD
from iqattack.runs.export import export as export_run
from iqattack.runs.files import write_text
from iqattack.runs.how import EVERYTHING
from iqattack.runs.verify import TOLERANCE
from iqattack.scoring import (
    DEFAULT_RETRY,
    Ceiling,
    CeilingReached,
    Executor,
    InProcess,
    Processes,
    Retry,
    ScorePool,
    Threads,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "ATTACKS",
    "Answer",
    "BudgetSpent",
    "Callbacks",
    "CardCheck",
    "CeilingReached",
    "Comparison",
    "DefenceMeasures",
    "Detection",
    "Executor",
    "ImageSet",
    "InProcess",
    "Perturbation",
    "Probe",
    "Processes",
    "Profile",
    "Rescoring",
    "Result",
    "Retry",
    "Run",
    "ScorePool",
    "Scorer",
    "Settings",
    "Summary",
    "Survey",
    "Task",
    "Threads",
    "TransientError",
    "UntrustedError",
    "VerifyResult",
    "all_attacks",
    "apply",
    "attack",
    "audit",
    "builtin_card",
    "check_card",
    "compare",
    "defend",
    "defended",
    "detect",
    "evaluate",
    "export",
    "find",
    "leaderboard",
    "load_model",
    "merge",
    "model_kinds",
    "open_run",
    "plot",
    "probe",
    "profile",
    "report",
    "rescore",
    "survey",
    "universal",
    "verify",
    "wrap",
]

T = TypeVar("T")
Images = ImageSet | str | Path | Sequence[str | Path]


def attack(
    images: Images,
    model: Scorer | str,
    *,
    out: str | Path,
    defence: str | None = None,
    attack: str | Attack = defaults.ATTACK,
    constraint: str = defaults.CONSTRAINT,
    objective: str = defaults.OBJECTIVE,
    queries: int = defaults.QUERIES,
    budget_total: int | None = None,
    seed: int = defaults.SEED,
    floor: str | None = None,
    mos: str | Path | None = None,
    mos_columns: str | None = None,
    mos_lower_better: bool = False,
    limit: int | None = None,
    convert: bool = False,
    resize: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    concurrency: int | None = None,
    pool: ScorePool | None = None,
    engine: str = "local",
    address: str | None = None,
    gpus_per_worker: float | None = None,
    retry: Retry = DEFAULT_RETRY,
    max_requests: int | None = None,
    max_cost: float | None = None,
    check: bool = True,
    shard: str | None = None,
    survey: str | Path | None = None,
    resume: bool = False,
    accept_changed_model: bool = False,
    accept_lost_log: bool = False,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    input: str | None = None,  # noqa: A002 - as the command line calls it
    timeout: float | None = None,
    device: str = "cpu",
    compile: bool = False,  # noqa: A002 - likewise
    autocast: str | None = None,
    callbacks: Callbacks | None = None,
) -> Run:
    """Attack images and write the run to the folder `out`.

    images: an image set, or folders, files, patterns and lists as on the command line.
    model: the result of `load_model` or `wrap`, or a spec, which is then loaded with `score_range`,
        `lower_better`, `input`, `timeout`, `device`, `compile` and `autocast`. A run records a
        spec, but of an object only its name, range and direction.
    defence: defences before the model, such as `jpeg:75+median:3`; every query passes through them.
    attack, constraint, objective, floor: specs as on the command line; an attack may also be a
        generator function of a `Task`, of which a run records only the name.
    queries: budget per image, the clean image included.
    budget_total: budget for all images together, with the set objectives `srocc` and `top:3`; one
        image then gets at most four equal shares, and never more than `queries`.
    mos: table of opinion scores. mos_columns: its columns if they are not recognised, as
        `image=NAME,mos=NAME` or `dmos=NAME`; columns may be given by number, from 1.
        mos_lower_better: for a set that has difference scores; a table declares this itself.
    limit: use only the first `limit` images.
    convert: also accept 16-bit, CMYK and transparent images, and convert them to 8-bit RGB.
    resize: shrink larger images to this long side, in pixels, as they are read; the attacked image
        has that size.
    batch: images per forward pass; None finds it by timing. Does not change results.
    workers: number of processes, each with its own model and a share of the images; concurrency:
        number of concurrent calls, from threads, for a model that waits for a service; pool: any
        scorer pool, such as `Executor(model, executor, calls)`. At most one of the three; none
        changes results.
    device: where the model runs, as torch names it; with `cuda`, workers share all GPUs.
    compile: run a torch module through `torch.compile`; autocast: to `bfloat16` or `float16`. Both
        change scores, so the run records them.
    engine: `local`, or `ray` for workers as actors of a Ray cluster, by default as many as it has
        room for. address: of the cluster, as `ray.init` takes it; by default RAY_ADDRESS, or else a
        local Ray that lasts as long as the run. gpus_per_worker: a share such as 0.25, by default 1
        if the device is a GPU.
    retry: what to do about timeouts, lost connections and `TransientError`.
    max_requests: number of images that may be sent to the model over all sessions of the run,
        retries included; max_cost: what they may cost, for a model with a known price.
    check: score two clean images again before the search, at four queries of each one's budget, to
        detect a stochastic model and one whose scores depend on the batch; skipped below 20
        queries. A resumed run keeps its original setting.
    shard: such as `3/16`: attack only the third of 16 equal parts of the images; `merge` joins all
        parts into one run. survey: a file that `survey` wrote about all these images, from which
        their clean scores are taken. With `rank`, a shard needs a survey; without one, its model is
        not checked.
    resume: continue the run in `out`, or start one if there is none. accept_changed_model: even if
        the model's files have changed; the run records since when. accept_lost_log: even if its log
        has lost queries, which are then repeated and paid again.

    Images that could not be attacked have a `status` with the reason. Raises InputError for
    arguments that cannot be used, RunError for a folder that does not fit.
    """
    model = _behind(defence, model)
    how = How(
        batch=batch,
        workers=workers,
        concurrency=concurrency,
        pool=pool,
        engine=engine,
        address=address,
        gpus_per_worker=gpus_per_worker,
        retry=retry,
        device=device,
        timeout=timeout,
        max_requests=max_requests,
        max_cost=max_cost,
    )
    return _attacked(
        images,
        model,
        how=how,
        out=out,
        attack=attack,
        constraint=constraint,
        objective=objective,
        queries=queries,
        budget_total=budget_total,
        seed=seed,
        floor=floor,
        mos=mos,
        mos_columns=mos_columns,
        mos_lower_better=mos_lower_better,
        limit=limit,
        convert=convert,
        resize=resize,
        check=check,
        shard=shard,
        survey=survey,
        resume=resume,
        accept_changed_model=accept_changed_model,
        accept_lost_log=accept_lost_log,
        score_range=score_range,
        lower_better=lower_better,
        input=input,
        inference=Inference(compile, autocast),
        callbacks=callbacks,
    )


def _attacked(
    images: Images,
    model: Scorer | str,
    *,
    how: How,
    out: str | Path,
    attack: str | Attack,
    objective: str,
    resume: bool,
    callbacks: Callbacks | None,
    check: bool = True,
    shard: str | None = None,
    survey: str | Path | None = None,
    accept_changed_model: bool = False,
    accept_lost_log: bool = False,
    inference: Inference = EAGER,
    **given: Any,
) -> Run:
    """As `attack`, of a model that has its defences; given: as in `_prepared`."""
    folder = _path("out", out)
    function = None if isinstance(attack, str) else attack
    notify = callbacks or Callbacks()
    begun = resume and os.path.lexists(folder / "run.toml")
    surveyed = None if survey is None else Survey.read(_path("survey", survey))
    if shard is not None:
        check = _check_of_shard(shard, objective, surveyed, check, notify)
    chosen, settings, scorer = _prepared(
        images,
        model,
        attack=_named(attack),
        objective=objective,
        check=check,
        shard=shard,
        timeout=how.timeout,
        device=how.device,
        inference=inference,
        notify=notify,
        begun=begun,
        **given,
    )
    for phrase in chosen.notes:
        notify.note("images", phrase)
    start: Callable[..., Run] = Run.create
    if resume and not begun:
        notify.note("run", f"no run in {folder} yet; starting one")
    elif begun:
        start = partial(
            Run.resume,
            accept_changed_model=accept_changed_model,
            accept_lost_log=accept_lost_log,
        )
    elif accept_changed_model or accept_lost_log:
        name = "accept_changed_model" if accept_changed_model else "accept_lost_log"
        raise InputError(f"{name} applies to a run that is resumed; set resume, or leave it out")
    with _closing(scorer, model), start(folder, settings, scorer, how.retry) as run:
        by_spec = isinstance(model, str)
        execute(
            run,
            chosen,
            scorer,
            by_spec=by_spec,
            attack=function,
            survey=surveyed,
            how=how,
            callbacks=notify,
        )
    return run


def _check_of_shard(
    shard: str,
    objective: str,
    surveyed: tuple[Survey, str] | None,
    check: bool,
    notify: Callbacks,
) -> bool:
    """Return whether to check the model of a shard; InputError if the shard needs a survey."""
    aim = parse_objective(objective)
    if surveyed is None and aim.of_set and not isinstance(aim, SetObjective):
        raise InputError(
            f"shard {Shard.parse(shard)}: with objective {objective}, the direction of an image "
            "depends on the scores of all images; score them once with 'iqattack survey', and give "
            "its file to each shard with --survey, or use up, down or farther"
        )
    if check and (surveyed is None or surveyed[0].check is None):
        notify.note(
            "model",
            "not checked: the check needs two images of the whole set, whose scores a survey "
            "provides ('iqattack survey', --survey)",
        )
        return False
    return check


def survey(
    images: Images,
    model: Scorer | str,
    *,
    out: str | Path,
    defence: str | None = None,
    limit: int | None = None,
    convert: bool = False,
    resize: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    concurrency: int | None = None,
    pool: ScorePool | None = None,
    engine: str = "local",
    address: str | None = None,
    gpus_per_worker: float | None = None,
    retry: Retry = DEFAULT_RETRY,
    max_requests: int | None = None,
    max_cost: float | None = None,
    check: bool = True,
    resume: bool = False,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    input: str | None = None,  # noqa: A002
    timeout: float | None = None,
    device: str = "cpu",
    compile: bool = False,  # noqa: A002
    autocast: str | None = None,
    callbacks: Callbacks | None = None,
) -> Survey:
    """Score all clean images once, for runs on parts of them, and write the scores to the file
    `out`.

    One query per image and, with `check`, four more for two of them: the first queries of a run,
    which `attack(..., survey=out)` takes from the file. limit: that of the later attack. resume:
    continue an interrupted survey; a finished one is returned unchanged. Other arguments as in
    `attack`.

    Images that could not be scored are in `failed`. Raises InputError for arguments that cannot be
    used, RunError for a path that does not fit.
    """
    model = _behind(defence, model)
    how = How(
        batch=batch,
        workers=workers,
        concurrency=concurrency,
        pool=pool,
        engine=engine,
        address=address,
        gpus_per_worker=gpus_per_worker,
        retry=retry,
        device=device,
        timeout=timeout,
        max_requests=max_requests,
        max_cost=max_cost,
    )
    path = _path("out", out)
    notify = callbacks or Callbacks()
    chosen, settings, scorer = _prepared(
        images,
        model,
        score_range=score_range,
        lower_better=lower_better,
        constraint=defaults.CONSTRAINT,  # clean scores do not depend on it
        limit=limit,
        convert=convert,
        resize=resize,
        check=check,
        input=input,
        timeout=timeout,
        device=device,
        inference=Inference(compile, autocast),
        notify=notify,
    )
    for phrase in chosen.notes:
        notify.note("images", phrase)
    with _closing(scorer, model):
        return make_survey(
            path,
            settings,
            chosen,
            scorer,
            resume=resume,
            by_spec=isinstance(model, str),
            how=how,
            callbacks=notify,
        )


def merge(*runs: Run | str | Path, out: str | Path, callbacks: Callbacks | None = None) -> Run:
    """Merge all shards of a set into one run in the folder `out`, equal to that of a single
    process.

    If shards have pending images, so has the run, which can be resumed like any other. Raises
    RunError, and writes nothing, if the shards do not make up one set, differ in a setting, the
    model or the survey, or if a log was changed.
    """
    folders = [run.folder if isinstance(run, Run) else _path("run", run) for run in runs]
    return merge_runs(folders, _path("out", out), callbacks=callbacks)


def profile(
    images: Images,
    model: Scorer | str,
    *,
    out: str | Path,
    constraint: str = defaults.CONSTRAINT,
    objective: str = defaults.OBJECTIVE,
    queries: int = 500,
    seed: int = defaults.SEED,
    strokes: int = 16,
    students: int = 0,
    limit: int | None = None,
    convert: bool = False,
    resize: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    concurrency: int | None = None,
    pool: ScorePool | None = None,
    retry: Retry = DEFAULT_RETRY,
    max_requests: int | None = None,
    max_cost: float | None = None,
    resume: bool = False,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    input: str | None = None,  # noqa: A002
    timeout: float | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Profile:
    """Learn from images what moves a model's scores, for `filter-search:profile=OUT/profile.json`.

    queries: budget of the search on one image. Trying the filters of the other images costs at most
        one query for each of them and for each direction of the bank. All queries are counted in
        the profile's `queries`.
    strokes: most directions in the profile.
    students: total queries to train small networks on how the model can be moved; 0 for no
        students. They also take minutes of one core. Other arguments as in `attack`.

    Raises InputError for arguments that cannot be used and if nothing moves any score, RunError for
    a folder that does not fit.
    """
    how = How(
        batch=batch,
        workers=workers,
        concurrency=concurrency,
        pool=pool,
        retry=retry,
        device=device,
        timeout=timeout,
        max_requests=max_requests,
        max_cost=max_cost,
    )
    make = partial(
        make_profile,
        _path("out", out),
        strokes=strokes,
        students=students,
        resume=resume,
        how=how,
        callbacks=callbacks,
    )
    return _learnt(
        make,
        images,
        model,
        score_range=score_range,
        lower_better=lower_better,
        constraint=constraint,
        objective=objective,
        queries=queries,
        seed=seed,
        limit=limit,
        convert=convert,
        resize=resize,
        input=input,
        timeout=timeout,
        device=device,
        notify=callbacks or Callbacks(),
    )


def universal(
    images: Images,
    model: Scorer | str,
    *,
    out: str | Path,
    constraint: str = defaults.CONSTRAINT,
    objective: str = defaults.OBJECTIVE,
    queries: int = 5000,
    seed: int = defaults.SEED,
    way: str = "filter",
    k: int = 8,
    minibatch: int = 4,
    jpeg: int | None = None,
    limit: int | None = None,
    convert: bool = False,
    resize: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    concurrency: int | None = None,
    pool: ScorePool | None = None,
    retry: Retry = DEFAULT_RETRY,
    max_requests: int | None = None,
    max_cost: float | None = None,
    resume: bool = False,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    input: str | None = None,  # noqa: A002
    timeout: float | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Perturbation:
    """Learn patterns that move a model's scores on any image, for `apply` and the attack
    `universal:file=OUT/perturbation.safetensors`.

    queries: budget for all images together, clean ones included. objective: `rank` learns patterns
        for both directions, each on the images that it applies to; `up` and `down` one direction,
        on all.
    way: `filter` is ours; `nes`, `evolution` and `square` learn fixed tiles, as in the literature.
    k: most patterns for each direction. minibatch: number of images on which a candidate is tried.
        jpeg: quality at which every image is compressed before it is scored, so that the patterns
        survive it; None for no JPEG. Other arguments as in `attack`.

    Raises InputError for arguments that cannot be used, RunError for a folder that does not fit.
    """
    how = How(
        batch=batch,
        workers=workers,
        concurrency=concurrency,
        pool=pool,
        retry=retry,
        device=device,
        timeout=timeout,
        max_requests=max_requests,
        max_cost=max_cost,
    )
    make = partial(
        make_universal,
        _path("out", out),
        way=way,
        most=k,
        minibatch=minibatch,
        jpeg=jpeg,
        resume=resume,
        how=how,
        callbacks=callbacks,
    )
    return _learnt(
        make,
        images,
        model,
        score_range=score_range,
        lower_better=lower_better,
        constraint=constraint,
        objective=objective,
        queries=queries,
        seed=seed,
        limit=limit,
        convert=convert,
        resize=resize,
        input=input,
        timeout=timeout,
        device=device,
        notify=callbacks or Callbacks(),
    )


def audit(
    model: Scorer | str,
    images: Images | None = None,
    *,
    out: str | Path,
    suite: str | Suite = "standard",
    defence: str | None = None,
    limit: int | None = None,
    mos: str | Path | None = None,
    mos_columns: str | None = None,
    mos_lower_better: bool = False,
    convert: bool = False,
    resize: int | None = None,
    batch: int | None = None,
    workers: int | None = None,
    concurrency: int | None = None,
    retry: Retry = DEFAULT_RETRY,
    max_requests: int | None = None,
    max_cost: float | None = None,
    policy: str | Path | None = None,
    verified: bool = True,
    rescore: int | None = None,
    resume: bool = False,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    input: str | None = None,  # noqa: A002 - as the command line calls it
    timeout: float | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Card:
    """Run a suite of attacks on a model, and write its card, `card.json` in the folder `out`, with
    `index.html`, its page.

    images: the sample set by default, with its pseudo-MOS. suite: `quick`, `standard`, `quick-v1`
    or a file, `mine.toml`. limit: use only the first `limit` images, even if the suite has more.
    policy: a file of rules on which the page reports, kept as `policy.toml`. verified: whether to
    score every saved image again, at one query per score. rescore: fresh scores of the clean and of
    the attacked version of each image, for a model with noisy scores, see `rescore`; the card then
    has the gain without selection bias, too. resume: continue the audit in `out`.
    max_requests, max_cost: as in `attack`, but for all runs of the audit together, including their
    verification; CeilingReached before more is sent. Other arguments as in `attack`.

    The runs are in `out/runs`, each as `attack` writes it. Raises InputError for arguments that
    cannot be used, RunError for a folder that does not fit.
    """
    notify = callbacks or Callbacks()
    how = How(
        batch=batch,
        workers=workers,
        concurrency=concurrency,
        retry=retry,
        device=device,
        timeout=timeout,
        max_requests=max_requests,
        max_cost=max_cost,
        ceiling_of="the audit",
    )
    chosen = read_suite(suite) if isinstance(suite, str) else suite
    if not isinstance(chosen, Suite):
        raise InputError(f"suite {suite!r}: expected a name, such as 'quick', or a Suite")
    model = _behind(defence, model)
    if not isinstance(model, str):
        _check_scorer(model)
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: expected at least 1 image")
    if rescore is not None:
        check_times(rescore)
    if policy is not None:
        read_policy(policy).check(chosen, mos=mos is not None or images is None)
        rules = Path(policy).read_text(encoding="utf-8")
    if images is not None:
        _resolve(images, mos, mos_columns, mos_lower_better, limit, notify)
    # Anything wrong with the model or the attacks is found before any output or query.
    if isinstance(model, str):
        notify.loading(_loading_model(model))
        loaded: Scorer = load_model(
            model,
            score_range=score_range,
            lower_better=lower_better,
            input=input,
            timeout=timeout,
            device=device,
        )
    else:
        loaded = model
    with _closing(loaded, model):
        record = ModelRecord.of(loaded)
        ceiling = how.empty_ceiling(loaded)
        for attempt in chosen.attempts:
            load_attack(attempt.attack, partial(_gradients_of, loaded))

    def attacked(images: Images, model: Scorer | str, *, elsewhere: int, **given: Any) -> Run:
        return _attacked(
            images, model, how=replace(how, elsewhere=elsewhere), callbacks=notify, **given
        )

    def checked(run: Run, ceiling: Ceiling) -> bool:
        return _verified(
            run,
            model,
            timeout=timeout,
            retry=retry,
            device=device,
            callbacks=notify,
            ceiling=ceiling,
        ).ok

    def scored_again(run: Run, elsewhere: int) -> Rescoring:
        alone = replace(how, elsewhere=elsewhere, batch=1, workers=None)
        return _rescored(run.folder, model, times=rescore or 0, how=alone, callbacks=notify)

    def given(name: str, value: object) -> dict[str, str]:
        return {} if value is None else {name: str(value)}

    folder = _path("out", out)
    card = run_audit(
        chosen,
        model,
        images,
        folder,
        Steps(
            attacked,
            partial(evaluate, callbacks=notify),
            checked if verified else None,
            None if rescore is None else scored_again,
            partial(notify.note, "audit"),
        ),
        names={
            "model": model if isinstance(model, str) else model.name,
            **given("model_files", ", ".join(record.hashes) or None),
            **given("images", _listed(images)),
            **given("limit", limit),
            **given("rescore", rescore),
        },
        options={
            "mos": mos,
            "mos_columns": mos_columns,
            "mos_lower_better": mos_lower_better,
            "convert": convert,
            "resize": resize,
            "score_range": score_range,
            "lower_better": lower_better,
            "input": input,
        },
        ceiling=ceiling,
        limit=limit,
        resume=resume,
    )
    if policy is not None:
        write_text(folder / POLICY, rules)
    write_card_page(folder, card)
    return card


def check_card(
    card: str | Path,
    model: Scorer | str | None = None,
    *,
    suite: str | Path | Suite | None = None,
    images: Images | None = None,
    sample: int | None = None,
    defence: str | None = None,
    tolerance: float = TOLERANCE,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    input: str | None = None,  # noqa: A002 - as the command line calls it
    compile: bool = False,  # noqa: A002 - likewise
    autocast: str | None = None,
    timeout: float | None = None,
    retry: Retry = DEFAULT_RETRY,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> CardCheck:
    """Compare a card with the runs beside it, and these with logs, pictures and the model.

    card: a folder that `audit` wrote, possibly somebody else's, or a card alone. model: scores the
    saved images again; without one, only the checks that need no model are made. suite: of the
    card, if it is not a published one. images: the clean images, if the audit did not use the
    sample set. sample: number of images that the model scores again, drawn at random; all by
    default. tolerance: of scores, as in `verify`; with more than the default, the model does not
    count as verified. input, compile, autocast: how to run the model; they are not taken from the
    runs. Other arguments as in `attack`.

    Nothing that a submission names is loaded or run. Raises InputError if there is no card, and for
    a model that cannot be loaded.
    """
    notify = callbacks or Callbacks()
    if timeout is not None:
        check_timeout(timeout)
    if sample is not None and sample < 1:
        raise InputError(f"sample {sample}: expected at least 1 image")
    chosen = read_suite(str(suite)) if isinstance(suite, str | Path) else suite
    found = None if images is None else _resolve(images, None, None, False, None, notify)[0]
    wanted = None if model is None else _behind(defence, model)
    inference = Inference(compile, autocast)
    if wanted is not None and not isinstance(wanted, str):
        _check_scorer(wanted)
        _refuse_late(
            wanted,
            score_range=score_range,
            lower_better=lower_better,
            input=input,
            timeout=timeout,
            device=device,
            inference=inference,
        )
    convention, inference = _way_of(wanted or "", input, inference)
    loaded: list[Scorer] = []

    def load(record: Record) -> Scorer:
        if not isinstance(wanted, str):
            return cast(Scorer, wanted)
        notify.loading(_loading_model(wanted))
        known = record.model
        ends, lower = score_range, lower_better
        for declared in (False, True):  # what it does not declare is taken from the runs
            scorer = load_model(
                wanted,
                score_range=ends,
                lower_better=lower,
                input=input,
                timeout=timeout,
                device=device,
                compile=compile,
                autocast=autocast,
                declared=declared,
            )
            loaded.append(scorer)
            if scorer.score_range is not None and scorer.lower_better is not None:
                break
            ends = known.score_range if scorer.score_range is None else ends
            lower = known.lower_better if scorer.lower_better is None else lower
        return scorer

    def progress(done: int, images: int) -> None:
        notify.checked(done, images)
        if notify.stop():
            raise Interrupted(f"stopped; {done} of {images} images of this run are checked")

    asking = Asking(
        load,
        sample,
        tolerance,
        retry,
        input=Input.parse(convention).text,
        compile=inference.compile,
        autocast=inference.autocast,
    )
    try:
        return run_check(
            card,
            None if wanted is None else asking,
            suite=chosen,
            images=None if found is None else {entry.name: entry.path for entry in found},
            progress=progress,
            note=partial(notify.note, "check"),
        )
    finally:
        for scorer in loaded:
            if isinstance(scorer, Model):
                scorer.close()


def leaderboard(
    entries: Sequence[str | Path],
    out: str | Path,
    *,
    checks: Sequence[CardCheck] = (),
    images: Images | None = None,
    suite: str | Path | Suite | None = None,
    keep_refuted: bool = False,
    callbacks: Callbacks | None = None,
) -> Board:
    """Rank cards on a page, and return its contents; writes `out/index.html` and
    `out/leaderboard.json`.

    entries: folders that `audit` wrote, and cards. Each folder is checked from its files, see
    `check_card`. checks: results of earlier checks, such as with a model, which count for
    byte-identical cards. images, suite: as in `check_card`. keep_refuted: list refuted submissions,
    and entries without a card, below the tables instead of leaving them out.

    An earlier leaderboard in `out` is replaced. Raises InputError for a path that does not exist,
    for an `out` that holds anything else, and if no card is left to rank.
    """

    chosen = read_suite(str(suite)) if isinstance(suite, str | Path) else suite
    if images is not None:  # whose errors are not a submission's fault
        images = _resolve(images, None, None, False, None, callbacks or Callbacks())[0]

    def checked(entry: Path) -> CardCheck:
        return check_card(entry, images=images, suite=chosen, callbacks=callbacks)

    return write_board(
        entries, _path("out", out), checked, checks=checks, keep_refuted=keep_refuted
    )


def apply(
    perturbation: str | Path,
    images: Images,
    *,
    out: str | Path,
    direction: Literal["up", "down"] | None = None,
    number: int = 1,
    constraint: str | None = None,
    seed: int = defaults.SEED,
    limit: int | None = None,
    convert: bool = False,
    resize: int | None = None,
    callbacks: Callbacks | None = None,
) -> list[Laid | InputError]:
    """Apply a universal perturbation to images of any size, without queries; each becomes a PNG in
    `out`.

    perturbation: `perturbation.safetensors`, or its folder. direction: of raw scores; None for the
    only one that was learnt. number: of the pattern, from 1. constraint: None for the one that it
    was learnt with. seed: that of the run whose pictures to reproduce.

    Returns, for each image, the file written or the InputError of an image that cannot be read.
    Raises InputError for a file, direction or number that does not fit, RunError for an `out` that
    is not empty.
    """
    path = _path("perturbation", perturbation)
    chosen, _, _ = _resolve(images, None, None, False, limit, callbacks or Callbacks())
    return apply_universal(
        path / PERTURBATION if path.is_dir() else path,
        chosen,
        _path("out", out),
        rising=None if direction is None else direction == "up",
        number=number,
        constraint=constraint,
        seed=seed,
        convert=convert,
        resize=resize,
        callbacks=callbacks,
    )


def probe(
    model: Scorer | str,
    images: Images | None = None,
    *,
    defence: str | None = None,
    queries: int = QUERIES,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    input: str | None = None,  # noqa: A002
    timeout: float | None = None,
    convert: bool = False,
    resize: int | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Probe:
    """Find a model's quirks before they spoil a result.

    model: a spec, which may declare neither range nor direction, or a loaded model. images: test
    images; the sample set by default. queries: number of images that may be sent. Other arguments
    as in `attack`.

    A failure of the model is a finding. Raises InputError for a model or images that cannot be
    loaded.
    """
    model = _behind(defence, model)
    notify = callbacks or Callbacks()
    loaded: Loaded
    if isinstance(model, str):
        notify.loading(_loading_model(model))
        loaded = load_model(
            model,
            score_range=score_range,
            lower_better=lower_better,
            input=input,
            timeout=timeout,
            device=device,
            declared=False,
        )
    else:
        _check_scorer(model)
        loaded = model
    for phrase in Traits.of(loaded).notes:
        notify.note("model", phrase)
    chosen = None
    if images is not None:
        chosen, _, _ = _resolve(images, None, None, False, None, notify)
        for phrase in chosen.notes:
            notify.note("images", phrase)
    with _closing(loaded, model):
        return run_probe(
            loaded,
            chosen,
            queries=queries,
            convert=convert,
            resize=resize,
            progress=notify.probed,
        )


def open_run(folder: str | Path) -> Run:
    """Open a run on disk, finished or under way; RunError if the folder has none."""
    return _run_of(folder)


def evaluate(
    run: Run | str | Path,
    *,
    queries: int | None = None,
    metrics: Sequence[str] = (),
    display: str | None = None,
    distance: float | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Summary:
    """Compute the measures of a run, finished or under way; RunError while no image is finished.

    queries: evaluate as if this had been the budget, from the log; InputError if it is larger than
        the run's.
    metrics: full-reference metrics of pyiqa, such as `lpips` and `dists`, computed on `device` from
        the saved images; not for a smaller budget.
    display, distance: viewing conditions of JOD and FLIP: a display from ColorVideoVDP's table,
        `standard_fhd` by default, and the viewing distance in metres, by default the display's own.
        Each image is measured once, and its values are kept in the run's visibility.json if that
        can be written.

    Without the packages of `iqattack[visibility]`, JOD and FLIP are None; InputError if display or
    distance are given.
    """
    run = _run_of(run)
    viewing = _viewing(display, distance, queries)
    if queries is not None and metrics:
        raise InputError(
            f"metrics {', '.join(metrics)}: need the saved images, which belong to the full "
            "budget; leave out queries"
        )
    notify = callbacks or Callbacks()
    if queries is None:
        results, pending = run.checked_state()
        results, seen = measured(run, results, viewing, progress=notify.measured)
        summary = run.summary_of(results, pending, seen)
    else:
        summary = summary_at(run, queries)
    if not metrics:
        return summary
    found = full_reference(run, metrics, device=device, progress=notify.checked)
    return summary.model_copy(update={"full_reference": found})


def export(
    run: Run | str | Path,
    webdataset: str | Path,
    *,
    shard_size: int = SHARD,
    callbacks: Callbacks | None = None,
) -> int:
    """Write the attacked images of a run as WebDataset shards, and return their number.

    webdataset: a new folder, for 000000.tar, 000001.tar, …; each has KEY.png and KEY.json of
        `shard_size` images. KEY is the image's number in the run; the JSON has its name, both
        scores, gain, queries, opinion score and the SHA-256 of the clean pixels.

    Raises InputError for a folder that is not empty; RunError if no image is finished or a saved
    image is not the one that was scored.
    """
    notify = callbacks or Callbacks()
    folder = _path("webdataset", webdataset)
    return export_run(_run_of(run), folder, shard_size=shard_size, progress=notify.checked)


def _run_of(run: Run | str | Path) -> Run:
    """Open a run, unless it is open already; errors as in `open_run`."""
    return run if isinstance(run, Run) else Run.open(_path("run", run))


def _runs_of(given: Run | str | Path) -> list[Run]:
    """A run, or all runs of an audit."""
    if not isinstance(given, Run) and is_audit(folder := _path("run", given)):
        return runs_of(folder)
    return [_run_of(given)]


def _path(name: str, given: str | Path) -> Path:
    """A path argument; InputError for an empty text, which would mean the working folder."""
    if given == "":
        raise InputError(f"{name}: is empty; give a path")
    return Path(given)


def _viewing(
    display: str | None, distance: float | None, queries: int | None = None
) -> Viewing | None:
    """The chosen viewing conditions; None for the default."""
    if display is None and distance is None:
        return None
    if queries is not None:
        raise InputError(
            "display, distance: JOD and FLIP need the saved images, which belong to the full "
            "budget; leave out queries"
        )
    return Viewing.of(display, distance)


def report(
    run: Run | str | Path,
    out: str | Path | None = None,
    *,
    display: str | None = None,
    distance: float | None = None,
    callbacks: Callbacks | None = None,
) -> Path:
    """Write the page of a run, finished or under way, or of an audit, and return the path of its
    index.html.

    run: a run, or the folder of an audit. out: the folder of the page, RUN/report by default; an
    earlier page there is replaced. The page of an audit is in its own folder. display, distance:
    viewing conditions of JOD and FLIP, as in `evaluate`; an audit shows those of its runs.

    Raises RunError while no image is finished, or if an audit has no card yet; InputError for a
    folder that holds something else or cannot be written.
    """
    notify = callbacks or Callbacks()
    if not isinstance(run, Run) and is_audit(folder := _path("run", run)):
        for option, value in (("out", out), ("display", display), ("distance", distance)):
            if value is not None:
                raise InputError(
                    f"{option} {value}: the page of an audit is in its own folder and shows what "
                    f"its runs measured; leave --{option} out"
                )
        return write_card_page(folder)
    return write_report(
        _run_of(run),
        None if out is None else _path("out", out),
        viewing=_viewing(display, distance),
        progress=notify.pictured,
        measuring=notify.measured,
    )


def plot(
    runs: Run | str | Path | Sequence[Run | str | Path],
    kind: str = "gain-queries",
    *,
    out: str | Path | None = None,
    labels: Sequence[str] = (),
    columns: int = 1,
    height: float | None = None,
    boundaries: Sequence[float] = (),
    visibility: str = "ssim",
    style: str | Path | None = None,
    data: str | Path | None = None,
    callbacks: Callbacks | None = None,
) -> Figure:
    """Plot runs in one figure for a paper, as a matplotlib Figure, which notebooks show.

    runs: one or several, or the folder of an audit, for all its runs.
    kind: `gain-queries` (mean of the largest gain so far against queries), `scatter` (attacked
        against clean scores), `crossing` (share of images across a score boundary against queries)
        or `ssim` (gain against visibility).
    out: file of the figure, .pdf, .svg, .png or .pgf. data: CSV file of the plotted numbers.
    labels: of each run; by default what differs between them. columns: width in columns of a page,
        1 or 2, for 3.5 and 7.16 inches. height: inches, by default what fits. style: a matplotlib
        style file, which takes precedence over ours.
    boundaries: for `crossing`, as fractions of the way from the clean score to the end of the score
        range; by default those of the objectives, or else 0.1, 0.2 and 0.5 for one run and 0.2 for
        several. visibility: for `ssim`: `ssim`, or `jod`, which is measured as in `evaluate`.

    Changes neither matplotlib's settings nor its backend; the same runs give the same bytes. Raises
    InputError for arguments that cannot be used, and without matplotlib; RunError for a run that
    cannot be drawn.
    """
    request = Request(
        kind,
        tuple(labels),
        columns,
        height,
        None if style is None else _path("style", style),
        tuple(boundaries),
        visibility,
        None if out is None else _path("out", out),
        None if data is None else _path("data", data),
    )
    notify = callbacks or Callbacks()
    notify.loading("reading runs")
    given = [runs] if isinstance(runs, Run | str | Path) else runs
    opened = [run for each in given for run in _runs_of(each)]
    return plot_runs(
        opened,
        request,
        note=notify.note,
        progress=notify.compared,
        measuring=notify.measured,
    )


def compare(
    *runs: Run | str | Path,
    allow: Sequence[str] = (),
    queries: int | None = None,
    display: str | None = None,
    distance: float | None = None,
    callbacks: Callbacks | None = None,
) -> Comparison:
    """Compare runs side by side, with paired tests of each against the first.

    allow: settings that may differ: `images`, `mos`, `range`, `constraint`, `floor`, `objective`,
        `budget`, `seed`; a RunError names any other difference, which would make the comparison
        unfair.
    queries: compare as if this had been every budget, from the logs. display, distance: viewing
        conditions of JOD and FLIP, as in `evaluate`.
    """
    viewing = _viewing(display, distance, queries)
    notify = callbacks or Callbacks()
    notify.loading("reading runs")
    opened = [_run_of(run) for run in runs]
    return compare_runs(
        opened,
        allow=allow,
        queries=queries,
        viewing=viewing,
        progress=notify.compared,
        measuring=notify.measured,
    )


def defended(
    run: Run | str | Path,
    defence: str,
    model: Scorer | str | None = None,
    *,
    adaptive: Run | str | Path | None = None,
    keys: int = KEYS,
    trust: bool = False,
    timeout: float | None = None,
    retry: Retry = DEFAULT_RETRY,
    device: str = "cpu",
    out: str | Path | None = None,
    callbacks: Callbacks | None = None,
) -> DefenceMeasures:
    """Measure how much of a run's attack a defence leaves, and what the defence costs.

    The saved pictures of a run on the undefended model are scored behind the defence: two queries
    per image, which no run's log records. Gains are true gains: behind a random defence, the mean
    over `keys` draws that no attack saw; behind a defence that only changes the reported scores,
    those of the model itself.

    defence: such as `jpeg:75+median:3`. adaptive: a run with the same settings on the defended
        model, for comparison. model, trust, timeout, retry: as in `verify`. out: a CSV file with
        one row per image.

    Raises InputError for a defence that does not exist, or if the model fails; RunError for runs
    that do not fit.
    """
    notify = callbacks or Callbacks()
    run = _run_of(run)
    parse_defence(defence)
    if model is None:
        check_trusted(run, trust=trust, accepting="")
    scorer = _model_of(run, model, timeout=timeout, device=device, notify=notify)

    def progress(done: int, images: int) -> None:
        notify.checked(done, images)
        if notify.stop():
            raise Interrupted(f"stopped; {done} of {images} images scored")

    with _closing(scorer, model if model is not None else run.record.model_spec):
        found = measure_defence(
            run,
            scorer,
            defence,
            adaptive=None if adaptive is None else _run_of(adaptive),
            keys=keys,
            retry=retry,
            progress=progress,
        )
    if out is not None:
        found.write(_path("out", out))
    return found


def detect(
    run: Run | str | Path,
    detector: str = DEFAULT_DETECTOR,
    *,
    accounts: int | Literal["image"] = 1,
    attack: Attack | None = None,
    trust: bool = False,
    out: str | Path | None = None,
    callbacks: Callbacks | None = None,
) -> Detection:
    """Find at which query a detector of similar queries would have blocked the attack of a run.

    Each search is replayed from the log without querying the model, and the detector sees the
    queries in their order.

    detector: such as `blacklight:window=20,matches=25`; see docs/defences.md. accounts: number of
        accounts between which the queries alternate, each with its own state, or `image` for one
        account per image.
    attack: the run's, if that was a Python function. trust: load an attack that is code from a run
        that this user did not begin, but has read. out: a CSV file with one row per image.

    Raises InputError for a detector that does not exist, RunError for a run that cannot be
    replayed.
    """
    notify = callbacks or Callbacks()

    def progress(done: int, images: int) -> None:
        notify.checked(done, images)
        if notify.stop():
            raise Interrupted(f"stopped; {done} of {images} images replayed")

    found = detect_run(
        _run_of(run),
        detector,
        accounts=accounts,
        attack=attack,
        trust=trust,
        progress=progress,
    )
    if out is not None:
        found.write(_path("out", out))
    return found


def verify(
    run: Run | str | Path,
    model: Scorer | str | None = None,
    *,
    trust: bool = False,
    accept_changed_model: bool = False,
    tolerance: float = TOLERANCE,
    timeout: float | None = None,
    retry: Retry = DEFAULT_RETRY,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> VerifyResult:
    """Read every saved image again, score it, and compare with what the run reports.

    model: the run's, if it was not given as a spec or its file has moved; by default it is loaded
        again from the run's spec. If that is code (a file, a module, a service, a command) and this
        user did not begin the run, everything that needs no model is checked, and UntrustedError is
        raised. trust: the code was read, and may run.
    accept_changed_model: continue although the model's files have changed since the run.
    tolerance: of scores, as a fraction of the score range, at most 0.1.
    timeout, retry: as in `attack`.
    """
    return _verified(
        run,
        model,
        trust=trust,
        accept_changed_model=accept_changed_model,
        tolerance=tolerance,
        timeout=timeout,
        retry=retry,
        device=device,
        callbacks=callbacks,
    )


def _verified(
    run: Run | str | Path,
    model: Scorer | str | None,
    *,
    timeout: float | None,
    retry: Retry,
    device: str,
    callbacks: Callbacks | None,
    trust: bool = False,
    accept_changed_model: bool = False,
    tolerance: float = TOLERANCE,
    ceiling: Ceiling | None = None,
) -> VerifyResult:
    """As `verify`; ceiling: of what is sent, if it has one."""
    notify = callbacks or Callbacks()
    run = _run_of(run)
    if model is None:
        _check_trusted(run, trust=trust, accept_changed=accept_changed_model, notify=notify)
    wanted = _model_of(run, model, timeout=timeout, device=device, notify=notify)

    def progress(done: int, images: int) -> None:
        notify.checked(done, images)
        if notify.stop():
            raise Interrupted(f"stopped; {done} of {images} images verified")

    with _closing(wanted, model if model is not None else run.record.model_spec):
        return verify_run(
            run,
            wanted,
            tolerance=tolerance,
            retry=retry,
            accept_changed_model=accept_changed_model,
            ceiling=ceiling,
            progress=progress,
        )


def rescore(
    run: str | Path,
    model: Scorer | str | None = None,
    *,
    times: int,
    trust: bool = False,
    concurrency: int | None = None,
    retry: Retry = DEFAULT_RETRY,
    max_requests: int | None = None,
    max_cost: float | None = None,
    timeout: float | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Rescoring:
    """Score the clean and the attacked picture of each image of a run again, `times` times each.

    The best of many noisy scores is optimistically biased; the mean of scores that had no part in
    the choice is not. Random defences draw anew in each call. Earlier fresh scores count, so an
    interrupted call continues, and a larger `times` adds to them. These queries do not count
    towards the budget.

    From then on, the result is in the measures of `evaluate` and of the page, and in rescored.csv.

    model, trust: as in `verify`. concurrency, retry, max_requests, max_cost, timeout: as in
        `attack`; the limits apply to everything that the run sent to the model.

    Raises InputError if the model fails, RunError for another model than the run's or pictures that
    are not those that were scored.
    """
    how = How(
        batch=1,
        concurrency=concurrency,
        retry=retry,
        device=device,
        timeout=timeout,
        max_requests=max_requests,
        max_cost=max_cost,
    )
    return _rescored(run, model, times=times, how=how, trust=trust, callbacks=callbacks)


def _rescored(
    run: str | Path,
    model: Scorer | str | None,
    *,
    times: int,
    how: How,
    trust: bool = False,
    callbacks: Callbacks | None,
) -> Rescoring:
    """As `rescore`, with everything about the execution in `how`."""
    notify = callbacks or Callbacks()
    with Run.writing(_path("run", run)) as opened:
        if model is None:
            check_trusted(opened, trust=trust, accepting="")
        scorer = _model_of(opened, model, timeout=how.timeout, device=how.device, notify=notify)
        with _closing(scorer, model if model is not None else opened.record.model_spec):
            return rescore_run(
                opened,
                scorer,
                times=times,
                how=how,
                progress=notify.checked,
                stop=notify.stop,
            )


def _model_of(
    run: Run,
    model: Scorer | str | None,
    *,
    timeout: float | None,
    device: str,
    notify: Callbacks,
) -> Scorer:
    """The given model, or the run's, loaded again from its spec; InputError if it cannot be had."""
    if timeout is not None:
        check_timeout(timeout)
    wanted = run.record.model_spec if model is None else model
    if isinstance(wanted, str):
        notify.loading(_loading_model(wanted))
        # Range and direction come from the run: the model may declare none.
        known = run.model
        try:
            wanted = load_model(
                wanted,
                score_range=known.score_range,
                lower_better=known.lower_better,
                input=run.settings.input,
                timeout=timeout,
                device=device,
                compile=run.settings.compile,
                autocast=run.settings.autocast,
            )
        except DeviceError:
            raise
        except InputError as error:
            if model is not None:
                raise
            raise InputError(
                f"{run.folder}: its model cannot be loaded again; give it with --model, or "
                f"verify(run, model) ({error})"
            ) from error
    _check_scorer(wanted)
    return wanted


def _check_trusted(run: Run, *, trust: bool, accept_changed: bool, notify: Callbacks) -> None:
    """Check trust before a run's own model is loaded; the error carries what was found without
    it."""
    try:
        check_trusted(run, trust=trust, accept_changed=accept_changed)
    except UntrustedError as error:
        found = verify_run(run, None, progress=notify.checked)
        error.differences = found.differences
        raise


def _learnt(
    make: Callable[..., T], images: Images, model: Scorer | str, *, notify: Callbacks, **given: Any
) -> T:
    """Return what `make` learns from images about a model. given: as in `_prepared`."""
    if isinstance(parse_objective(given["objective"]), SetObjective):
        raise InputError(f"objective '{given['objective']}': expected rank, up or down")
    chosen, settings, scorer = _prepared(
        images, model, attack="filter-search", notify=notify, **given
    )
    for phrase in chosen.notes:
        notify.note("images", phrase)
    with _closing(scorer, model):
        return make(settings, chosen, scorer, by_spec=isinstance(model, str))


def _prepared(
    images: Images,
    model: Scorer | str,
    *,
    score_range: tuple[float, float] | None,
    lower_better: bool | None,
    limit: int | None,
    input: str | None,  # noqa: A002
    timeout: float | None,
    device: str,
    notify: Callbacks,
    inference: Inference = EAGER,
    mos: str | Path | None = None,
    mos_columns: str | None = None,
    mos_lower_better: bool = False,
    begun: bool = False,
    **given: Any,
) -> tuple[ImageSet, Settings, Scorer]:
    """The images, all settings and the model. given: the rest of the settings. begun: whether a log
    exists, which knows what must be installed.
    """
    chosen, sources, mos_lower_better = _resolve(
        images, mos, mos_columns, mos_lower_better, limit, notify
    )

    convention, how = _way_of(model, input, inference)

    def settings_of(spec: str) -> Settings:
        settings = Settings.of(
            images=sources,
            mos=None if mos is None else str(absolute(mos)),
            mos_columns=mos_columns,
            mos_lower_better=mos_lower_better,
            model=spec,
            input=convention,
            score_range=score_range,
            lower_better=lower_better,
            limit=limit,
            compile=how.compile,
            autocast=how.autocast,
            **given,
        )
        if not begun:
            EVERYTHING.check(settings)
        return settings

    if isinstance(model, str):
        settings = settings_of(model)  # errors in them are found before a model is loaded
        notify.loading(_loading_model(model))
        loaded = load_model(
            model,
            score_range=score_range,
            lower_better=lower_better,
            input=input,
            timeout=timeout,
            device=device,
            compile=how.compile,
            autocast=how.autocast,
        )
        return chosen, settings.model_copy(update={"model": loaded.traits.spec}), loaded
    _check_scorer(model)
    _refuse_late(
        model,
        score_range=score_range,
        lower_better=lower_better,
        input=input,
        timeout=timeout,
        device=device,
        inference=inference,
    )
    return chosen, settings_of(model.name), model


def _way_of(
    model: Scorer | str,
    convention: str | None,
    inference: Inference,
) -> tuple[str | None, Inference]:
    """The input convention and the inference of a run: a loaded model has its own."""
    if isinstance(model, str):
        return convention, inference
    own = getattr(model, "input", None)
    return own if convention is None else convention, getattr(model, "inference", EAGER)


def _refuse_late(
    model: Scorer,
    *,
    score_range: tuple[float, float] | None,
    lower_better: bool | None,
    input: str | None,  # noqa: A002 - as the command line calls it
    timeout: float | None,
    device: str,
    inference: Inference,
) -> None:
    """Raise InputError for loading options that are given with a loaded model."""
    late = [
        name
        for name, value in (
            ("score_range", score_range),
            ("lower_better", lower_better),
            ("input", input),
            ("timeout", timeout),
            ("device", None if device == "cpu" else device),
            ("compile", inference.compile or None),
            ("autocast", inference.autocast),
        )
        if value is not None
    ]
    if late:
        raise InputError(
            f"model '{model.name}' is loaded already: give {' and '.join(late)} to load_model or "
            "wrap"
        )


def _gradients_of(scorer: Scorer, spec: str) -> Gradient:
    """Gradients of the attacked model, or none yet: the run loads a substitute itself."""
    return gradient_of(scorer) if spec == ATTACKED else lambda images: images


def _listed(images: Images | None) -> str | None:
    """The given images on one line; None for none."""
    if images is None or isinstance(images, ImageSet):
        return None if images is None else f"a set of {len(images):,}"
    return ", ".join([str(images)] if isinstance(images, str | Path) else map(str, images))


def _behind(defence: str | None, model: Scorer | str) -> Scorer | str:
    """A model behind the given defences, if any; a spec stays a spec."""
    if defence is None:
        return model
    chain = parse_defence(defence)
    if not isinstance(model, str):
        _check_scorer(model)
    return spec_of(chain.spec, model) if isinstance(model, str) else defend(model, chain)


def _loading_model(spec: str) -> str:
    """The text shown during loading, without the address of a service or a command, which may
    contain a secret."""
    parts = split_spec(spec)
    if parts is not None:
        return f"{_loading_model(parts[1])}, defended by {parts[0]}"
    kind = spec.partition(":")[0]
    shown = kind in ("builtin", "cnniqa", "pyiqa", "onnx") or kind.endswith(".py")
    return f"loading the model {spec}" if shown else "loading the model"


@contextmanager
def _closing(scorer: Loaded, given: Scorer | str) -> Iterator[None]:
    """Close a model that was loaded here from a spec."""
    try:
        yield
    finally:
        if isinstance(given, str) and isinstance(scorer, Model):
            scorer.close()


def _named(attack: Attack | str) -> str:
    """The spec of an attack; InputError for a function that is not one."""
    if isinstance(attack, str):
        return attack
    whole = attack.func if isinstance(attack, partial) else attack
    name = f"{getattr(whole, '__module__', '')}.{getattr(whole, '__qualname__', repr(whole))}"
    kind = kind_of(attack, name, name)
    check_given(name, kind.function, ())
    return f"{GIVEN}:{kind.name}"


def _check_scorer(model: object) -> None:
    missing = [
        name
        for name in ("name", "score_range", "lower_better", "min_size")
        if not hasattr(model, name)
    ]
    if missing or not callable(model):
        lacks = missing[0] if missing else "__call__"
        raise InputError(
            f"model: {type(model).__name__} has no {lacks}; expected a spec or a loaded model, "
            "such as wrap(function, score_range=(0, 100), lower_better=False, input='float01')"
        )


def _resolve(
    images: Images,
    mos: str | Path | None,
    mos_columns: str | None,
    mos_lower_better: bool,
    limit: int | None,
    notify: Callbacks,
) -> tuple[ImageSet, tuple[str, ...], bool]:
    """The images, their origin, and whether a low MOS means good quality."""
    if isinstance(images, ImageSet):
        chosen, sources = images, tuple(str(absolute(entry.path)) for entry in images)
    else:
        specs = [images] if isinstance(images, str | Path) else list(images)
        odd = next((spec for spec in specs if not isinstance(spec, str | Path)), None)
        if odd is not None:
            raise InputError(
                f"images: contains {type(odd).__name__}, expected paths; save pixels with "
                "write_png first"
            )
        notify.loading("looking for images")
        chosen = ImageSet.from_spec(specs)
        sources = tuple(str(absolute(spec)) for spec in specs)
    if mos is not None:
        mos = _path("mos", mos)
        notify.loading(f"reading the table {Path(mos).name}")
        table = read_mos(mos, mos_columns)
        return match_mos(chosen, table, limit=limit), sources, table.lower_better
    if mos_columns is not None:
        raise InputError(f"mos columns '{mos_columns}' apply to a table; add mos (--mos)")
    return chosen if limit is None else chosen.limit(limit), sources, mos_lower_better
