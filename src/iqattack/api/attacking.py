"""Attacks on a set of images, surveys and parts of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from iqattack.api.common import Images, behind, closing, folder_of, named_attack, path_of, prepared
from iqattack.attacks import Attack, is_of_set
from iqattack.catalogue import defaults
from iqattack.errors import InputError
from iqattack.models import EAGER, Inference, Scorer
from iqattack.objectives import SetObjective, parse_objective
from iqattack.runs import Callbacks, How, Run, Shard, Survey, execute, make_survey
from iqattack.runs import merge as merge_runs
from iqattack.scoring import DEFAULT_RETRY, Retry, ScorePool


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

    >>> import iqattack
    >>> run = iqattack.attack("photos", "builtin", queries=20, limit=3, out="runs/first")
    >>> [row.queries <= 20 for row in run.results]
    [True, True, True]
    >>> run = iqattack.attack(
    ...     "photos", "builtin", attack="noise", queries=20, limit=3, out="runs/second"
    ... )
    >>> run.settings.attack, run.settings.constraint
    ('noise', 'bands:2.5')
    """
    model = behind(defence, model)
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
    return attack_with(
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


def attack_with(
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
    """As `attack`, of a model that has its defences; given: as in `prepared`."""
    folder = path_of("out", out)
    function = None if isinstance(attack, str) else attack
    notify = callbacks or Callbacks()
    begun = resume and os.path.lexists(folder / "run.toml")
    surveyed = None if survey is None else Survey.read(path_of("survey", survey))
    if shard is not None and not (function is None and is_of_set(str(attack))):  # refused below
        check = _check_of_shard(shard, objective, surveyed, check, notify)
    chosen, settings, scorer = prepared(
        images,
        model,
        attack=named_attack(attack),
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
    with closing(scorer, model), start(folder, settings, scorer, how.retry) as run:
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

    >>> import iqattack
    >>> survey = iqattack.survey("photos", "builtin", limit=4, out="survey.json")
    >>> [round(score) for score in survey.scores]
    [83, 47, 27, 36]
    """
    model = behind(defence, model)
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
    path = path_of("out", out)
    notify = callbacks or Callbacks()
    chosen, settings, scorer = prepared(
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
    with closing(scorer, model):
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

    >>> import iqattack
    >>> for shard in ("1/2", "2/2"):
    ...     run = iqattack.attack(
    ...         "photos", "builtin", attack="noise", objective="up", queries=5, limit=4,
    ...         shard=shard, out=f"parts/{shard[0]}",
    ...     )
    >>> run = iqattack.merge("parts/1", "parts/2", out="runs/whole")
    >>> len(run.results)
    4
    """
    return merge_runs([folder_of(run) for run in runs], path_of("out", out), callbacks=callbacks)
