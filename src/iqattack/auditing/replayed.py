"""Whether the search of a run is that of its attack: the log is replayed without querying a model.

The search of an image that failed is replayed, too, up to the first query that the log has no score
for. That shows what the model is said to have failed on, and not that it did: whoever can ask it
asks about that picture.

Only attacks that ship with the package are replayed. Code that a submission names is never loaded,
and files that it names are not read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import Tensor

from iqattack.attacks import ATTACKS, GIVEN, Gradient, find, is_of_set, load_attack
from iqattack.engine import QueryLog
from iqattack.errors import InputError, IqattackError, RunError
from iqattack.imports import split
from iqattack.runs.detect import Replay
from iqattack.runs.results import Result
from iqattack.runs.run import Run
from iqattack.runs.settings import versions_here
from iqattack.runs.verify import reported

State = Literal["refuted", "not verified"]

# Versions in run.toml on which the candidates of a built-in attack depend.
SEARCHING = (
    "iqattack", "torch", "numpy", "scipy", "pillow", "scikit-image", "opencv", "platform",
)  # fmt: skip
NAMED = 3  # most images to name whose replay failed


@dataclass(frozen=True)
class FailedAt:
    """The picture (3, H, W) uint8 that a model is said to have failed on. image: whose search asked
    for it; query: its number, the clean image being 0.
    """

    image: str
    query: int
    picture: Tensor


def replayed(
    run: Run,
    find_clean: Callable[[str], Path | None],
    attack: str | None,
    progress: Callable[[int, int], None] = lambda *_: None,
    failed: Callable[[FailedAt], None] = lambda _: None,
) -> list[tuple[State, str]]:
    """Replay the search of each image; returns what contradicts the log, or cannot be replayed.

    find_clean: returns the file of a clean image by name, None if it is missing, and then the image
    is left out. attack: the suite's spec for this run, whose files may be read; None if the suite
    is not available, and then only attacks without files are replayed. progress: called with
    (images replayed, images). failed: called with where the search of each failed image stopped.
    """
    spec = run.settings.attack if attack is None else attack
    reason = _obstacle(spec, files=attack is not None)
    if reason is not None:
        return [("not verified", f"its search was not replayed: {reason}")]
    try:
        replay = Replay(run, load_attack(spec, _no_gradient))
        results = reported(run, run.checked_state(pictures=False)[0])
    except IqattackError as error:
        return [("not verified", f"its search was not replayed: {error}")]
    wrong: list[str] = []
    absent: list[str] = []  # of failed images, which no other check misses
    with run.open_log() as log:
        for number, result in enumerate(results):
            progress(number, len(results))
            file = find_clean(result.image)
            if file is None:
                absent += [result.image] if result.failed else []
                continue
            try:
                _replay_one(replay, log, result.model_copy(update={"path": str(file)}), failed)
            except IqattackError as error:
                # Without the remedy, which is meant for resuming a run.
                text = str(error).removeprefix(f"{run.folder}: ").partition("; ")[0]
                wrong.append(text if result.image in text else f"{result.image}: {text}")
        progress(len(results), len(results))
    return [*_absent(absent), *_contradictions(run, wrong)]


def _replay_one(
    replay: Replay, log: QueryLog, result: Result, failed: Callable[[FailedAt], None]
) -> None:
    """One image, finished or failed; RunError for a search that is another one."""
    if not result.failed:
        replay(log, result, lambda *_: None)
        return
    stopped = replay.up_to_failure(log, result)
    if stopped is not None:
        failed(FailedAt(result.image, *stopped))


def _absent(images: Sequence[str]) -> Iterator[tuple[State, str]]:
    if images:
        yield (
            "not verified",
            f"{len(images)} failed images are not here, such as {min(images)}, and their searches "
            "are not replayed",
        )


def _contradictions(run: Run, wrong: Sequence[str]) -> list[tuple[State, str]]:
    """The findings about searches that are not those of their attack."""
    if not wrong:
        return []
    found = [f"its search does not follow {run.settings.attack}: {text}" for text in wrong[:NAMED]]
    if len(wrong) > NAMED:
        found.append(f"and the searches of {len(wrong) - NAMED} more images")
    other = _other_versions(run)
    if not other:
        return [("refuted", text) for text in found]
    return [("not verified", f"{text}; another {', '.join(other)} here") for text in found]


def _obstacle(spec: str, *, files: bool) -> str | None:
    """Why a search cannot be replayed; None if it can."""
    name = split(spec)[0]
    if name == GIVEN or name not in ATTACKS:
        return f"attack {spec} does not ship with iqattack, and foreign code is not loaded"
    if is_of_set(spec):
        return f"attack {spec} attacks all images together, and searches are replayed one by one"
    try:
        options = find(spec).options
    except InputError as error:
        return str(error)
    taken = [option for option, value in options.items() if isinstance(value, Path)]
    if taken and not files:
        return (
            f"attack {spec} needs a file ({', '.join(taken)}); give the suite's file with --suite"
        )
    return None


def _no_gradient(spec: str) -> Gradient:
    raise RunError(f"the attack uses gradients of {spec}, which the log does not have")


def _other_versions(run: Run) -> list[str]:
    """Versions on which candidates depend that differ from the run's: `torch (2.1 there)`."""
    there, here = run.record.versions, versions_here()
    return [
        f"{name} ({there.get(name, 'not recorded')} there, {here[name]} here)"
        for name in SEARCHING
        if there.get(name) != here[name]
    ]
