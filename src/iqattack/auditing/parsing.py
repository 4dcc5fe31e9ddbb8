"""TOML of suites and policies, with one-line errors."""

from __future__ import annotations

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from iqattack.errors import InputError, IqattackError, fault_text
from iqattack.specs import printable

T = TypeVar("T", bound=BaseModel)


def parsed(kind: type[T], text: bytes, whose: str) -> T:
    """Parse TOML as a model; InputError if it is invalid. whose: its source, such as `suite
    a.toml`."""
    try:
        return kind.model_validate(tomllib.loads(text.decode("utf-8-sig")))
    except ValidationError as error:
        raise InputError(f"{whose}: {field_and_reason(error)}; check the file") from None
    except IqattackError as error:
        raise InputError(f"{whose}: {error}") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{whose}: is not TOML ({reason}); check the file") from None


def field_and_reason(error: Exception) -> str:
    """The first fault on one line, with the model's field."""
    if isinstance(error, ValidationError):
        return printable(fault_text(error))
    return printable(" ".join(str(error).split()))
