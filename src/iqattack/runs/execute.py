"""Drive the engine and record its results."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from iqattack.attacks import Attack, SetAttack, load_set_attack, ranking, taken_files
from iqattack.directions import read_profile
from iqattack.engine import (
    Attacked,
    Engine,
    Failure,
    Interrupted,
    Progress,
    QueryLog,
    Searching,
    check_set,
)
from iqattack.engine.log import TAKEN
from iqattack.errors import InputError, IqattackError, RunError
from iqattack.images import ImageSet, write_bytes
from iqattack.models import Scorer, Traits, suggestion
from iqattack.objectives import parse_objective
from iqattack.runs.checking import Checking
from iqattack.runs.how import DEFAULT_HOW, How, Needed, Setup, paid_again, searching
from iqattack.runs.provenance import finish
from iqattack.runs.ranking import keep_order
from iqattack.runs.results import Saved
from iqattack.runs.run import CheckedState, Run
from iqattack.runs.settings import Settings
from iqattack.runs.shards import Shard, WholeSet
from iqattack.runs.summary import Session, Summary
from iqattack.runs.survey import Survey
from iqattack.runs.visibility import known, measured
from iqattack.scoring import Ceiling, CeilingReached
from iqattack.version import __version__


@dataclass(frozen=True)
class Callbacks:
    """Functions that report and control a run under way.

    stop: called between batches; True ends the run, which can be resumed. note: (image, phrase),
    such as that an image was converted. failed: (image, reason). progress: the state of the run,
    after every reply. checked: (images done, images) while a run is verified; pictured: while its
    page is written. probed: (topic, images sent, ceiling) while a model is probed. loading: what is
    being loaded before the first image is scored, such as `reading images`. compared: (runs done,
    runs) while runs are compared or plotted. merged: (images done, images) while shards are merged.
    measured: (images done, images) while the visibility of changes is measured.

    >>> import iqattack
    >>> model = iqattack.wrap(
    ...     lambda images: images.float().mean((1, 2, 3)),
    ...     name="brightness", score_range=(0, 255), lower_better=False,
    ... )
    >>> states = []
    >>> run = iqattack.attack(
    ...     "photos", model, attack="noise", queries=5, limit=2, out="runs/watched",
    ...     callbacks=iqattack.Callbacks(progress=states.append),
    ... )
    >>> states[-1].done
    2
    """

    stop: Callable[[], bool] = lambda: False
    note: Callable[[str, str], None] = lambda *_: None
    failed: Callable[[str, str], None] = lambda *_: None
    progress: Callable[[Progress], None] = lambda *_: None
    checked: Callable[[int, int], None] = lambda *_: None
    pictured: Callable[[int, int], None] = lambda *_: None
    probed: Callable[[str, int, int], None] = lambda *_: None
    loading: Callable[[str], None] = lambda _: None
    compared: Callable[[int, int], None] = lambda *_: None
    merged: Callable[[int, int], None] = lambda *_: None
    measured: Callable[[int, int], None] = lambda *_: None


def execute(
    run: Run,
    images: ImageSet,
    scorer: Scorer,
    *,
    by_spec: bool = False,
    attack: Attack | None = None,
    survey: tuple[Survey, str] | None = None,
    how: How = DEFAULT_HOW,
    callbacks: Callbacks | None = None,
) -> Summary:
    """Attack the images without a result, and write all files of the run.

    images: the whole set; a shard attacks its part of them. by_spec: whether the scorer was loaded
    from the settings' spec, and can be loaded again. attack: replaces the one in the settings.
    survey: source of the clean scores, from `Survey.read`.

    An image that cannot be attacked does not stop the others: its row in results.csv has the
    reason.

    Raises Interrupted when asked to stop; InputError if nothing could be scored, the disk is full
    or no image could be attacked; RunError if the log does not fit. All scores are kept. A new run
    that scored nothing is removed, unless it is a shard and its images are at fault, since the
    whole run needs their failures.
    """
    notify = callbacks or Callbacks()
    whole, shard = images.anchored(), run.settings.shard
    images = whole if shard is None else _part(run, Shard.parse(shard), whole)
    report = _Report(run, images, notify)
    log = ceiling = None
    asked = False
    try:
        log = run.open_log()
        _check_images(run, log, images, whole)
        if survey is not None:
            _take_over(run, log, *survey, whole, images)
        _forget_lost(run, log, images, notify)
        ceiling = how.ceiling(scorer, log)
        _say_what_to_know(run, log, images, scorer, how, ceiling, notify)
        # A worker loads the model by its spec; an object is pickled.
        setup = Setup(
            run.settings,
            run.record.model_spec if by_spec else scorer,
            how,
            attack,
            needed=Needed.of(log, images),
        )
        with searching(setup, scorer, len(images), notify.stop, ceiling) as searched:
            check = None
            if run.settings.check:
                stop = notify.stop
                check = Checking(run.settings, log, whole, scorer, how, ceiling=ceiling, stop=stop)
            known = None if survey is None else survey[0].known
            asked = True
            _attack_all(run, log, images, scorer, searched, report, check, known, setup)
        failures = log.failures()
        if len(failures) == len(images):
            why = "" if shard is None or not _at_fault(log, survey) else _kept_for(shard, images)
            raise InputError(f"{next(iter(failures.values()))}{why}")
        return report.write(measure=True)
    except IqattackError as error:
        kept = _worth_keeping(log, scorer, attempts=isinstance(error, CeilingReached))
        kept = kept or (shard is not None and log is not None and _at_fault(log, survey))
        if isinstance(error, InputError) and asked and not kept:
            error.args = (f"{error}{_how_it_might_work(run, images, scorer)}",)
        if run.fresh and not isinstance(error, Interrupted) and not kept:
            if log is not None:
                log.close()
            run.discard()
        else:
            with suppress(IqattackError):  # the first error is the one to report
                report.write()
        raise _of_its_version(run, error) from error.__cause__
    finally:
        if log is not None:
            log.close()


def _part(run: Run, shard: Shard, whole: ImageSet) -> ImageSet:
    """The images of a shard; InputError if there are too few, and then the run is removed."""
    try:
        return shard.part(whole)
    except InputError:
        if run.fresh:
            run.discard()
        raise


def _attack_all(
    run: Run,
    log: QueryLog,
    images: ImageSet,
    scorer: Scorer,
    searched: Searching,
    report: _Report,
    check: Checking | None,
    whole: Mapping[str, float] | None,
    setup: Setup,
) -> None:
    """Attack everything that has no result yet; pictures and results are written as they arrive.
    whole: see the engine.
    """
    engine = Engine(
        scorer,
        parse_objective(run.settings.objective),
        searched,
        queries=run.settings.most(len(images)),
        log=log,
        note=report.notify.note,
        progress=report.progress,
        check=check,
        whole=whole,
    )
    items: Iterable[Attacked | Failure] = engine.run(images)
    if run.settings.together:
        items = _of_set(run, log, images, engine, lambda: _set_attack(setup, scorer))
    for item in items:
        if isinstance(item, Failure):
            report.notify.failed(item.entry.name, item.reason)
        elif isinstance(item, Saved):
            # The image first: a result in the log implies that its file exists.
            write_bytes(run.images / item.entry.png_name, item.png)
            finish(log, run.record, item.entry.name, item.row.model_dump_json())


def _set_attack(setup: Setup, scorer: Scorer) -> SetAttack:
    """The attack of a run on all images together."""
    if setup.settings.budget_total is not None:
        return ranking(setup.load_attack(scorer))
    return load_set_attack(setup.settings.attack)


def _of_set(
    run: Run, log: QueryLog, images: ImageSet, engine: Engine, attack: Callable[[], SetAttack]
) -> Sequence[Attacked | Failure]:
    """The events of an attack on all images together; none if all have a result."""
    if len(log.finished()) + len(log.failures()) == len(images) and log.finished():
        return []
    items, returned = engine.run_set(
        images, attack(), total=run.settings.budget_total, tolerant=True
    )
    keep_order(log, returned.order)
    for item in items:
        if isinstance(item, Failure) and item.transient and item.queries:
            raise InputError(
                f"{item.reason}; all images are attacked in one search, which stopped here: "
                "continue with --resume"
            )
    return items


class _Report:
    """Writes results.csv and summary.json of a run under way."""

    def __init__(self, run: Run, images: ImageSet, notify: Callbacks) -> None:
        self._run = run
        self._entries = {entry.name: entry for entry in images}
        self.notify = notify
        self._last: Progress | None = None

    def progress(self, state: Progress) -> None:
        """Keep the state of the run, and forward it."""
        self._last = state
        self.notify.progress(state)

    def write(self, *, measure: bool = False) -> Summary:
        """Write both files; RunError, after the first, if no image is finished.

        measure: also measure the visibility of changes that is not known yet.
        """
        results, pending = self._run.state(self._entries)
        if measure:
            self._run.write_results(results)  # in case measuring is interrupted
            notify = self.notify
            results, seen = measured(self._run, results, progress=notify.measured, stop=notify.stop)
        else:
            results, seen = known(self._run, results)
        self._run.write_results(results)
        state = CheckedState(results, pending)
        summary = self._run.summary_of(state, seen, self._session())
        self._run.write_summary(summary)
        return summary

    def _session(self) -> Session | None:
        last = self._last
        if last is None or not last.queries:
            return self._run.last_session()
        rate = last.queries / max(last.seconds, 1e-9)
        return Session(seconds=last.seconds, queries=last.queries, queries_per_second=rate)


def _how_it_might_work(run: Run, images: ImageSet, scorer: Scorer) -> str:
    """For a model that scored nothing: an input convention that would work."""
    try:
        image = run.read_clean(images.entries[0].path)
    except InputError:
        return ""
    return suggestion(scorer, image)


def _say_what_to_know(
    run: Run,
    log: QueryLog,
    images: ImageSet,
    scorer: Scorer,
    how: How,
    ceiling: Ceiling | None,
    notify: Callbacks,
) -> None:
    """Report, before any query: the model's notes, its possible cost, and a profile that does not
    fit."""
    for phrase in Traits.of(scorer).notes:
        notify.note("model", phrase)
    if run.settings.check and not run.check_wanted:
        notify.note("model", "the run was begun with --check, so --no-check is ignored")
    for change in run.record.changes:
        notify.note("model", change.text)
    for loss in run.record.losses:
        notify.note("log", loss.text)
    total = run.settings.budget_total or len(images) * run.settings.queries
    queries = total - log.kept_number(TAKEN)
    cost = how.may_cost(scorer, queries, log.sent(), ceiling)
    left = not run.fresh and len(log.finished()) < len(images)
    for text in (cost, paid_again(scorer, log) if left else None):
        if text is not None:
            notify.note("model", text)
    if "profile" in run.record.files:
        _compare_profile(run.settings, images, scorer, notify)


def _of_its_version(run: Run, error: IqattackError) -> IqattackError:
    """Explain a log that does not replay: most likely, another version wrote it."""
    begun = run.record.versions.get("iqattack")
    if not isinstance(error, RunError) or begun == __version__:
        return error
    return RunError(f"{error} (iqattack {begun} began the run, this is {__version__})")


def _check_images(run: Run, log: QueryLog, images: ImageSet, whole: ImageSet) -> None:
    """Raise RunError for other images than the run was begun with, InputError for images that do
    not fit its objective.
    """
    _same_images(run, log, images)
    if run.settings.shard is not None:
        _same_set(run, log, whole)
    check_set(parse_objective(run.settings.objective), images, run.settings.budget_total)


def _same_images(run: Run, log: QueryLog, images: ImageSet) -> None:
    there, here = log.images(), [entry.name for entry in images]
    if there and there != here:
        odd = sorted(set(there) ^ set(here))
        which = f"such as {odd[0]}" if odd else "in another order"
        raise RunError(
            f"{run.folder}: was begun with {len(there)} images, {len(here)} are given now, "
            f"{which}; give the same images or use another --out"
        )


def _same_set(run: Run, log: QueryLog, whole: ImageSet) -> None:
    """Record the set of a shard; RunError if it belongs to another set."""
    there, here = WholeSet.read(log), WholeSet.of(whole)
    if there is None:
        here.keep(log)
    elif there != here:
        counts = f"{there.images} images, {here.images} are given now"
        raise RunError(
            f"{run.folder}: is shard {run.settings.shard} of "
            f"{counts if there.images != here.images else 'a set with other names'}; give the "
            "same images or use another --out"
        )


def _take_over(
    run: Run, log: QueryLog, survey: Survey, digest: str, whole: ImageSet, images: ImageSet
) -> None:
    """Take over the clean scores of a survey, before any query; InputError if it does not fit,
    RunError if the run was begun with another survey or none.
    """
    begun = run.record.survey
    if begun is None and any(map(log.queries, log.images())):
        raise RunError(f"{run.folder}: was begun without --survey; leave it out")
    if begun not in (None, digest):
        raise RunError(f"{run.folder}: was begun with another --survey; give that one")
    what = survey.difference(run.record, whole) or survey.changed(images, run.settings)
    if what is not None:
        raise InputError(
            f"--survey does not fit: {what}; score these images with 'iqattack survey'"
        )
    log.open_tasks([entry.name for entry in images])
    run.keep_survey(digest)
    survey.feed(log, run.settings, first=begun is None)


def _forget_lost(run: Run, log: QueryLog, images: ImageSet, notify: Callbacks) -> None:
    """Drop results whose attacked image is missing: it is made again from the log, without
    queries."""
    finished = log.finished()
    for entry in images:
        if entry.name in finished and not (run.images / entry.png_name).is_file():
            log.forget(entry.name)
            notify.note(entry.name, "its attacked image is missing; it is made again from the log")


def _compare_profile(
    settings: Settings, images: ImageSet, scorer: Scorer, notify: Callbacks
) -> None:
    """Report a profile that was learnt with other settings, or on the attacked images
    themselves."""
    profile = read_profile(taken_files(settings.attack)["profile"])
    for name, there, here in (
        ("model", profile.model, scorer.name),
        ("constraint", profile.constraint, settings.constraint),
        ("objective", profile.objective, settings.objective.partition(":")[0]),
    ):
        if there != here:
            notify.note("profile", f"was learnt with {name} {there}, but is used with {here}")
    known = [entry.name for entry in images if entry.name in profile.images]
    if known:
        notify.note(
            known[0],
            f"the first of {len(known)} images that share their names with images of the profile",
        )


def _at_fault(log: QueryLog, survey: tuple[Survey, str] | None) -> bool:
    """Whether all images of a shard failed through their own fault rather than the model's: they
    cannot be read, or the survey, which scored others, has no score for them either.
    """
    names, attempts = log.images(), log.attempts()
    if not names or len(log.failures()) < len(names):
        return False
    if survey is not None:
        return not survey[0].known.keys() & set(names)
    return not any(name in attempts or log.queries(name) for name in names)


def _kept_for(shard: str, images: ImageSet) -> str:
    return (
        f" (all {len(images)} images of shard {shard} failed; it is kept for 'iqattack merge', and "
        "--resume tries them again)"
    )


def _worth_keeping(log: QueryLog | None, scorer: Scorer, *, attempts: bool) -> bool:
    """Whether the log has scores worth keeping.

    attempts: these count, too. Non-finite scores are worth nothing, unless a remote service
    computed them.
    """
    if log is None:
        return False
    if attempts and log.sent() > 0:
        return True
    elsewhere = Traits.of(scorer).concurrency is not None
    return any(
        log.queries(name) and (elsewhere or bool(np.isfinite(log.rows(name)["score"]).any()))
        for name in log.images()
    )
