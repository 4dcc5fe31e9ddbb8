"""Suites of attacks, their cards and leaderboards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from iqattack.api.attacking import attack_with
from iqattack.api.checking import rescore_with, verify_with
from iqattack.api.common import (
    Images,
    behind,
    check_scorer,
    closing,
    gradients_of,
    listed_images,
    loading_model,
    path_of,
    refuse_late,
    resolve_images,
    way_of,
)
from iqattack.api.results import evaluate
from iqattack.attacks import load_attack
from iqattack.auditing import POLICY, Asking, Card, CardCheck, Steps, Suite, read_policy, read_suite
from iqattack.auditing import audit as run_audit
from iqattack.auditing import check_card as run_check
from iqattack.engine import Interrupted
from iqattack.errors import InputError
from iqattack.models import Inference, Input, Model, Scorer, load_model
from iqattack.models.time_limit import check_timeout
from iqattack.reporting import write_card_page
from iqattack.reporting.board import Board, write_board
from iqattack.runs import Callbacks, How, ModelRecord, Record, Rescoring, Run, check_times
from iqattack.runs.files import write_text
from iqattack.runs.verify import TOLERANCE
from iqattack.scoring import DEFAULT_RETRY, Ceiling, Retry
from iqattack.specs import is_line


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

    >>> import iqattack
    >>> from iqattack.auditing import Attempt, Suite
    >>> suite = Suite(
    ...     name="tiny", version=1, about="One attack.", budgets=(5, 10), limit=2,
    ...     attempts=(Attempt(attack="noise", constraint="linf:3"),),
    ... )
    >>> card = iqattack.audit("builtin", "photos", suite=suite, out="audits/mine")
    >>> card.budgets, card.constraints
    ([5, 10], ['linf:3'])
    >>> line = card.line("noise", "linf:3", 10)
    >>> line.images, line.measures["gain"].value > 0
    (2, True)
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
    model = behind(defence, model)
    if not isinstance(model, str):
        check_scorer(model)
    if limit is not None and limit < 1:
        raise InputError(f"limit {limit}: expected at least 1 image")
    if rescore is not None:
        check_times(rescore)
    if policy is not None:
        read_policy(policy).check(
            chosen, mos=mos is not None or images is None, fresh=rescore is not None
        )
        rules = Path(policy).read_text(encoding="utf-8")
    if images is not None:
        chosen_images, _, _ = resolve_images(
            images, mos, mos_columns, mos_lower_better, limit, notify
        )
        for entry in chosen_images:
            if not is_line(entry.name):  # which a check of the card would refute
                raise InputError(
                    f"{entry.name!a}: expected a name that reads in one direction; rename it"
                )
    # Anything wrong with the model or the attacks is found before any output or query.
    if isinstance(model, str):
        notify.loading(loading_model(model))
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
    with closing(loaded, model):
        record = ModelRecord.of(loaded)
        ceiling = how.empty_ceiling(loaded)
        for attempt in chosen.attempts:
            load_attack(attempt.attack, partial(gradients_of, loaded))

    def attacked(images: Images, model: Scorer | str, *, elsewhere: int, **given: Any) -> Run:
        return attack_with(
            images, model, how=replace(how, elsewhere=elsewhere), callbacks=notify, **given
        )

    def checked(run: Run, ceiling: Ceiling) -> bool:
        return verify_with(
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
        return rescore_with(run, model, times=rescore or 0, how=alone, callbacks=notify)

    def given(name: str, value: object) -> dict[str, str]:
        return {} if value is None else {name: str(value)}

    folder = path_of("out", out)
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
            **given("images", listed_images(images)),
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

    >>> import iqattack
    >>> from iqattack.auditing import Attempt, Suite
    >>> suite = Suite(
    ...     name="tiny", version=1, about="One attack.", budgets=(5, 10), limit=2,
    ...     attempts=(Attempt(attack="noise", constraint="linf:3"),),
    ... )
    >>> check = iqattack.check_card("audits/mine", "builtin", suite=suite, images="photos")
    >>> check.outcome, check.level, check.scored
    ('holds', 'model', 4)
    """
    notify = callbacks or Callbacks()
    if timeout is not None:
        check_timeout(timeout)
    if sample is not None and sample < 1:
        raise InputError(f"sample {sample}: expected at least 1 image")
    chosen = read_suite(str(suite)) if isinstance(suite, str | Path) else suite
    found = None if images is None else resolve_images(images, None, None, False, None, notify)[0]
    wanted = None if model is None else behind(defence, model)
    inference = Inference(compile, autocast)
    if wanted is not None and not isinstance(wanted, str):
        check_scorer(wanted)
        refuse_late(
            wanted,
            score_range=score_range,
            lower_better=lower_better,
            input=input,
            timeout=timeout,
            device=device,
            inference=inference,
        )
    convention, inference = way_of(wanted or "", input, inference)
    loaded: list[Scorer] = []

    def load(record: Record) -> Scorer:
        if not isinstance(wanted, str):
            return cast(Scorer, wanted)
        notify.loading(loading_model(wanted))
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

    >>> import iqattack
    >>> from iqattack.auditing import Attempt, Suite
    >>> suite = Suite(
    ...     name="tiny", version=1, about="One attack.", budgets=(5, 10), limit=2,
    ...     attempts=(Attempt(attack="noise", constraint="linf:3"),),
    ... )
    >>> board = iqattack.leaderboard(["audits/mine"], "board", suite=suite, images="photos")
    >>> ranking = board.sections[0].rankings[0]
    >>> ranking.constraint, [row.model for row in ranking.rows]
    ('linf:3', ['builtin'])
    """

    chosen = read_suite(str(suite)) if isinstance(suite, str | Path) else suite
    if images is not None:  # whose errors are not a submission's fault
        images = resolve_images(images, None, None, False, None, callbacks or Callbacks())[0]

    def checked(entry: Path) -> CardCheck:
        return check_card(entry, images=images, suite=chosen, callbacks=callbacks)

    return write_board(
        entries, path_of("out", out), checked, checks=checks, keep_refuted=keep_refuted
    )
