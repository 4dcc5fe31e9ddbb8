"""Drives the engine and keeps what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from iqattack.attacks import ATTACKED, Gradient, labelled, load_attack, taken_files
from iqattack.constraints import parse_constraint, parse_floor
from iqattack.directions import read_profile
from iqattack.engine import Engine, Failure, Interrupted, Progress, QueryLog
from iqattack.errors import InputError, IqattackError, RunError
from iqattack.images import ImageSet, write_png
from iqattack.models import Scorer, gradient_of, load_model
from iqattack.objectives import parse_objective
from iqattack.runs.results import Result
from iqattack.runs.run import Run
from iqattack.runs.settings import Settings
from iqattack.runs.summary import Session, Summary, summarise


@dataclass(frozen=True)
class Callbacks:
    """What a person may want to know or decide while a run is under way.

    stop: asked between batches; True ends the run, which can be resumed.
    note: (image, phrase) on an image that was converted. failed: (image, reason).
    progress: where the run stands, after every batch.
    checked: (images done, images) while a run is verified; pictured: while its page is written.
    """

    stop: Callable[[], bool] = lambda: False
    note: Callable[[str, str], None] = lambda *_: None
    failed: Callable[[str, str], None] = lambda *_: None
    progress: Callable[[Progress], None] = lambda *_: None
    checked: Callable[[int, int], None] = lambda *_: None
    pictured: Callable[[int, int], None] = lambda *_: None


def execute(
    run: Run,
    images: ImageSet,
    scorer: Scorer,
    *,
    batch: int | None = None,
    device: str = "cpu",
    callbacks: Callbacks | None = None,
) -> Summary:
    """Attack the images that the run has no result for, and write everything.

    device: of models whose gradients the attack takes, other than the scorer.

    An image that cannot be attacked does not stop the others: its row in results.csv says why.

    Raises Interrupted when asked to stop; InputError when the model is at fault, the disk is full
    or no image could be attacked; RunError when the log does not fit. What was scored is kept, but
    of a run just created that got nowhere nothing is left.
    """
    told = callbacks or Callbacks()
    settings, label = run.settings, labelled(run.settings.attack, run.settings.model)
    failures: dict[str, Result] = {}
    last: list[Progress] = []

    def progress(state: Progress) -> None:
        last[:] = [state]
        told.progress(state)

    def gradients(spec: str) -> Gradient:
        if spec == ATTACKED:
            return gradient_of(scorer)
        # Of a substitute neither range nor direction matters.
        return gradient_of(
            load_model(spec, score_range=(0.0, 1.0), lower_better=False, device=device)
        )

    def engine(log: QueryLog) -> Engine:
        return Engine(
            scorer,
            load_attack(settings.attack, gradients),
            parse_constraint(settings.constraint),
            parse_objective(settings.objective),
            queries=settings.queries,
            seed=settings.seed,
            floor=None if settings.floor is None else parse_floor(settings.floor),
            batch=batch,
            convert=settings.convert,
            log=log,
            stop=told.stop,
            note=told.note,
            progress=progress,
        )

    def session() -> Session | None:
        if not last or not last[0].queries:
            return run.last_session()
        state = last[0]
        rate = state.queries / max(state.seconds, 1e-9)
        return Session(seconds=state.seconds, queries=state.queries, queries_per_second=rate)

    def write() -> Summary:
        results, pending = run.state(failures)
        summary = summarise(run.record, results, pending, session())
        run.write(results, summary)
        return summary

    log = None
    try:
        log = run.open_log()
        _same_images(run, log, images)
        _forget_lost(run, log, images, told)
        if "profile" in run.record.files:
            _tell_of_profile(settings, images, scorer, told)
        for item in engine(log).run(images):
            if isinstance(item, Failure):
                failures[item.entry.name] = Result.of_failure(item, label)
                told.failed(item.entry.name, item.reason)
            else:
                # The image first: a result in the log says that its file is there.
                write_png(run.images / item.entry.png_name, item.adversarial)
                row = Result.of(item, label)
                log.finish(item.entry.name, row.model_dump_json())
        if len(failures) == len(images):
            first = next(iter(failures.values())).status
            raise InputError(first.partition(": ")[2])
        return write()
    except IqattackError as error:
        if run.fresh and not isinstance(error, Interrupted) and not _worth_keeping(log, failures):
            if log is not None:
                log.close()
            run.discard()
        else:
            with suppress(IqattackError):  # the first error is the one to tell
                write()
        raise
    finally:
        if log is not None:
            log.close()


def _same_images(run: Run, log: QueryLog, images: ImageSet) -> None:
    there, here = log.images(), [entry.name for entry in images]
    if there and there != here:
        odd = sorted(set(there) ^ set(here))
        which = f"such as {odd[0]}" if odd else "in another order"
        raise RunError(
            f"{run.folder}: has {len(there)} images, {len(here)} are given now, {which}; "
            "give the same images or use another --out"
        )


def _forget_lost(run: Run, log: QueryLog, images: ImageSet, told: Callbacks) -> None:
    """Results whose attacked image is gone: the log makes it again, at no query."""
    finished = log.results()
    for entry in images:
        if entry.name in finished and not (run.images / entry.png_name).is_file():
            log.forget(entry.name)
            told.note(entry.name, "its attacked image is gone; it is made again from the log")


def _tell_of_profile(settings: Settings, images: ImageSet, scorer: Scorer, told: Callbacks) -> None:
    """Where a profile was learnt otherwise than it is used, or on the images that it is used on."""
    profile = read_profile(taken_files(settings.attack)["profile"])
    for name, there, here in (
        ("model", profile.model, scorer.name),
        ("constraint", profile.constraint, settings.constraint),
        ("objective", profile.objective, settings.objective.partition(":")[0]),
    ):
        if there != here:
            told.note("profile", f"was learnt with the {name} {there}, and is used with {here}")
    known = [entry.name for entry in images if entry.name in profile.images]
    if known:
        told.note(known[0], f"of {len(known)} images with names of those that taught the profile")


def _worth_keeping(log: QueryLog | None, failures: dict[str, Result]) -> bool:
    """Whether queries were paid for an image that did not fail."""
    return log is not None and any(
        len(log.rows(name)) for name in log.images() if name not in failures
    )
