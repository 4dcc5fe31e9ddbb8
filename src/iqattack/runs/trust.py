"""Whether a run's model may be loaded: somebody else's run must not execute code without consent.

Nothing that the files of a run name is imported, started, connected to or unpickled before the user
agrees. Models that are known to be data are listed here; any other kind needs consent.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING, Any

from iqattack import plugins
from iqattack.errors import InputError, RunError
from iqattack.imports import absolute, split
from iqattack.models import bare_spec, foreign_defences
from iqattack.models.pyiqa import parse_options
from iqattack.runs.files import feed
from iqattack.runs.owner import is_own
from iqattack.runs.run import Run

if TYPE_CHECKING:
    from iqattack.runs.verify import Difference

# Our own code that reads data: safetensors, a state dict without pickled objects, a graph.
DATA = ("builtin", "cnniqa", "onnx")
# Metrics of pyiqa that load code from a hub (trust_remote_code).
REMOTE_CODE = ("qalign", "compare2score")
NAMED = {
    "http": "a connection to a service",
    "https": "a connection to a service",
    "command": "a program",
    "pyiqa": "a metric of pyiqa that may load code, or files with code",
}
LARGEST = 2**34  # bytes of a file to hash


class UntrustedError(RunError):
    """A model that is code, of a run that this user did not begin.

    question: for the user, before it is loaded. differences: what was found without it.
    """

    def __init__(self, message: str, question: str) -> None:
        super().__init__(message)
        self.question = question
        self.differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class FileState:
    """A file that a run's model depends on. recorded: its SHA-256 when the run began; now: its
    present SHA-256, None if the file is missing.
    """

    path: Path
    recorded: str | None
    now: str | None

    def __str__(self) -> str:
        if self.now is None:
            return f"{self.path}, which is missing"
        is_it = (
            "as recorded" if self.now == self.recorded else "which differs from the recorded one"
        )
        if self.recorded is None:
            is_it = "for which the run recorded no hash"
        return f"{self.path}, SHA-256 {self.now}, {is_it}"


def runs_code(spec: str) -> bool:
    """Whether loading a model runs, or connects to, what its spec names.

    Installed packages are trusted: entry points, and pyiqa, except for files given to it, which may
    be pickled, and metrics that load other people's code. A defence that is not built in is code,
    too.
    """
    if any(map(_is_foreign_code, foreign_defences(spec))):
        return True
    spec = bare_spec(spec)
    name, _, argument = spec.partition(":")
    if name in DATA:
        return False
    if name == "pyiqa":
        metric, options = _pyiqa_options(argument)
        if options is None or metric.lower().startswith(REMOTE_CODE):
            return True
        return any(
            name.lower().endswith("path") or not isinstance(value, bool | int | float | None)
            for name, value in options.items()
        )
    point = plugins.installed("iqattack.models").get(spec)
    return point is None or not plugins.trusted(point)


def _is_foreign_code(defence: str) -> bool:
    """Whether a defence, as text, is not from a trusted installed package."""
    points = plugins.installed("iqattack.defences")
    point = points.get(defence.partition(":")[0])
    return point is None or not plugins.trusted(point)


def _pyiqa_options(argument: str) -> tuple[str, dict[str, Any] | None]:
    """A metric, and its options for pyiqa; None for invalid ones."""
    try:
        return parse_options(argument)
    except (InputError, MemoryError, RecursionError, TypeError):
        return argument, None


def _kind(spec: str) -> str:
    """A phrase for the kind of a model that is not data."""
    if any(map(_is_foreign_code, foreign_defences(spec))):
        return "behind a defence that is code"
    spec = bare_spec(spec)
    name = spec.partition(":")[0]
    if name in NAMED:
        return NAMED[name]
    if spec.endswith(".toml"):
        return "a service or a program, described in a file"
    source = spec.rpartition(":")[0]
    if source.endswith(".py") or (source and all(map(str.isidentifier, source.split(".")))):
        return "code"
    return "of an unknown kind"


def files_of(run: Run) -> list[FileState]:
    """The files of a run's model, as they are now."""
    model = run.record.model
    recorded = dict(model.files)
    if model.weights is not None and model.sha256 is not None:
        recorded[model.weights] = model.sha256
    spec = bare_spec(run.record.model_spec)
    source = spec.rpartition(":")[0]
    kind = spec.partition(":")[0]
    if kind == "pyiqa":
        for value in (_pyiqa_options(spec.partition(":")[2])[1] or {}).values():
            if isinstance(value, str) and value:
                recorded.setdefault(str(absolute(value)), "")
    for named in (source, spec):
        if named.endswith((".py", ".toml")) and str(absolute(named)) not in recorded:
            recorded[str(absolute(named))] = ""
    ours = kind in (*DATA, "pyiqa", "http", "https", "command")
    modules = [] if ours else [source]
    for defence in foreign_defences(run.record.model_spec):
        module = split(defence)[0].partition(":")[0]
        if not module.endswith(".py"):
            modules.append(module)
        elif str(absolute(module)) not in recorded:
            recorded[str(absolute(module))] = ""
    for found in filter(None, map(_file_of_module, modules)):
        if str(found) not in recorded:
            like = (digest for path, digest in recorded.items() if Path(path).name == found.name)
            recorded[str(found)] = next(like, "")
    return [
        FileState(Path(path), digest or None, _sha256(Path(path)))
        for path, digest in recorded.items()
    ]


def _file_of_module(name: str) -> Path | None:
    """The file of a module, found without importing its packages."""
    if not all(part.isidentifier() for part in name.split(".")):
        return None
    where: list[str] | None = [*sys.path, str(Path.cwd())]
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        spec = PathFinder.find_spec(".".join(parts[:depth]), where)
        if spec is None:
            return None
        where = list(spec.submodule_search_locations or [])
    file = None if spec is None else spec.origin
    return absolute(file) if file and file.endswith(".py") else None


def check_trusted(
    run: Run,
    *,
    trust: bool = False,
    accept_changed: bool = False,
    accepting: str = ", or verify with --accept-changed-model",
) -> None:
    """Call before a run's own model is loaded: UntrustedError if the user must be asked.

    trust: the user agreed. accepting: how to continue with a changed file. RunError if a code file
    is not the recorded one, even with consent, unless the change is accepted.
    """
    spec = run.record.model_spec
    if not runs_code(spec):
        return
    files = files_of(run)
    changed = [file for file in files if file.recorded and file.now not in (None, file.recorded)]
    if changed and not accept_changed:
        raise RunError(
            f"{run.folder}: its model has changed: {changed[0]} ({changed[0].recorded}), and was "
            f"not loaded; restore that file, or give the model with --model{accepting}"
        )
    if trust or is_own(run.home / "run.toml"):
        return
    what = "; ".join(map(str, files)) or "no file of it is known"
    reason = (
        f"{run.folder}: its model is {_kind(spec)}, and this user did not begin the run: '{spec}' "
        f"({what})"
    )
    raise UntrustedError(
        f"{reason}; it was not loaded. Read it, then repeat with --trust, or give your own model "
        "with --model",
        f"{reason}. Load it?",
    )


def _sha256(path: Path) -> str | None:
    try:
        if not path.is_file():
            return None
        size = path.stat().st_size
        if size > LARGEST:
            raise RunError(
                f"{path}: has {size:,} bytes, expected a model file of at most {LARGEST:,}; give "
                "the model with --model"
            )
        digest = hashlib.sha256()
        feed(digest, path)
        return digest.hexdigest()
    except (OSError, ValueError):
        return None
