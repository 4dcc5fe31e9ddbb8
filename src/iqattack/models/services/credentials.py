"""Credentials: from the environment to the service, and to nowhere else."""

from __future__ import annotations

import base64
import html
import json
import os
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, quote_plus

from iqattack.errors import InputError
from iqattack.specs import is_text

VARIABLE = re.compile(r"\$\{([A-Za-z_]\w*)\}", re.ASCII)
# Words of a name that say that its value is a secret, names that do so only as a whole (there is
# `language_code`, too), and values that look like one.
SECRET_WORDS = frozenset(
    {"accesskey", "accesstoken", "apikey", "auth", "authkey", "authorization", "authtoken"}
    | {"bearer", "clientsecret", "cookie", "credential", "credentials", "hmac", "idtoken"}
    | {"jwt", "key", "masterkey", "otp", "passcode", "passkey", "passphrase", "passwd"}
    | {"password", "privatekey", "pwd", "refreshtoken", "sas", "secret", "secretkey"}
    | {"session", "sessionid", "sharedkey", "sig", "signature", "subscriptionkey", "token"}
    | {"userkey"}
)
SECRET_NAMES = frozenset(
    {"access", "accesscode", "code", "pass", "pat", "pin", "pincode", "pw", "sid", "ticket"}
    | {"userpass"}
)
SECRET_VALUE = re.compile(r"(bearer|basic|token)\s+\S|sk-\w|eyJ\w", re.IGNORECASE)


class Credentials:
    """Puts the values of environment variables in the place of `${NAME}`, and takes them out again.

    source: what refers to them, for messages.
    """

    def __init__(self, source: str, environment: Mapping[str, str] = os.environ) -> None:
        self._source = source
        self._environment = environment
        self._forms: dict[str, str] = {}  # each text that must not be shown, and what stands for it
        self._pattern: re.Pattern[str] | None = None

    def expand(self, text: str) -> str:
        """The text with the variables' values; InputError for one that is not set."""
        return VARIABLE.sub(lambda match: self._value(match[1]), text)

    def expand_all(self, value: Any) -> Any:
        """A JSON value with the variables' values in all of its texts."""
        if isinstance(value, str):
            return self.expand(value)
        if isinstance(value, dict):
            return {key: self.expand_all(one) for key, one in value.items()}
        return [self.expand_all(one) for one in value] if isinstance(value, list) else value

    def header(self, name: str, text: str) -> str:
        """Likewise, for a header, where ASCII alone is safe."""
        value = self.expand(text)
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise InputError(f"{self._source}: header {name}: expected printable ASCII letters")
        return value

    def hide(self, value: str, shown: str) -> None:
        """Have `redact` put `shown` in the place of a value, in each form that it may be met in."""
        if not value:
            return
        raw = value.encode()
        forms = {
            value,
            quote(value),
            quote(value, safe=""),
            quote(value, safe="/:@!$&'()*+,;="),
            quote_plus(value),
            html.escape(value),
            json.dumps(value)[1:-1],
            repr(value)[1:-1],
            base64.b64encode(raw).decode(),
            base64.urlsafe_b64encode(raw).decode(),
        }
        self._forms = {form.lower(): shown for form in forms} | self._forms
        longest_first = sorted(self._forms, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)

    def redact(self, text: str) -> str:
        """The text without the values."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda match: self._forms.get(match[0].lower(), "${…}"), text)

    def _value(self, name: str) -> str:
        value = self._environment.get(name, "")
        if not value:
            raise InputError(
                f"{self._source}: the environment variable {name} is not set; export {name}=…"
            )
        if not is_text(value):
            raise InputError(
                f"{self._source}: the environment variable {name} has control characters, perhaps "
                "the end of a line; set it to the value alone"
            )
        self.hide(value, f"${{{name}}}")
        return value


def refuse_literal(
    source: str, where: str, name: str, value: object, *, secret: bool = False
) -> None:
    """InputError for a value that looks like a secret and stands in a file or on a command line.

    secret: it is one, whatever its name.
    """
    words = [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)]
    secret = secret or not SECRET_WORDS.isdisjoint(words) or "".join(words) in SECRET_NAMES
    text = str(value)
    if (secret or SECRET_VALUE.match(text)) and text and not VARIABLE.search(text):
        variable = re.sub(r"\W", "_", name, flags=re.ASCII).upper()
        raise InputError(
            f"{source}: {where} {name} holds a credential; keep it in the environment and write "
            f"${{{variable}}} instead"
        )
