"""Models described in a file: `FILE.toml`, a service over HTTP or a command.

The file has `url` and the options of http.py, or `command` and those of command.py; the properties
of the model (name, score_range, lower_better, min_size, input) are the same in both. Paths are
relative to the file.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from iqattack.errors import InputError
from iqattack.imports import absolute
from iqattack.models.base import Loaded
from iqattack.models.inputs import UINT8, Input
from iqattack.models.services.command import of_settings
from iqattack.models.services.http import Http, takes_no_device
from iqattack.models.services.settings import CommandSettings, HttpSettings
from iqattack.paths import why_no_file


def load_toml(
    argument: str | Path,
    *,
    device: str = "cpu",
    convention: Input = UINT8,
    timeout: float | None = None,
) -> Loaded:
    """The model that a TOML file describes.

    convention, timeout: take precedence over those of the file. Raises InputError for a file that
    cannot be read, for invalid keys and values, and for errors of the model itself.
    """
    path = absolute(argument)
    settings = read_settings(argument)
    merged = convention.over(Input.parse(settings.input))
    seconds = settings.timeout if timeout is None else timeout
    model: Any
    if isinstance(settings, CommandSettings):
        model = of_settings(settings, device=device, convention=merged, timeout=seconds)
        model.files = (path, *settings.files)
    else:
        takes_no_device(str(argument), device)
        model = Http(settings, source=str(argument), convention=merged, timeout=seconds)
        model.files = (path,)
    model.spec = str(path)
    found: Loaded = model
    return found


def read_settings(argument: str | Path) -> HttpSettings | CommandSettings:
    """The validated settings of a TOML file, with absolute paths; InputError as in `load_toml`."""
    path = Path(argument)
    if path.exists() and not (path.is_file() or path.is_dir()):  # a named pipe would block
        raise InputError(f"model file '{argument}': is not a regular file; expected TOML")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise InputError(f"model file '{argument}': {reason}") from None
    except UnicodeDecodeError:
        raise InputError(f"model file '{argument}': not text in UTF-8; expected TOML") from None
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"model file '{argument}' is not TOML: {error}") from None
    if ("url" in values) == ("command" in values):
        raise InputError(f"model file '{argument}': expected either url or command")
    if "url" in values:
        return HttpSettings.of(values, str(argument))
    settings = CommandSettings.of(values, str(argument))
    folder = absolute(path).parent
    files = [folder / file for file in settings.files]
    for file in files:
        if not file.is_file():
            raise InputError(f"{argument}: files: {why_no_file(file)}: '{file}'")
    words = [_absolute(word, folder, first=n == 0) for n, word in enumerate(settings.command)]
    return settings.model_copy(update={"files": files, "command": words})


def _absolute(word: str, folder: Path, *, first: bool) -> str:
    """A word of a command that names a file; a program without a slash is looked up in PATH."""
    named = "/" in word if first else bool(word)
    return str(folder / word) if named and (folder / word).is_file() else word
