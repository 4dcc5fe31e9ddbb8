"""Credentials: taken from the environment, sent to the service, and never shown or stored."""

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
# Words in a name that mark its value as a secret, names that do so only as a whole (unlike `code`
# in `language_code`), and values that look like secrets.
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
    """Replaces `${NAME}` by environment variables, and redacts their values in messages.

    source: the file or option that refers to them, for messages.
    """

    def __init__(self, source: str, environment: Mapping[str, str] = os.environ) -> None:
        self._source = source
        self._environment = environment
        self._forms: dict[str, str] = {}  # each text to redact, and its replacement
        self._pattern: re.Pattern[str] | None = None

    def expand(self, text: str) -> str:
        """The text with all `${NAME}` replaced; InputError for a variable that is not set."""
        return VARIABLE.sub(lambda match: self._value(match[1]), text)

    def expand_all(self, value: Any) -> Any:
        """A JSON value with all `${NAME}` in its strings replaced."""
        if isinstance(value, str):
            return self.expand(value)
        if isinstance(value, dict):
            return {key: self.expand_all(one) for key, one in value.items()}
        return [self.expand_all(one) for one in value] if isinstance(value, list) else value

    def header(self, name: str, text: str) -> str:
        """As `expand`, for a header, where only printable ASCII is safe."""
        value = self.expand(text)
        if not (value.isascii() and value.isprintable() and value == value.strip()):
            raise InputError(f"{self._source}: header {name}: expected printable ASCII letters")
        return value

    def hide(self, value: str, shown: str) -> None:
        """Make `redact` replace a value by `shown`, in every encoding in which it may occur."""
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
        """The text with all secret values replaced."""
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
                "a line break; set it to the value only"
            )
        self.hide(value, f"${{{name}}}")
        return value


def refuse_literal(
    source: str, where: str, name: str, value: object, *, secret: bool = False
) -> None:
    """Raise InputError for a value in a file or on a command line that looks like a secret.

    secret: treat it as one, whatever its name.
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
