"""TOML of suites and policies, with errors of one line."""

from __future__ import annotations

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from iqattack.errors import InputError, IqattackError
from iqattack.specs import printable

T = TypeVar("T", bound=BaseModel)


def parsed(kind: type[T], text: bytes, whose: str) -> T:
    """TOML as a model; InputError for what is none. whose: of what, such as `suite a.toml`."""
    try:
        return kind.model_validate(tomllib.loads(text.decode()))
    except ValidationError as error:
        raise InputError(f"{whose}: {field_and_reason(error)}; check the file") from None
    except IqattackError as error:
        raise InputError(f"{whose}: {error}") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{whose}: is no TOML ({reason}); check the file") from None


def field_and_reason(error: Exception) -> str:
    """What is wrong first, in one line, with the field of a model that it is wrong with."""
    if not isinstance(error, ValidationError):
        return printable(" ".join(str(error).split()))
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"]))
    message = printable(" ".join(first["msg"].split()))
    return f"{printable(place)}: {message}" if place else message
