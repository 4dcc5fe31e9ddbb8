"""TOML of suites and policies, with errors of one line."""

from __future__ import annotations

import tomllib
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from iqattack.errors import InputError, IqattackError

T = TypeVar("T", bound=BaseModel)


def parsed(kind: type[T], text: bytes, whose: str) -> T:
    """TOML as a model; InputError for what is none. whose: of what, such as `suite a.toml`."""
    try:
        return kind.model_validate(tomllib.loads(text.decode()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise InputError(f"{whose}: {reason}; check the file") from None
    except IqattackError as error:
        raise InputError(f"{whose}: {error}") from None
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{whose}: is no TOML ({reason}); check the file") from None
