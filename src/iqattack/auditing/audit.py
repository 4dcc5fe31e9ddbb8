"""An audit: all runs of a suite on one model, resumable as a whole, and its card."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from iqattack.auditing.card import Card
from iqattack.auditing.from_runs import Done, card_of
from iqattack.auditing.parsing import field_and_reason
from iqattack.auditing.soundness import fault_of
from iqattack.auditing.suite import Attempt, Suite
from iqattack.errors import InputError, RunError
from iqattack.runs import Run, Summary
from iqattack.runs.files import cannot_write, read_json, read_text, write_text
from iqattack.runs.rescore import is_worth_rescoring
from iqattack.samples import MOS, write_samples
from iqattack.scoring import Ceiling
from iqattack.specs import printable

CARD = "card.json"
AUDIT = "audit.toml"
POLICY = "policy.toml"  # the latest policy
VERIFIED = "verified.json"  # the verified runs, by the digest of their results
REQUESTS = "requests.json"  # images sent for verification; the runs' logs count their own
PICTURES = "images"  # the sample set, if no images were given


@dataclass(frozen=True)
class Steps:
    """The steps of an audit, as functions of the public interface.

    attack, evaluate, verify: see there; attack receives `elsewhere`, the number of images that the
    other runs and their verification sent, and verify a ceiling, which counts what it sends. verify
    is None if nothing should be scored again. rescore: gives a run fresh scores, also with
    `elsewhere`; None for no fresh scores. note: called with the next step.
    """

    attack: Callable[..., Run]
    evaluate: Callable[[Run], Summary]
    verify: Callable[[Run, Ceiling], bool] | None
    rescore: Callable[[Run, int], object] | None = None
    note: Callable[[str], None] = lambda _phrase: None


def audit(
    suite: Suite,
    model: Any,
    images: Any,
    out: Path,
    steps: Steps,
    *,
    names: Mapping[str, Any],
    options: Mapping[str, Any],
    ceiling: Ceiling | None = None,
    limit: int | None = None,
    resume: bool = False,
) -> Card:
    """Run a suite, and write the card.

    images: as for `iqattack.attack`, None for the sample set. names: everything else that decides
    the result, recorded and compared on resuming. options: for every attack. ceiling: limit on
    everything that the audit sends, which its attacks share.

    Raises RunError for a folder that holds something else, or another audit; CeilingReached, after
    which it can be resumed.
    """
    if images is None and options.get("mos") is not None:
        raise InputError(
            f"mos {options['mos']} applies to your own images; give them, or leave it out: the "
            "sample set has its own"
        )
    _begin(out, {"suite": suite.id, "digest": suite.digest, **names}, resume=resume)
    given = dict(options)
    if images is None:
        folder = out / PICTURES
        if not (folder / MOS).is_file():
            write_samples(folder)
        images, given["mos"] = folder, folder / MOS
    limits = [number for number in (suite.limit, limit) if number is not None]
    known, sent = _Verified(out / VERIFIED, steps.note), _Sent(out, ceiling)
    done, runs = [], len(suite.attempts) * len(suite.seeds)
    for number, (attempt, seed) in enumerate(plan(suite), 1):
        folder = out / "runs" / folder_of(number, attempt, seed)
        steps.note(f"{number} of {runs}: {attempt.attack} in {attempt.constraint}")
        run = steps.attack(
            images,
            model,
            out=folder,
            attack=attempt.attack,
            constraint=attempt.constraint,
            objective=suite.objective,
            queries=suite.budgets[-1],
            seed=seed,
            limit=min(limits, default=None),
            resume=(folder / "run.toml").is_file(),
            elsewhere=sent.beside(folder),
            **given,
        )
        if steps.rescore is not None and is_worth_rescoring(run):
            steps.rescore(run, sent.beside(folder))
        summary = steps.evaluate(run)
        if summary.pending:
            raise RunError(f"{run.folder}: {summary.pending} images are pending; resume it")
        verified = known.of(run, None if steps.verify is None else sent.counted(steps.verify))
        done.append(Done(run, summary, attempt.label, attempt.constraint, seed, verified))
    card = card_of(suite, done, fresh=steps.rescore is not None)
    write_text(out / CARD, card.model_dump_json(indent=2) + "\n")
    return card


class _Verified:
    """Which runs were verified, by the digest of results.csv, so that none is paid for twice.

    path: of its file. note: called if that file cannot be read: its runs are verified again, or
    count as not verified.
    """

    def __init__(self, path: Path, note: Callable[[str], None]) -> None:
        self._path = path
        self._kept: dict[str, bool] = {}
        if not path.exists():
            return
        try:
            self._kept = _answers(read_json(read_text(path)))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            note(
                f"{path}: cannot be read ({reason}); finished runs are verified again, or count as "
                "not verified with --no-verify"
            )

    def of(self, run: Run, verify: Callable[[Run], bool] | None) -> bool | None:
        """Whether a run is as reported; None if unknown, and not to be verified."""
        digest = hashlib.sha256((run.home / "results.csv").read_bytes()).hexdigest()
        if self._kept.get(digest) is not True and verify is not None:
            self._kept[digest] = verify(run)
            write_text(self._path, json.dumps(self._kept, indent=2) + "\n")
        return self._kept.get(digest)


class _Sent:
    """The number of images that an audit sent: the logs of its runs count theirs, a file those for
    verification.

    out: its folder. ceiling: limit on all of them, or None.
    """

    def __init__(self, out: Path, ceiling: Ceiling | None) -> None:
        self._out, self._file = out, out / REQUESTS
        self._ceiling = ceiling or Ceiling(sys.maxsize, "")
        self._verifying = 0
        if self._file.exists():
            self._verifying = self._read()

    def beside(self, folder: Path | None = None) -> int:
        """The number of all images sent, except those of one run."""
        sent = self._verifying
        for path in sorted((self._out / "runs").glob("*/run.toml")):
            if path.parent != folder:
                with Run.open(path.parent).open_log() as log:
                    sent += log.sent()
        return sent

    def counted(self, verify: Callable[[Run, Ceiling], bool]) -> Callable[[Run], bool]:
        """A verification that counts what it sends, and respects the ceiling."""

        def verified(run: Run) -> bool:
            before = self.beside()
            of_runs = before - self._verifying
            ceiling = replace(self._ceiling, sent=before)
            if ceiling.why:  # otherwise the final number is enough
                ceiling.reserve = lambda images: self._keep(images - of_runs)
            try:
                return verify(run, ceiling)
            finally:
                self._keep(ceiling.sent - of_runs)

        return verified

    def _keep(self, verifying: int) -> None:
        if verifying != self._verifying:
            self._verifying = verifying
            write_text(self._file, json.dumps({"verifying": verifying}) + "\n")

    def _read(self) -> int:
        try:
            kept = read_json(read_text(self._file))
            number = kept["verifying"] if isinstance(kept, dict) else None
            if type(number) is int and number >= 0:
                return number
            reason = "expected a number as 'verifying'"
        except (OSError, ValueError, KeyError) as error:
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise RunError(
            f"{self._file}: cannot be read ({printable(reason)}); it counts the images that were "
            "sent; restore it, or remove it to count from 0"
        )


def _answers(kept: Any) -> dict[str, bool]:
    """The contents of verified.json; ValueError if invalid."""
    if not isinstance(kept, dict) or not all(isinstance(value, bool) for value in kept.values()):
        raise ValueError("expected true or false for each digest")
    return kept


def plan(suite: Suite) -> Iterator[tuple[Attempt, int]]:
    """All runs of a suite: attacks and seeds, in order."""
    yield from product(suite.attempts, suite.seeds)


def folder_of(number: int, attempt: Attempt, seed: int) -> str:
    """The name of a run's folder: `01-square-linf-3`."""
    text = f"{number:02d}-{attempt.label}-{attempt.constraint}" + (f"-seed{seed}" if seed else "")
    return re.sub(r"[^A-Za-z0-9.]+", "-", text).strip("-")[:80]


def runs_of(folder: Path) -> list[Run]:
    """The runs of an audit's folder, in the order of its suite; InputError without any."""
    found = sorted((folder / "runs").glob("*/run.toml"))
    if not found:
        raise InputError(f"{folder}: is an audit without a run yet; resume it")
    return [Run.open(path.parent) for path in found]


def is_audit(folder: Path) -> bool:
    """Whether a folder is that of an audit, finished or not, rather than of a run."""
    return not (folder / "run.toml").exists() and any(
        (folder / name).is_file() for name in (AUDIT, CARD)
    )


def read_card(path: str | Path) -> Card:
    """Read a card from its file or folder; InputError if it is invalid."""
    file = Path(path)
    file = file / CARD if file.is_dir() else file
    if not file.exists():
        raise InputError(f"{file}: no such file; check the path")
    try:
        text = read_text(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{file}: cannot be read ({reason}); check the path") from None
    return parse_card(text, file)


def parse_card(text: str, file: Path) -> Card:
    """Parse a card; InputError names the invalid field. file: source of the text."""
    try:
        card = Card.model_validate_json(text)
        reason = fault_of(card)
    except ValidationError as error:
        reason = field_and_reason(error)
    except ValueError as error:
        reason = " ".join(str(error).split())
    else:
        if reason is None:
            return card
    raise InputError(
        f"{file}: is not a card ({printable(reason)}); give one that 'iqattack audit' wrote"
    )


def _begin(out: Path, wanted: Mapping[str, Any], *, resume: bool) -> None:
    """Make a new folder, or check that one belongs to the same audit."""
    kept = {name: value for name, value in wanted.items() if value is not None}
    file = out / AUDIT
    if file.is_file():
        if not resume:
            raise RunError(f"{out}: has an audit; continue it with --resume, or use another --out")
        try:
            there = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise RunError(f"{file}: cannot be read; restore it, or use another --out") from None
        for name in {**there, **kept}:
            if there.get(name) != kept.get(name):
                raise RunError(
                    f"{out}: {name} is {there.get(name, 'not given')} there, "
                    f"{kept.get(name, 'not given')} here; use the same, or another --out"
                )
        return
    try:
        if out.exists() and any(out.iterdir()):
            raise RunError(f"{out}: is not empty; use another --out")
        out.mkdir(parents=True, exist_ok=True)
        write_text(file, tomli_w.dumps(kept))
    except OSError as error:
        raise cannot_write(out, error) from None
