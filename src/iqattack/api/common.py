"""What several functions of the interface need: images, models, runs, from what users give."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from iqattack.attacks import ATTACKED, GIVEN, Attack, Gradient, kind_of
from iqattack.auditing.audit import is_audit, runs_of
from iqattack.defences import parse_defence
from iqattack.errors import DeviceError, InputError
from iqattack.images import ImageSet, match_mos, read_mos
from iqattack.imports import absolute
from iqattack.models import (
    EAGER,
    Inference,
    Loaded,
    Model,
    Scorer,
    defend,
    gradient_of,
    load_model,
    spec_of,
    split_spec,
)
from iqattack.models.time_limit import check_timeout
from iqattack.options import check_given
from iqattack.perception import Viewing
from iqattack.runs import Callbacks, Run, Settings
from iqattack.runs.how import EVERYTHING

T = TypeVar("T")
Images = ImageSet | str | Path | Sequence[str | Path]


def given_run(run: Run | str | Path) -> Run:
    """Open a run, unless it is open already; errors as in `open_run`."""
    return run if isinstance(run, Run) else Run.open(path_of("run", run))


def folder_of(run: Run | str | Path) -> Path:
    """The folder of a run, open or not."""
    return run.place if isinstance(run, Run) else path_of("run", run)


def given_runs(given: Run | str | Path) -> list[Run]:
    """A run, or all runs of an audit."""
    if not isinstance(given, Run) and is_audit(folder := path_of("run", given)):
        return runs_of(folder)
    return [given_run(given)]


def path_of(name: str, given: str | Path) -> Path:
    """A path argument; InputError for an empty text, which would mean the working folder."""
    if given == "":
        raise InputError(f"{name}: is empty; give a path")
    return Path(given)


def viewing_of(
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


def model_of(
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
        notify.loading(loading_model(wanted))
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
    check_scorer(wanted)
    return wanted


def prepared(
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
    chosen, sources, mos_lower_better = resolve_images(
        images, mos, mos_columns, mos_lower_better, limit, notify
    )

    convention, how = way_of(model, input, inference)

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
        notify.loading(loading_model(model))
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
    check_scorer(model)
    refuse_late(
        model,
        score_range=score_range,
        lower_better=lower_better,
        input=input,
        timeout=timeout,
        device=device,
        inference=inference,
    )
    return chosen, settings_of(model.name), model


def way_of(
    model: Scorer | str,
    convention: str | None,
    inference: Inference,
) -> tuple[str | None, Inference]:
    """The input convention and the inference of a run: a loaded model has its own."""
    if isinstance(model, str):
        return convention, inference
    own = getattr(model, "input", None)
    return own if convention is None else convention, getattr(model, "inference", EAGER)


def refuse_late(
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


def gradients_of(scorer: Scorer, spec: str) -> Gradient:
    """Gradients of the attacked model, or none yet: the run loads a substitute itself."""
    return gradient_of(scorer) if spec == ATTACKED else lambda images: images


def listed_images(images: Images | None) -> str | None:
    """The given images on one line; None for none."""
    if images is None or isinstance(images, ImageSet):
        return None if images is None else f"a set of {len(images):,}"
    return ", ".join([str(images)] if isinstance(images, str | Path) else map(str, images))


def behind(defence: str | None, model: Scorer | str) -> Scorer | str:
    """A model behind the given defences, if any; a spec stays a spec."""
    if defence is None:
        return model
    chain = parse_defence(defence)
    if not isinstance(model, str):
        check_scorer(model)
    return spec_of(chain.spec, model) if isinstance(model, str) else defend(model, chain)


def loading_model(spec: str) -> str:
    """The text shown during loading, without the address of a service or a command, which may
    contain a secret."""
    parts = split_spec(spec)
    if parts is not None:
        return f"{loading_model(parts[1])}, defended by {parts[0]}"
    kind = spec.partition(":")[0]
    shown = kind in ("builtin", "cnniqa", "pyiqa", "onnx") or kind.endswith(".py")
    return f"loading the model {spec}" if shown else "loading the model"


@contextmanager
def closing(scorer: Loaded, given: Scorer | str) -> Iterator[None]:
    """Close a model that was loaded here from a spec."""
    try:
        yield
    finally:
        if isinstance(given, str) and isinstance(scorer, Model):
            scorer.close()


def named_attack(attack: Attack | str) -> str:
    """The spec of an attack; InputError for a function that is not one."""
    if isinstance(attack, str):
        return attack
    whole = attack.func if isinstance(attack, partial) else attack
    name = f"{getattr(whole, '__module__', '')}.{getattr(whole, '__qualname__', repr(whole))}"
    kind = kind_of(attack, name, name)
    check_given(name, kind.function, ())
    return f"{GIVEN}:{kind.name}"


def check_scorer(model: object) -> None:
    """Raise InputError for an object that is no scorer."""
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


def resolve_images(
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
                f"images: contains {type(odd).__name__}, expected paths; "
                "ImageSet.from_tensor(pixels, FOLDER) writes pixels to files"
            )
        notify.loading("looking for images")
        chosen = ImageSet.from_spec(specs)
        sources = tuple(str(absolute(spec)) for spec in specs)
    if mos is not None:
        mos = path_of("mos", mos)
        notify.loading(f"reading the table {Path(mos).name}")
        table = read_mos(mos, mos_columns)
        return match_mos(chosen, table, limit=limit), sources, table.lower_better
    if mos_columns is not None:
        raise InputError(f"mos columns '{mos_columns}' apply to a table; add mos (--mos)")
    return chosen if limit is None else chosen.limit(limit), sources, mos_lower_better
