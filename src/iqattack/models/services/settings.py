"""Settings in the description of a service or a command."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from iqattack.errors import InputError, unknown
from iqattack.models.time_limit import DAY_S, check_timeout

SHOWN = 60  # letters of a wrong value in a message
MOST_BATCH, MOST_AT_ONCE = 4096, 256  # images in a request, requests at once
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


def _not_too_slow(rate: float | None) -> float | None:
    if rate is not None and rate * DAY_S < 1.0:
        raise ValueError("expected requests a second, at least one a day (0.00002)")
    return rate


def _within_a_day(seconds: float | None) -> float | None:
    if seconds is not None and seconds > DAY_S:
        raise ValueError(f"expected seconds, at most a day ({DAY_S:g})")
    return seconds


def call_limit(source: str, *given: float | None) -> float:
    """The first time limit that is given, in seconds; InputError for one that is none."""
    return check_timeout(next(one for one in given if one is not None), source)


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
    timeout: Annotated[float | None, AfterValidator(_within_a_day)] = Field(
        None, gt=0, allow_inf_nan=False
    )

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
    """A command that scores pictures; see command.py.

    command: the program and its arguments. image: how it gets a picture. score: a regular
    expression whose group is the score, with image = argument. files: that it depends on, hashed
    into a run.
    """

    command: list[str] = Field(min_length=1)
    image: Literal["json-lines", "argument"] = "json-lines"
    score: str | None = None
    files: list[Path] = []


class HttpSettings(ServiceSettings):
    """A service that scores pictures; see http.py.

    image: where the picture goes: raw, multipart:FIELD, json:PATH or data-url:PATH. body: the rest
    of the JSON or of the form. score: the path of the score in the JSON that comes back. pattern: a
    regular expression whose group is the score. batch: images in one request. concurrency: requests
    at once; `--concurrency` goes before it. rate: requests a second, inf for no limit, None for the
    default. price: of one image.
    """

    url: str
    method: Literal["POST", "PUT", "PATCH"] = "POST"
    headers: dict[str, str] = {}
    params: dict[str, str] = {}
    image: str = Field("raw", pattern=r"^(raw|(multipart|json|data-url):.+)$")
    body: dict[str, Any] = {}
    score: str | None = None
    pattern: str | None = None
    batch: int = Field(1, ge=1, le=MOST_BATCH)
    concurrency: int | None = Field(None, ge=1, le=MOST_AT_ONCE)
    rate: Annotated[float | None, BeforeValidator(_rate), AfterValidator(_not_too_slow)] = Field(
        None, gt=0
    )
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
                f"pattern {self.pattern!r} is not a regular expression: {error}"
            ) from None
        if groups != 1:
            raise ValueError(f"pattern {self.pattern!r} has {groups} groups: expected one, ( )")
        return self


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
