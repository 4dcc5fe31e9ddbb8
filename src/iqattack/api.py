"""The Python interface, a line per step::

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
    check_given,
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
from iqattack.catalogue.constraints import DEFAULT as DEFAULT_CONSTRAINT
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
    attack: str | Attack = "filter-search",
    constraint: str = DEFAULT_CONSTRAINT,
    objective: str = "rank",
    queries: int = 2000,
    budget_total: int | None = None,
    seed: int = 0,
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
    """Attack images and keep everything in the folder `out`.

    images: a set, or folders, files, patterns and lists as the command line takes them.
    model: what `load_model` or `wrap` gave, or a spec, which is then loaded with `score_range`,
        `lower_better`, `input`, `timeout`, `device`, `compile` and `autocast`. A run remembers a
        spec, and an object only by its name, range and direction.
    defence: what stands before the model, such as `jpeg:75+median:3`; queries go through it.
    attack, constraint, objective, floor: specs as on the command line; an attack may be a generator
        function of a `Task`, too, of which a run remembers the name alone.
    queries: images that the model may score for each image, the clean one included.
    budget_total: for all images together, with objective `srocc` or `top:3`, which are of the whole
        set; of one image up to four equal shares then, and never more than `queries`.
    mos: table of opinion scores. mos_columns: of one that is not recognised, as
        `image=NAME,mos=NAME` or `dmos=NAME`; numbers count from 1. mos_lower_better: for a set that
        brings difference scores along; a table tells by itself.
    limit: only the first so many images.
    convert: take 16-bit, CMYK and transparent images too, converted to 8-bit RGB.
    resize: shrink images whose long side is longer to that many pixels as they are read; the
        attacked image has that size.
    batch: images per forward pass; None finds it by timing. It does not change results.
    workers: processes, each with a model of its own and a share of the images; concurrency: calls
        at once, from threads, for a model that waits on a service; pool: anything that scores, such
        as `Executor(model, executor, calls)`. One of the three at most; none changes results.
    device: where the model runs, as torch names it; workers share out all GPUs of `cuda`.
    compile: run a torch module through `torch.compile`; autocast: to `bfloat16` or `float16`. Both
        change scores, so the run remembers them.
    engine: `local`, or `ray` for workers as actors of a Ray cluster, by default as many as it has
        room for. address: of the cluster, as `ray.init` takes it; by default the one that
        RAY_ADDRESS names, or else a Ray that is started here and ended with the run.
        gpus_per_worker: a share such as 0.25, by default 1 where the device is a GPU.
    retry: what is done about timeouts, lost connections and `TransientError`.
    max_requests: images that may be sent to the model in all sessions of the run, each retry
        counted; max_cost: what they may cost, of a model whose price is known.
    check: score two clean images again before the search, at four queries of their budgets each, to
        find a stochastic model and one whose scores depend on the batch; not below 20 queries. A
        run that is gone on with keeps to what it began with.
    shard: such as `3/16`: attack only the third of 16 equal parts of the images; `merge` makes one
        run of all. survey: the file that `survey` wrote of all these images: their clean scores are
        taken from it. A shard needs one with `rank`, and has no check of the model without.
    resume: go on with the run that is in `out`, or start one where there is none yet.
        accept_changed_model: even where the model's files have other contents; the run keeps since
        when, and says so. accept_lost_log: even where its log has lost queries; those are asked,
        and paid, again.

    Images that could not be attacked have a `status` that says why. Raises InputError for what
    cannot be used, RunError for a folder that does not fit.
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
        mos=mos,
        mos_columns=mos_columns,
        mos_lower_better=mos_lower_better,
        score_range=score_range,
        lower_better=lower_better,
        attack=_named(attack),
        constraint=constraint,
        floor=floor,
        objective=objective,
        queries=queries,
        budget_total=budget_total,
        seed=seed,
        limit=limit,
        convert=convert,
        resize=resize,
        check=check,
        shard=shard,
        input=input,
        timeout=timeout,
        device=device,
        inference=Inference(compile, autocast),
        notify=notify,
        begun=begun,
    )
    for phrase in chosen.notes:
        notify.note("images", phrase)
    start: Callable[..., Run] = Run.create
    if resume and not begun:
        notify.note("run", f"there is none in {folder} yet: it is started")
    elif begun:
        start = partial(
            Run.resume,
            accept_changed_model=accept_changed_model,
            accept_lost_log=accept_lost_log,
        )
    elif accept_changed_model or accept_lost_log:
        name = "accept_changed_model" if accept_changed_model else "accept_lost_log"
        raise InputError(f"{name} applies to a run that is resumed; set resume, or leave it out")
    with _closing(scorer, model), start(folder, settings, scorer, retry) as run:
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
    """Whether the model of a shard is checked; InputError for one that needs a survey."""
    aim = parse_objective(objective)
    if surveyed is None and aim.of_set and not isinstance(aim, SetObjective):
        raise InputError(
            f"shard {Shard.parse(shard)}: with objective {objective} the direction of an image "
            "depends on the scores of all: have them scored once with 'iqattack survey', and give "
            "each shard its file with --survey; up, down and farther need none"
        )
    if check and (surveyed is None or surveyed[0].check is None):
        notify.note(
            "model",
            "is not checked: the check takes two images of the whole set, and its scores come with "
            "a survey ('iqattack survey', --survey)",
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
    """Score all clean images once, for runs on parts of them, and keep that in the file `out`.

    One query for each image, and with `check` four more for two of them: those that a run would ask
    first, and that `attack(..., survey=out)` takes from the file. limit: as the attack will have
    it. resume: go on with one that was interrupted; one that is done is returned as it is. The rest
    is as in `attack`.

    Images that could not be scored are in `failed`. Raises InputError for what cannot be used,
    RunError for a path that does not fit.
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
        constraint=DEFAULT_CONSTRAINT,  # which no clean score depends on
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
    """One run of all shards of a set, in the folder `out`, which is that of a single process.

    Shards may have images that are still to do: the run then has, too, and can be gone on with as
    any other. Raises RunError, and writes nothing, for shards that do not make up one set or differ
    in a setting, in the model or in the survey, and where a log is not as it was written.
    """
    folders = [run.folder if isinstance(run, Run) else _path("run", run) for run in runs]
    return merge_runs(folders, _path("out", out), callbacks=callbacks)


def profile(
    images: Images,
    model: Scorer | str,
    *,
    out: str | Path,
    constraint: str = DEFAULT_CONSTRAINT,
    objective: str = "rank",
    queries: int = 500,
    seed: int = 0,
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

    queries: that the search on one image may take; trying on each image what was found on the
        others costs at most one for each of them and for each direction of the bank. All are
        counted in the profile's `queries`.
    strokes: of the profile, at most.
    students: queries, in all, that small networks learn from where the model can be moved; 0 for
        no students. They take minutes of one core beside the queries. The rest is as in `attack`.

    Raises InputError for what cannot be used and where nothing moves any score, RunError for a
    folder that does not fit.
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
    constraint: str = DEFAULT_CONSTRAINT,
    objective: str = "rank",
    queries: int = 5000,
    seed: int = 0,
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

    queries: for all images together, clean ones included. objective: `rank` learns patterns for
    both directions, each on the images that it is for; `up` and `down` one, on all.
    way: `filter` is ours; `nes`, `evolution` and `square` learn fixed tiles, as others do.
    k: patterns of each direction, at most, to choose from. minibatch: images that a candidate is
        laid on. jpeg: quality that every image is recompressed with before it is scored, so that
        what is learnt survives it; None for no JPEG. The rest is as in `attack`.

    Raises InputError for what cannot be used, RunError for a folder that does not fit.
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
    policy: str | Path | None = None,
    verified: bool = True,
    resume: bool = False,
    score_range: tuple[float, float] | None = None,
    lower_better: bool | None = None,
    input: str | None = None,  # noqa: A002 - as the command line calls it
    timeout: float | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Card:
    """Run a suite of attacks on a model, and write its card: `card.json` in the folder `out`, with
    `index.html`, a page that shows it.

    images: the sample set by default, with its pseudo-MOS. suite: `quick`, `standard`, `quick-v1`
    or a file, `mine.toml`. limit: only the first so many images, though the suite may have more.
    policy: a file of rules that the page reports on, kept as `policy.toml`.
    verified: whether every saved image is scored again, at a query for each score. resume: go on
    with the audit that is in `out`. The rest is as in `attack`.

    The runs lie in `out/runs`, each as `attack` writes it. Raises InputError for what cannot be
    used, RunError for a folder that does not fit.
    """
    notify = callbacks or Callbacks()
    chosen = read_suite(suite) if isinstance(suite, str) else suite
    if not isinstance(chosen, Suite):
        raise InputError(f"suite {suite!r}: expected a name, such as 'quick', or a Suite")
    model = _behind(defence, model)
    if not isinstance(model, str):
        _check_scorer(model)
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: expected at least 1 image")
    if policy is not None:
        read_policy(policy).check(chosen, mos=mos is not None or images is None)
        rules = Path(policy).read_text(encoding="utf-8")
    if images is not None:
        _resolve(images, mos, mos_columns, mos_lower_better, limit, notify)
    # All that may be wrong with model and attacks is found before anything is written or asked.
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
        for attempt in chosen.attempts:
            load_attack(attempt.attack, partial(_gradients_of, loaded))

    def checked(run: Run) -> bool:
        return verify(run, model, timeout=timeout, retry=retry, device=device, callbacks=notify).ok

    def given(name: str, value: object) -> dict[str, str]:
        return {} if value is None else {name: str(value)}

    folder = _path("out", out)
    card = run_audit(
        chosen,
        model,
        images,
        folder,
        Steps(
            attack,
            partial(evaluate, callbacks=notify),
            checked if verified else None,
            partial(notify.note, "audit"),
        ),
        names={
            "model": model if isinstance(model, str) else model.name,
            **given("model_files", ", ".join(record.hashes) or None),
            **given("images", _listed(images)),
            **given("limit", limit),
        },
        options={
            "mos": mos,
            "mos_columns": mos_columns,
            "mos_lower_better": mos_lower_better,
            "convert": convert,
            "resize": resize,
            "batch": batch,
            "workers": workers,
            "concurrency": concurrency,
            "retry": retry,
            "score_range": score_range,
            "lower_better": lower_better,
            "input": input,
            "timeout": timeout,
            "device": device,
            "callbacks": notify,
        },
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
    """Hold a card against the runs beside it, and these against logs, pictures and the model.

    card: the folder that `audit` wrote, which somebody may have sent, or a card alone. model: that
    scores the saved images again; without one, all is checked that needs none. suite: of the card,
    where it is no published one. images: the clean ones, of an audit of other images than the
    sample set. sample: the number of images that the model scores again, drawn at random; all by
    default. tolerance: by how much scores may differ, as in `verify`; with a larger one than the
    default, the model is not verified. input, compile, autocast: how the model is run; what the
    runs have is not taken over. The rest is as in `attack`.

    Nothing that a submission names is loaded or run. Raises InputError for what holds no card, and
    for a model that cannot be loaded.
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
        for declared in (False, True):  # what it does not declare is as the runs have it
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
    """Rank cards in a page, and return what it shows; `out/index.html` and `out/leaderboard.json`.

    entries: folders that `audit` wrote, and cards. Each folder is checked from its files, see
    `check_card`; checks: results of earlier ones, such as with a model, which count for the cards
    of the same bytes. images, suite: as in `check_card`. keep_refuted: list refuted submissions,
    and entries without a card, below the tables, too, instead of leaving them out.

    An earlier leaderboard in `out` is replaced. Raises InputError for a path that there is not, for
    a folder `out` that holds anything else, and where no card is left to rank.
    """

    chosen = read_suite(str(suite)) if isinstance(suite, str | Path) else suite
    if images is not None:  # of which an error is none of a submission's
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
    seed: int = 0,
    limit: int | None = None,
    convert: bool = False,
    resize: int | None = None,
    callbacks: Callbacks | None = None,
) -> list[Laid | InputError]:
    """Lay a universal perturbation on images of any size, at no query; each as a PNG in `out`.

    perturbation: `perturbation.safetensors`, or the folder that it is in. direction: of raw scores;
    None for the only one that was learnt. number: of the pattern, from 1 on. constraint: None for
    the one that it was learnt in. seed: of the run that one wants the same pictures as.

    Returns what was written, or the InputError of an image that cannot be read. Raises InputError
    for a file, direction or number that does not fit, RunError for an `out` that is not empty.
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

    model: a spec, which needs to declare neither range nor direction, or a loaded model.
    images: to ask about; the sample set by default. queries: images that may be sent, at most.
    The rest is as in `attack`.

    A failure of the model is a finding. Raises InputError for what cannot be loaded or read.
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
    """A run on disk, finished or under way; RunError when the folder holds none."""
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
    """The measures of a run, finished or under way; RunError while no image is finished.

    queries: as if the budget had been so many, from the log; InputError for more than it was.
    metrics: full-reference metrics of pyiqa, such as `lpips` and `dists`, computed on `device` from
        the saved images; not for a smaller budget.
    display, distance: of JOD and FLIP: a display of ColorVideoVDP's table, `standard_fhd` by
        default, and the metres from it to the eye, by default its own. Each image is measured once,
        and its values kept in the run's visibility.json, where that can be written.

    Without the packages of `iqattack[visibility]` JOD and FLIP are None; InputError if display or
    distance are given.
    """
    run = _run_of(run)
    viewing = _viewing(display, distance, queries)
    if queries is not None and metrics:
        raise InputError(
            f"metrics {', '.join(metrics)}: need the saved images, which are those of the whole "
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
    """Write the attacked images of a run as WebDataset shards; returns how many there are.

    webdataset: a new folder, for 000000.tar, 000001.tar, …; in each, KEY.png and KEY.json of
        `shard_size` images. KEY is the image's number in the run, and the JSON has its name, both
        scores, gain, queries, opinion score and the SHA-256 of the clean pixels.

    Raises InputError for a folder that is not empty; RunError where no image is finished or a saved
    image is not the one that was scored.
    """
    notify = callbacks or Callbacks()
    folder = _path("webdataset", webdataset)
    return export_run(_run_of(run), folder, shard_size=shard_size, progress=notify.checked)


def _run_of(run: Run | str | Path) -> Run:
    """A run to read, which may be open already; errors as in `open_run`."""
    return run if isinstance(run, Run) else Run.open(_path("run", run))


def _runs_of(given: Run | str | Path) -> list[Run]:
    """A run, or all those of an audit."""
    if not isinstance(given, Run) and is_audit(folder := _path("run", given)):
        return runs_of(folder)
    return [_run_of(given)]


def _path(name: str, given: str | Path) -> Path:
    """A path that was given; InputError for an empty text, which would be the working folder."""
    if given == "":
        raise InputError(f"{name}: is empty, expected a path; give one")
    return Path(given)


def _viewing(
    display: str | None, distance: float | None, queries: int | None = None
) -> Viewing | None:
    """What was chosen; None for the usual one."""
    if display is None and distance is None:
        return None
    if queries is not None:
        raise InputError(
            "display, distance: JOD and FLIP need the saved images, which are those of the whole "
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

    run: of an audit, its folder. out: the folder of the page, RUN/report by default; an earlier
    page there is replaced. The page of an audit lies in its folder. display, distance: of JOD and
    FLIP, as in `evaluate`; those of an audit are as its runs measured them.

    Raises RunError while no image is finished, or where an audit has no card yet; InputError for a
    folder that holds something else or cannot be written.
    """
    notify = callbacks or Callbacks()
    if not isinstance(run, Run) and is_audit(folder := _path("run", run)):
        for option, value in (("out", out), ("display", display), ("distance", distance)):
            if value is not None:
                raise InputError(
                    f"{option} {value}: the page of an audit lies in its folder and shows what its "
                    f"runs measured; leave --{option} out"
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
    """Draw runs in one figure for a paper, as a matplotlib Figure, which notebooks show.

    runs: one or several, or the folder of an audit, for all its runs.
    kind: `gain-queries` (mean of the largest gain so far against queries), `scatter` (attacked
        against clean scores), `crossing` (share of images across a score boundary against queries)
        or `ssim` (gain against how visible the change is).
    out: a file for it, .pdf, .svg, .png or .pgf. data: a CSV file for the numbers that are drawn.
    labels: what each run is called; by default what differs between them. columns: of a page, 1 or
        2, for 3.5 and 7.16 inches. height: inches, by default what fits. style: a style file of
        matplotlib, which goes before ours.
    boundaries: of `crossing`, as fractions of the way from the clean score to the end of the score
        range; by default those of the objectives, or else 0.1, 0.2 and 0.5 for one run and 0.2 for
        several. visibility: of `ssim`: `ssim`, or `jod`, which is measured as in `evaluate`.

    Neither the settings of matplotlib nor its backend are changed, and the same runs give the same
    bytes. Raises InputError for what cannot be used, and without matplotlib; RunError for a run
    that cannot be drawn.
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
    """Runs side by side, with paired tests of each against the first.

    allow: settings that may differ all the same: `images`, `mos`, `range`, `constraint`, `floor`,
        `objective`, `budget`, `seed`; without, RunError tells why a comparison would be unfair.
    queries: as if the budget of all had been so many, from their logs. display, distance: of JOD
    and FLIP, as in `evaluate`.
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
    """What a defence leaves of the attack of a run, and what it costs.

    The saved pictures of a run on the undefended model are scored behind the defence: two queries
    an image, which are in no run's log. Gains are in truth: behind a random defence the mean over
    `keys` draws that no attack saw, behind one that only tells other scores the model's own.

    defence: as `jpeg:75+median:3`. adaptive: a run with the same settings on the defended model,
        shown beside. model, trust, timeout, retry: as in `verify`. out: a CSV file with one row an
        image.

    Raises InputError for a defence that does not exist, or where the model fails; RunError for runs
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
            raise Interrupted(f"stopped; {done} of {images} images are scored")

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
    """At which query a detector of similar queries would have blocked the attack of a run.

    Each search is replayed from the log, the model is asked nothing, and the detector sees the
    queries in their order.

    detector: such as `blacklight:window=20,matches=25`; see docs/defences.md. accounts: that
        queries are dealt to in turn, each with a state of its own, or `image` for one an image.
    attack: the run's, where that was a Python function. trust: load an attack that is code, of a
        run that this user did not begin; it was looked at. out: a CSV file with one row an image.

    Raises InputError for a detector that does not exist, RunError for a run that cannot be
    replayed.
    """
    notify = callbacks or Callbacks()

    def progress(done: int, images: int) -> None:
        notify.checked(done, images)
        if notify.stop():
            raise Interrupted(f"stopped; {done} of {images} images are replayed")

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

    model: the run's, where it was not given as a spec or its file has moved; by default it is
        loaded again as the run has it. Where that is code (a file, a module, a service, a command)
        and this user did not begin the run, all that needs no model is checked, and UntrustedError
        raised. trust: it was looked at, and may run.
    accept_changed_model: go on where the model's files are not those of the run.
    tolerance: by how much scores may differ, as a fraction of the score range, at most 0.1.
    timeout, retry: as in `attack`.
    """
    notify = callbacks or Callbacks()
    run = _run_of(run)
    if model is None:
        _check_trusted(run, trust=trust, accept_changed=accept_changed_model, notify=notify)
    wanted = _model_of(run, model, timeout=timeout, device=device, notify=notify)

    def progress(done: int, images: int) -> None:
        notify.checked(done, images)
        if notify.stop():
            raise Interrupted(f"stopped; {done} of {images} images are verified")

    with _closing(wanted, model if model is not None else run.record.model_spec):
        return verify_run(
            run,
            wanted,
            tolerance=tolerance,
            retry=retry,
            accept_changed_model=accept_changed_model,
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
    the choice is not. Random defences draw anew in each call. What is there already counts, so that
    an interrupted call goes on, and a larger `times` adds to what there is. These queries are
    beside the budget, and counted apart.

    The result is in the measures of `evaluate` and of the page from then on, and in rescored.csv.

    model, trust: as in `verify`. concurrency, retry, max_requests, max_cost, timeout: as in
        `attack`; the ceilings are for all that the run sent to the model.

    Raises InputError where the model fails, RunError for another model than the run's or pictures
    that are not those that were scored.
    """
    notify = callbacks or Callbacks()
    how = How(
        batch=1,
        concurrency=concurrency,
        retry=retry,
        device=device,
        timeout=timeout,
        max_requests=max_requests,
        max_cost=max_cost,
    )
    with Run.writing(_path("run", run)) as opened:
        if model is None:
            check_trusted(opened, trust=trust, accepting="")
        scorer = _model_of(opened, model, timeout=timeout, device=device, notify=notify)
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
    """A run's model, loaded again as the run has it, or the one that is given; InputError where it
    cannot be had.
    """
    if timeout is not None:
        check_timeout(timeout)
    wanted = run.record.model_spec if model is None else model
    if isinstance(wanted, str):
        notify.loading(_loading_model(wanted))
        # Range and direction as the run has them: a spec may be of a model that declares none.
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
    """Before a run's own model is loaded; what is found without it goes with the error."""
    try:
        check_trusted(run, trust=trust, accept_changed=accept_changed)
    except UntrustedError as error:
        found = verify_run(run, None, progress=notify.checked)
        error.differences = found.differences
        raise


def _learnt(
    make: Callable[..., T], images: Images, model: Scorer | str, *, notify: Callbacks, **given: Any
) -> T:
    """What `make` learns from images about a model; given: as in `_prepared`."""
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
    """The images, all settings and the model; given: the rest of the settings. begun: the log says
    what the rest of the run needs to be installed.
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
        settings = settings_of(model)  # what is wrong with them is found before a model is loaded
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
    """The input convention and the inference of a run: a model that is loaded has its own."""
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
    """InputError for options of loading that come with a model that is loaded."""
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
    """Of the attacked model, or none yet: a substitute is loaded by the run."""
    return gradient_of(scorer) if spec == ATTACKED else lambda images: images


def _listed(images: Images | None) -> str | None:
    """Which images were given, in one line; None for none."""
    if images is None or isinstance(images, ImageSet):
        return None if images is None else f"a set of {len(images):,}"
    return ", ".join([str(images)] if isinstance(images, str | Path) else map(str, images))


def _behind(defence: str | None, model: Scorer | str) -> Scorer | str:
    """A model with defences before it, if any are given; a spec stays one."""
    if defence is None:
        return model
    chain = parse_defence(defence)
    if not isinstance(model, str):
        _check_scorer(model)
    return spec_of(chain.spec, model) if isinstance(model, str) else defend(model, chain.spec)


def _loading_model(spec: str) -> str:
    """What is said while it loads; the address of a service and a command may hold a secret."""
    parts = split_spec(spec)
    if parts is not None:
        return f"{_loading_model(parts[1])}, defended by {parts[0]}"
    kind = spec.partition(":")[0]
    shown = kind in ("builtin", "cnniqa", "pyiqa", "onnx") or kind.endswith(".py")
    return f"loading the model {spec}" if shown else "loading the model"


@contextmanager
def _closing(scorer: Loaded, given: Scorer | str) -> Iterator[None]:
    """End what a model keeps open that was loaded here, of a spec."""
    try:
        yield
    finally:
        if isinstance(given, str) and isinstance(scorer, Model):
            scorer.close()


def _named(attack: Attack | str) -> str:
    """The spec of an attack; InputError for a function that is no attack."""
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
    """The images, where they came from, and whether a low MOS means good quality."""
    if isinstance(images, ImageSet):
        chosen, sources = images, tuple(str(absolute(entry.path)) for entry in images)
    else:
        specs = [images] if isinstance(images, str | Path) else list(images)
        odd = next((spec for spec in specs if not isinstance(spec, str | Path)), None)
        if odd is not None:
            raise InputError(
                f"images: holds {type(odd).__name__}, expected paths; write pixels with write_png"
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
        raise InputError(f"mos columns '{mos_columns}': are of a table; give mos (--mos), too")
    return chosen if limit is None else chosen.limit(limit), sources, mos_lower_better
