"""Settings that describe a service or a command."""

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

from iqattack.errors import InputError, first_fault, unknown
from iqattack.models.time_limit import DAY_S, check_timeout

SHOWN = 60  # characters of an invalid value in a message
MOST_BATCH, MOST_AT_ONCE = 4096, 256  # images per request, concurrent requests
PRIVATE = ("url", "headers", "params", "body")  # values that messages never show


def _pair(value: object) -> object:
    """Parse '0,100', as after the # of a URL, as two numbers."""
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
        raise ValueError("expected requests per second, at least one per day (0.00002)")
    return rate


def _within_a_day(seconds: float | None) -> float | None:
    if seconds is not None and seconds > DAY_S:
        raise ValueError(f"expected seconds, at most a day ({DAY_S:g})")
    return seconds


def call_limit(source: str, *given: float | None) -> float:
    """The first time limit that is not None, in seconds; InputError for an invalid one."""
    return check_timeout(next(one for one in given if one is not None), source)


class ServiceSettings(BaseModel):
    """Settings common to services and commands; None if not declared.

    score_range: (lowest, highest) raw score. min_size: in pixels. input: as `--input`, which takes
    precedence. timeout: seconds per call; `--timeout` takes precedence.
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
        """Validate values; InputError with the source, the key and the value."""
        try:
            return cls(**values)
        except ValidationError as error:
            raise InputError(_first_of(error, cls, source)) from None


class CommandSettings(ServiceSettings):
    """A command that scores images; see command.py.

    command: the program and its arguments. image: how it receives an image. score: a regular
    expression whose group is the score, for image = argument. files: its dependencies, whose hashes
    a run records.
    """

    command: list[str] = Field(min_length=1)
    image: Literal["json-lines", "argument"] = "json-lines"
    score: str | None = None
    files: list[Path] = []


class HttpSettings(ServiceSettings):
    """A service that scores images; see http.py.

    image: where the image goes in the request: raw, multipart:FIELD, json:PATH or data-url:PATH.
    body: the rest of the JSON or of the form. score: path of the score in the JSON answer. pattern:
    a regular expression whose group is the score. batch: images per request. concurrency:
    concurrent requests; `--concurrency` takes precedence. rate: requests per second, inf for no
    limit, None for the default. price: of one image.
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
    """The first error, on one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    key = ".".join(str(part) for part in first["loc"] if not str(part).startswith("function-"))
    _, message = first_fault(error)
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
