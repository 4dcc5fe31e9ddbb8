"""Why a service gave no answer, in words that say what to do."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator

NO_TLS = ("WRONG_VERSION_NUMBER", "RECORD_LAYER_FAILURE")  # what OpenSSL says of plain HTTP
NO_HTTP = ("illegal status line", "illegal request line")  # what h11 says of anything else


def why(error: Exception, reason: str) -> tuple[str, bool]:
    """What follows a service's URL in a message, and whether asking again may do.

    error: of httpx, before an answer began. reason: its text, fit to be shown.
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
    return _of_connection(type(error).__name__, causes, reason)


def _of_connection(kind: str, causes: list[BaseException], reason: str) -> tuple[str, bool]:
    if kind == "ProxyError":
        return f"is behind a proxy that failed ({reason}): check HTTP_PROXY and HTTPS_PROXY", True
    if kind == "ConnectError":
        system = [one.strerror for one in causes if isinstance(one, OSError) and one.strerror]
        reason = system[-1].lower() if system else reason
        return f"cannot be reached ({reason}): check that it runs and the URL", True
    if any(words in reason for words in NO_HTTP):
        return "does not speak HTTP; https:// instead of http://?", False
    return f"closed the connection without an answer ({reason}): check that it runs", True


def _causes(error: BaseException) -> Iterator[BaseException]:
    found: BaseException | None = error
    while found is not None:
        yield found
        found = found.__cause__ or found.__context__
