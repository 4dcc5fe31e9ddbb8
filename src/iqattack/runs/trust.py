"""Whether a run's model may be loaded: a run that somebody sent must not run code unasked.

Nothing that the files of a run name is imported, started, connected to or unpickled before the
person agreed. What needs no question is listed here; all else does, so that another kind of model
is asked about until it is known to be data.
"""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

from iqattack import plugins
from iqattack.errors import RunError
from iqattack.imports import absolute
from iqattack.runs.owner import is_own
from iqattack.runs.run import Run

if TYPE_CHECKING:
    from iqattack.runs.verify import Difference

# Code of this package that reads data: safetensors, a state dict without pickled objects, a graph.
DATA = ("builtin", "cnniqa", "onnx")


class UntrustedError(RunError):
    """A model that is code, of a run that this user did not begin.

    question: to be answered before it is loaded. differences: what was found without it.
    """

    def __init__(self, message: str, question: str) -> None:
        super().__init__(message)
        self.question = question
        self.differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class FileState:
    """A file that a run's model depends on. recorded: its SHA-256 when the run began; now: its
    SHA-256, None where there is no such file.
    """

    path: Path
    recorded: str | None
    now: str | None

    def __str__(self) -> str:
        if self.now is None:
            return f"{self.path}, which is not there"
        is_it = "as the run recorded it" if self.now == self.recorded else "not what it recorded"
        if self.recorded is None:
            is_it = "of which the run recorded no hash"
        return f"{self.path}, SHA-256 {self.now}, {is_it}"


def runs_code(spec: str) -> bool:
    """Whether loading a model runs, or connects to, what its spec names.

    Packages that are installed were trusted when they were: those of pyiqa, but for files that are
    given to it, which may be pickled, and entry points.
    """
    name, _, argument = spec.partition(":")
    if name in DATA:
        return False
    if name == "pyiqa":
        return any(not _is_plain(option) for option in argument.split(",")[1:])
    return spec not in plugins.installed("iqattack.models")


def _is_plain(option: str) -> bool:
    """Whether an option is a number or a switch, and so names no file."""
    value = option.partition("=")[2]
    if value.lower() in ("true", "false", "none"):
        return True
    try:
        float(value)
    except ValueError:
        return False
    return True


def files_of(run: Run) -> list[FileState]:
    """The files of a run's model, as they are now."""
    model = run.record.model
    recorded = dict(model.files)
    if model.weights is not None and model.sha256 is not None:
        recorded[model.weights] = model.sha256
    spec = run.record.model_spec
    source = spec.rpartition(":")[0]
    for named in (source, spec):
        if named.endswith((".py", ".toml")) and str(absolute(named)) not in recorded:
            recorded[str(absolute(named))] = ""
    found = _file_of_module(source)
    if found is not None and str(found) not in recorded:
        like = (digest for path, digest in recorded.items() if Path(path).name == found.name)
        recorded[str(found)] = next(like, "")
    return [
        FileState(Path(path), digest or None, _sha256(Path(path)))
        for path, digest in recorded.items()
    ]


def _file_of_module(name: str) -> Path | None:
    """The file that a module would be imported from, found without importing its packages."""
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


def check_trusted(run: Run, *, trust: bool = False, accept_changed: bool = False) -> None:
    """Before a run's own model is loaded: UntrustedError where the person has to be asked.

    trust: they agreed. RunError where a file of code is not what the run recorded, whoever
    agreed, unless such a change is accepted.
    """
    spec = run.record.model_spec
    if not runs_code(spec):
        return
    files = files_of(run)
    changed = [file for file in files if file.recorded and file.now not in (None, file.recorded)]
    if changed and not accept_changed:
        raise RunError(
            f"{run.folder}: its model has changed: {changed[0]} ({changed[0].recorded}), and was "
            "not loaded; put that file back, give the model with --model, or verify with "
            "--accept-changed-model"
        )
    if trust or is_own(run.folder / "run.toml"):
        return
    what = "; ".join(map(str, files)) or "no file of it is known"
    told = (
        f"{run.folder}: its model is code, and this user did not begin the run: '{spec}' ({what})"
    )
    raise UntrustedError(
        f"{told}; it was not loaded. Look at it, then verify with --trust, or give a model of your "
        "own with --model",
        f"{told}. Run this code?",
    )


def _sha256(path: Path) -> str | None:
    try:
        if not path.is_file():
            return None
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return None
