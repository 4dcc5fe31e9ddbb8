"""Models described in a file: `FILE.toml`, a service over HTTP or a command.

The file holds `url` and the options of models/http.py, or `command` and those of models/command.py;
what a model declares of itself (name, score_range, lower_better, min_size, input) is the same in
both. Relative paths in it are relative to the file.
"""

from __future__ import annotations

import importlib
import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from iqattack.errors import InputError, unknown
from iqattack.models.base import Loaded
from iqattack.models.inputs import UINT8, Input

SHOWN = 60  # letters of a wrong value in a message
PRIVATE = ("url", "headers", "params", "body")  # a message shows no values of these


def _pair(value: object) -> object:
    """'0,100' as two numbers, as it stands after the # of a URL."""
    pair = value.split(",") if isinstance(value, str) else value
    if isinstance(pair, list) and len(pair) != 2:
        raise ValueError("expected two numbers")
    return pair


def _ordered(value: tuple[float, float] | None) -> tuple[float, float] | None:
    if value is not None and not (all(map(math.isfinite, value)) and value[0] < value[1]):
        raise ValueError("expected two finite numbers, the lower first")
    return value


def _rate(value: object) -> object:
    return math.inf if value == "unlimited" else value


class ServiceSettings(BaseModel):
    """What both kinds of description declare; None stands for what they do not.

    score_range: (lowest, highest) raw score. min_size: in pixels. input: as `--input`, which goes
    before it. timeout: seconds a call may take; likewise `--timeout`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    name: str | None = Field(None, min_length=1)
    score_range: Annotated[tuple[float, float] | None, BeforeValidator(_pair)] = None
    lower_better: bool | None = None
    min_size: int | None = Field(None, ge=1)
    input: str | None = None
    timeout: float | None = Field(None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _check(self) -> Self:
        _ordered(self.score_range)
        return self

    @classmethod
    def of(cls, values: Mapping[str, Any], source: str) -> Self:
        """Settings of these values; InputError that names the source, the key and the value."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise InputError(_first_of(error, cls, source)) from None


class CommandSettings(ServiceSettings):
    """A command that scores pictures; see models/command.py.

    command: the program and its arguments. image: how it gets a picture. score: a regular
    expression or JSON path that finds the score. files: that it depends on, hashed into a run.
    """

    command: list[str] = Field(min_length=1)
    image: Literal["json-lines", "argument"] = "json-lines"
    score: str | None = None
    files: list[Path] = []


class HttpSettings(ServiceSettings):
    """A service that scores pictures; see models/http.py.

    image: where the picture goes: raw, multipart:FIELD, json:PATH or data-url:PATH. body: the rest
    of the JSON or of the form. score: the path of the score in the JSON that comes back. pattern: a
    regular expression whose group is the score. batch: images in one request. concurrency: requests
    at once; rate: requests a second, inf for no limit, None for the default. price: of one image.
    """

    url: str
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    params: dict[str, str] = {}
    image: str = Field("raw", pattern=r"^(raw|(multipart|json|data-url):.+)$")
    body: dict[str, Any] = {}
    score: str | None = None
    pattern: str | None = None
    batch: int = Field(1, ge=1)
    concurrency: int = Field(8, ge=1)
    rate: Annotated[float | None, BeforeValidator(_rate)] = Field(None, gt=0)
    price: float | None = Field(None, ge=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        many, (kind, _, path) = self.batch > 1, self.image.partition(":")
        if self.body and kind == "raw":
            raise ValueError("body needs image = multipart:FIELD, json:PATH or data-url:PATH")
        if many and kind != "multipart" and "*" not in path.split("."):
            raise ValueError("batch needs image = multipart:FIELD, or a json:PATH with a *")
        if many and self.pattern is not None and self.score is None:
            raise ValueError("batch with a pattern needs score, the path of the texts")
        return self

    @model_validator(mode="after")
    def _pattern(self) -> Self:
        try:
            groups = 1 if self.pattern is None else re.compile(self.pattern).groups
        except re.error as error:
            raise ValueError(
                f"pattern {self.pattern!r} is no regular expression: {error}"
            ) from None
        if groups != 1:
            raise ValueError(f"pattern {self.pattern!r} has {groups} groups: expected one, ( )")
        return self


def load_toml(
    argument: str | Path,
    *,
    device: str = "cpu",
    convention: Input = UINT8,
    timeout: float | None = None,
) -> Loaded:
    """The model that a TOML file describes.

    convention, timeout: go before those of the file. Raises InputError for a file that cannot be
    read, for keys and values that are wrong, and for what the model itself refuses.
    """
    path = Path(argument).absolute()
    settings = read_settings(argument)
    merged = convention.over(Input.parse(settings.input))
    seconds = settings.timeout if timeout is None else timeout
    model: Any
    if isinstance(settings, CommandSettings):
        command = importlib.import_module("iqattack.models.command")
        model = command.of_settings(settings, device=device, convention=merged, timeout=seconds)
        model.files = (path, *settings.files)
    else:
        http = importlib.import_module("iqattack.models.http")
        model = http.Http(settings, source=str(argument), convention=merged, timeout=seconds)
        model.files = (path,)
    model.spec = str(path)
    found: Loaded = model
    return found


def read_settings(argument: str | Path) -> HttpSettings | CommandSettings:
    """What a TOML file holds, checked, paths made absolute; InputError as in `load_toml`."""
    path = Path(argument)
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
    folder = path.absolute().parent
    files = [folder / file for file in settings.files]
    for file in files:
        if not file.is_file():
            raise InputError(f"{argument}: files: no such file: '{file}'")
    words = [_absolute(word, folder, first=n == 0) for n, word in enumerate(settings.command)]
    return settings.model_copy(update={"files": files, "command": words})


def _absolute(word: str, folder: Path, *, first: bool) -> str:
    """A word of a command that names a file; a program without a slash is looked up in PATH."""
    named = "/" in word if first else bool(word)
    return str(folder / word) if named and (folder / word).is_file() else word


def _first_of(error: ValidationError, kind: type[BaseModel], source: str) -> str:
    """The first thing that is wrong, on one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        return str(unknown(f"key of '{source}':", key, kind.model_fields))
    if first["type"] == "missing":
        return f"{source}: {key} is missing"
    if not key:
        return f"{source}: {message}"
    if key == "image" and first["type"] == "string_pattern_mismatch":
        message = "expected raw, multipart:FIELD, json:PATH or data-url:PATH"
    wanted = re.sub("^Input should be ", "expected ", message)
    if key.split(".")[0] in PRIVATE:
        return f"{source}: {key}: {wanted}"
    value = repr(first["input"])
    value = value if len(value) <= SHOWN else value[: SHOWN - 1] + "…"
    return f"{source}: {key} = {value}: {wanted}"
