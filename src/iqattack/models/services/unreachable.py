"""Why a service gave no answer, with the remedy."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # errors of OpenSSL for plain HTTP
# Errors of h11 for answers that it cannot parse, and our messages.
FOREIGN = (
    ("illegal status line", "does not speak HTTP; https:// instead of http://?"),
    ("illegal request line", "does not speak HTTP; https:// instead of http://?"),
    ("_SWITCH_UPGRADE", "answered 101 (switching protocols): check the URL"),
    ("Receive buffer too long", "answered with headers that are too long: check the URL"),
)

MAY_PASS = ("illegal status line", "illegal request line", "Receive buffer too long")
DISCONNECTED = "disconnected"


def why(error: Exception, reason: str, *, proven: bool = False) -> tuple[str, bool]:
    """The message to follow a service's URL, and whether a retry may help.

    error: of httpx, before an answer began. reason: its redacted text. proven: whether the service
    has returned a score.
    """
    causes = list(_causes(error))
    if any(isinstance(one, ssl.SSLCertVerificationError) for one in causes):
        return (
            "has a certificate that is not trusted: check the URL, or name the authority's"
            " certificate in SSL_CERT_FILE",
            False,
        )
    if any(isinstance(one, ssl.SSLError) for one in causes):
        if any(word in reason for word in NO_TLS):
            return "does not speak TLS; http:// instead of https://?", False
        return f"cannot be reached (TLS failed, {reason}): check the URL", True
    if any(isinstance(one, socket.gaierror) for one in causes):
        return "cannot be reached (unknown host name): check the URL and the network", True
    return _of_connection(type(error).__name__, causes, reason, proven)


def _of_connection(
    kind: str, causes: list[BaseException], reason: str, proven: bool
) -> tuple[str, bool]:
    if kind == "ProxyError":
        return f"is behind a proxy that failed ({reason}): check HTTP_PROXY and HTTPS_PROXY", True
    if kind == "ConnectError":
        system = [one.strerror for one in causes if isinstance(one, OSError) and one.strerror]
        reason = system[-1].lower() if system else reason
        return f"cannot be reached ({reason}): check that it runs and the URL", True
    for words, said in FOREIGN:
        if words in reason and not (proven and words in MAY_PASS):
            return said, False
    if kind == "RemoteProtocolError" and DISCONNECTED not in reason:
        return f"sent an invalid HTTP answer ({reason})", proven
    return f"closed the connection without an answer ({reason}): check that it runs", True


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
