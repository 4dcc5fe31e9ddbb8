"""Runs whose scores are asked for again."""

from __future__ import annotations

from pathlib import Path

from iqattack.api.common import closing, folder_of, given_run, model_of
from iqattack.engine import Interrupted
from iqattack.models import Scorer
from iqattack.runs import (
    Callbacks,
    How,
    Rescoring,
    Run,
    UntrustedError,
    VerifyResult,
    check_trusted,
)
from iqattack.runs import rescore as rescore_run
from iqattack.runs import verify as verify_run
from iqattack.runs.verify import TOLERANCE
from iqattack.scoring import DEFAULT_RETRY, Ceiling, Retry


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

    >>> import iqattack
    >>> result = iqattack.verify("runs/first")
    >>> result.ok, result.checked, result.scored
    (True, 3, 6)
    """
    return verify_with(
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


def verify_with(
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
    run = given_run(run)
    if model is None:
        _check_trusted(run, trust=trust, accept_changed=accept_changed_model, notify=notify)
    wanted = model_of(run, model, timeout=timeout, device=device, notify=notify)

    def progress(done: int, images: int) -> None:
        notify.checked(done, images)
        if notify.stop():
            raise Interrupted(f"stopped; {done} of {images} images verified")

    with closing(wanted, model if model is not None else run.record.model_spec):
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
    run: Run | str | Path,
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

    >>> import iqattack
    >>> fresh = iqattack.rescore("runs/first", times=2)
    >>> fresh.queries, fresh.times
    (12, 2)
    >>> abs(fresh.bias) < 1e-9  # this model is deterministic
    True
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
    return rescore_with(run, model, times=times, how=how, trust=trust, callbacks=callbacks)


def rescore_with(
    run: Run | str | Path,
    model: Scorer | str | None,
    *,
    times: int,
    how: How,
    trust: bool = False,
    callbacks: Callbacks | None,
) -> Rescoring:
    """As `rescore`, with everything about the execution in `how`."""
    notify = callbacks or Callbacks()
    with Run.writing(folder_of(run)) as opened:
        if model is None:
            check_trusted(opened, trust=trust, accepting="")
        scorer = model_of(opened, model, timeout=how.timeout, device=how.device, notify=notify)
        with closing(scorer, model if model is not None else opened.record.model_spec):
            return rescore_run(
                opened,
                scorer,
                times=times,
                how=how,
                progress=notify.checked,
                stop=notify.stop,
            )


def _check_trusted(run: Run, *, trust: bool, accept_changed: bool, notify: Callbacks) -> None:
    """Check trust before a run's own model is loaded; the error carries what was found without
    it."""
    try:
        check_trusted(run, trust=trust, accept_changed=accept_changed)
    except UntrustedError as error:
        found = verify_run(run, None, progress=notify.checked)
        error.differences = found.differences
        raise
