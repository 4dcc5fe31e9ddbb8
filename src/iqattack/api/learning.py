"""What is learnt from some images, for others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

from iqattack.api.common import Images, T, closing, path_of, prepared, resolve_images
from iqattack.catalogue import defaults
from iqattack.directions import Perturbation, Profile
from iqattack.errors import InputError
from iqattack.models import Scorer
from iqattack.objectives import SetObjective, parse_objective
from iqattack.runs import (
    PERTURBATION,
    Callbacks,
    How,
    Laid,
    apply_universal,
    make_profile,
    make_universal,
)
from iqattack.scoring import DEFAULT_RETRY, Retry, ScorePool


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

    >>> import iqattack
    >>> profile = iqattack.profile(
    ...     "photos", "builtin", queries=42, limit=2, resize=128, out="profiles/mine"
    ... )
    >>> 1 <= len(profile.strokes) <= 16
    True
    >>> run = iqattack.attack(
    ...     "photos", "builtin", attack="filter-search:profile=profiles/mine/profile.json",
    ...     queries=20, limit=1, out="runs/profiled",
    ... )
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
        path_of("out", out),
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

    >>> import iqattack
    >>> perturbation = iqattack.universal(
    ...     "photos", "builtin", objective="up", queries=60, k=1, limit=4, resize=128,
    ...     out="patterns/mine",
    ... )
    >>> len(perturbation.patterns(rising=True))
    1
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
        path_of("out", out),
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

    >>> import iqattack
    >>> laid = iqattack.apply("patterns/mine", "photos", limit=2, out="perturbed")
    >>> [picture.path.name for picture in laid]
    ['01_astronaut_clean.png', '02_astronaut_gaussian_blur2.png']
    """
    path = path_of("perturbation", perturbation)
    chosen, _, _ = resolve_images(images, None, None, False, limit, callbacks or Callbacks())
    return apply_universal(
        path / PERTURBATION if path.is_dir() else path,
        chosen,
        path_of("out", out),
        rising=None if direction is None else direction == "up",
        number=number,
        constraint=constraint,
        seed=seed,
        convert=convert,
        resize=resize,
        callbacks=callbacks,
    )


def _learnt(
    make: Callable[..., T], images: Images, model: Scorer | str, *, notify: Callbacks, **given: Any
) -> T:
    """Return what `make` learns from images about a model. given: as in `prepared`."""
    if isinstance(parse_objective(given["objective"]), SetObjective):
        raise InputError(f"objective '{given['objective']}': expected rank, up or down")
    chosen, settings, scorer = prepared(
        images, model, attack="filter-search", notify=notify, **given
    )
    for phrase in chosen.notes:
        notify.note("images", phrase)
    with closing(scorer, model):
        return make(settings, chosen, scorer, by_spec=isinstance(model, str))
