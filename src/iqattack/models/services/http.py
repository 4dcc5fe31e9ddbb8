"""Models behind HTTP: `http://HOST:PORT/PATH#option=value&…`, or `url = …` in a TOML file.

Each image is sent as a PNG file, and the score is read from the answer; `HttpSettings` has the
options. The part after the # is never sent. `${NAME}` is replaced by the environment variable of
that name in requests, and restored in all output.
"""

from __future__ import annotations

import base64
import email.utils
import importlib
import ipaddress
import json
import logging
import math
import re
import select
import socket
import threading
import time
import urllib.request
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote

from torch import Tensor

from iqattack.errors import DeviceError, InputError, NotSentError, TransientError
from iqattack.models.aside import Hand, Hands, LateError
from iqattack.models.checked import ModelFailedError
from iqattack.models.inputs import UINT8, Input
from iqattack.models.png import compressed, stored
from iqattack.models.services.bodies import LARGEST, TooLargeError, as_text, unpacked
from iqattack.models.services.credentials import VARIABLE, Credentials, refuse_literal
from iqattack.models.services.json_paths import PathError, find, placed
from iqattack.models.services.limits import ClosedError, Limiter, Outcome
from iqattack.models.services.settings import MOST_AT_ONCE, HttpSettings, call_limit
from iqattack.models.services.unreachable import why
from iqattack.version import __version__

if TYPE_CHECKING:
    import httpx

TIMEOUT_S = 30.0
USUAL = 8  # concurrent requests, by default
RATE = 10.0  # requests per second to another host, by default
STORED = 1_000_000  # bytes up to which images are sent uncompressed; nginx accepts 1 MiB by default
LAST_PORT = 65535
LISTEN_S = 0.1  # after the first answer, for unexpected data
IDLE_S = 3.0  # after which a connection is closed; many servers close theirs after 5
LONGEST_RETRY_S = 300.0  # maximum delay of an image by one Retry-After
QUOTED, REASON = 80, 200  # characters of an answer in a message, and of the reason for failure
HIDDEN = 4  # shortest value in a URL's query, in characters, that messages redact
LATER = frozenset({408, 425, 429})  # besides 5xx: worth retrying later
NEVER = frozenset({501, 505})
REFUSED = frozenset({429, 503})  # too many requests
HINTS = {
    401: "check the credentials",
    403: "check the credentials",
    404: "check the URL",
    405: "check the method",
    413: "send smaller images or a smaller batch",
    415: "check where the image goes in the request (image)",
    422: "check where the image goes in the request (image, body)",
    429: "lower the rate or the concurrency, or retry longer with --retries N",
    **dict.fromkeys((500, 502, 503, 504), "retry longer with --retries N"),
}
ADDRESS = re.compile(r"(?P<scheme>https?://)(?:(?P<user>[^/?#]*)@)?(?P<rest>[^/?#]+.*)", re.DOTALL)


@dataclass(frozen=True)
class Answer:
    """A response: its status, headers with names in lower case, and body as text."""

    status: int
    headers: Mapping[str, str]
    text: str


class Http:
    """A service that scores images; may be called from several threads at once.

    requests: number sent so far. batch: maximum number of images per request. concurrency: number
    of threads to call it from; concurrent requests grow only while the service keeps up. rate:
    requests per second, None for no limit; price: of one image, None if unknown.
    """

    def __init__(
        self,
        settings: HttpSettings,
        *,
        source: str | None = None,
        convention: Input = UINT8,
        timeout: float | None = None,
    ) -> None:
        """source: name of the description in messages, by default the URL. timeout: seconds from
        the start of a request to the end of its answer.

        Raises InputError if httpx is not installed, and for an invalid URL, a literal credential, a
        variable that is not set, or an image field that does not fit the body.
        """
        self._httpx = _import_httpx()
        self.url = shown(settings.url)
        self.name = settings.name or self.url.partition("://")[2]
        self.score_range, self.lower_better = settings.score_range, settings.lower_better
        self.min_size = settings.min_size or 1
        self.batch, self.concurrency = settings.batch, settings.concurrency or USUAL
        self.price = settings.price
        self._settings = settings
        self._convention = convention.over(Input.parse(settings.input)).of_pictures("a service")
        self._image, _, self._place = settings.image.partition(":")
        self._score_path = settings.score
        if settings.score is None and settings.pattern is None:
            self._score_path = "scores" if settings.batch > 1 else "score"
        self._pattern = re.compile(settings.pattern) if settings.pattern is not None else None
        source = source or self.url
        self._timeout = call_limit(source, timeout, settings.timeout, TIMEOUT_S)
        _refuse_literals(settings, source)
        self._secrets = Credentials(source)
        self._connect = self._connected(settings, source)
        self._client = self._connect()  # builds requests
        # Each is sent in a thread with its own client: httpx has no time limit for a whole request.
        self._hands = Hands("iqattack-request", self._connect, end=self._httpx.Client.close)
        self._body = self._secrets.expand_all(settings.body)
        try:
            self._request([b""] * settings.batch)
        except (PathError, TypeError, ValueError) as error:
            reason = self._secrets.redact(str(error))
            raise InputError(f"{source}: body and image {settings.image}: {reason}") from None
        rate = settings.rate or (math.inf if self._local else RATE)
        self.rate = None if math.isinf(rate) else rate
        self._limiter = Limiter(MOST_AT_ONCE, rate)
        self._lock = threading.Lock()
        self.requests = 0
        self._understood = False  # whether the service has returned a score
        self.spec: str | None = None
        self.files: tuple[Path, ...] = ()

    def hold(self) -> None:
        """Send no more requests for the calls in progress; later calls are sent again."""
        self._limiter.hold()

    def close(self) -> None:
        """Send no more requests, and close all connections."""
        self._limiter.close()
        self._hands.close()
        self._client.close()

    def __call__(self, images: Tensor) -> list[float | Exception]:
        """Scores of images (N, 3, H, W) uint8, with an exception in place of a missing one.

        If all images went in one request, its failure is raised: TransientError if it is worth
        retrying, else ModelFailedError. Images held back by `hold` or `close` have a NotSentError.
        """
        epoch = self._limiter.epoch
        pictures = [self._png(picture) for picture in self._convention.pictures(images)]
        size = self.batch
        if len(pictures) <= size:
            return self._ask(pictures, epoch)
        found: list[float | Exception] = []
        for first in range(0, len(pictures), size):
            part = pictures[first : first + size]
            try:
                found += self._ask(part, epoch)
            except (TransientError, ModelFailedError) as error:
                found += [error] * len(part)
        return found

    # -- a request --------------------------------------------------------------------------------

    def _connected(self, settings: HttpSettings, source: str) -> Callable[[], httpx.Client]:
        """A factory of clients for the service; validates the URL and expands its variables."""
        secrets = self._secrets
        _, _, query = settings.url.partition("?")
        literal = [value or name for name, value in parse_qsl(query, keep_blank_values=True)]
        for value in (*literal, *settings.params.values()):
            if len(value) >= HIDDEN and not VARIABLE.search(value):
                secrets.hide(value, "…")
        user = password = ""
        if match := ADDRESS.fullmatch(settings.url):
            user, _, password = secrets.expand(match["user"] or "").partition(":")
            address = _address(match["scheme"] + secrets.expand(match["rest"]), source)
        else:
            address = _address(secrets.expand(settings.url), source)
            path, _, query = address["rest"].partition("/")[2].partition("?")
            for part in (path, query, *dict(parse_qsl(query)).values()):
                secrets.hide(part, "${…}")
        if address["user"]:  # percent-encoded in the variable's value
            user, _, password = (unquote(part) for part in address["user"].partition(":"))
            secrets.hide(address["user"], "${…}")
        if password:
            secrets.hide(f"{user}:{password}", "${…}")
            secrets.hide(password, "${…}")
        for proxy in urllib.request.getproxies().values():
            if "@" in proxy:
                secrets.hide(proxy.rpartition("@")[0].rpartition("/")[2], "${…}")
        # A score needs no compression, and a compressed answer may expand to any size.
        headers = {"user-agent": f"iqattack/{__version__}", "accept-encoding": "identity"} | {
            name.lower(): secrets.header(name, value) for name, value in settings.headers.items()
        }
        try:
            params = {name: secrets.expand(value) for name, value in settings.params.items()}
            url = self._httpx.URL(address["scheme"] + address["rest"])
            if url.port is not None and not 0 < url.port <= LAST_PORT:
                raise ValueError(f"port {url.port}: expected 1 to {LAST_PORT}")
            self._url = url.copy_merge_params(params) if params else url
            self._local = _is_local(self._url.host)
            return partial(
                self._httpx.Client,
                headers=headers,
                auth=(user, password) if user or password else None,
                verify=self._httpx.create_ssl_context(),
                timeout=self._timeout,
                limits=self._httpx.Limits(max_connections=1, keepalive_expiry=IDLE_S),
                # A proxy from the environment cannot resolve local names.
                trust_env=not self._local,
            )
        except (self._httpx.InvalidURL, ValueError) as error:
            raise InputError(f"{source}: url: {secrets.redact(str(error))}") from None

    def _png(self, picture: Tensor) -> bytes:
        near = self._local and picture.numel() <= STORED
        return stored(picture) if near else compressed(picture)

    def _request(self, pictures: Sequence[bytes]) -> httpx.Request:
        method, url = self._settings.method, self._url
        if self._image == "raw":
            kind = self._client.headers.get("content-type", "image/png")
            return self._client.build_request(
                method, url, content=pictures[0], headers={"content-type": kind}
            )
        if self._image == "multipart":
            files = [
                (self._place, (f"{number}.png", picture, "image/png"))
                for number, picture in enumerate(pictures)
            ]
            return self._client.build_request(method, url, files=files, data=self._body)
        prefix = "data:image/png;base64," if self._image == "data-url" else ""
        texts = [prefix + base64.b64encode(picture).decode() for picture in pictures]
        return self._client.build_request(method, url, json=placed(self._body, self._place, texts))

    def _ask(self, pictures: Sequence[bytes], epoch: int) -> list[float | Exception]:
        request = self._request(pictures)
        try:
            started = self._limiter.start(epoch)
        except ClosedError:
            return [
                NotSentError(f"{self.url}: not queried, because the run was stopped")
                for _ in pictures
            ]
        with self._lock:
            self.requests += 1
        outcome: Outcome = "failed"
        pause: float | None = None
        try:
            found = self._sent(request)
            if isinstance(found, Answer):
                if found.status < 300:
                    outcome = "answered"
                elif found.status in REFUSED:
                    outcome = "refused"
                pause = _retry_after(found.headers.get("retry-after", ""))
            elif isinstance(found, TimeoutError):
                outcome = "refused"
        finally:
            self._limiter.end(started, outcome, pause or 0.0)
        # Raised here, without an exception of httpx as context: it would hold the request.
        if not isinstance(found, Answer):
            lost = isinstance(found, TimeoutError | ConnectionError)
            raise TransientError(str(found)) if lost else found
        return list(self._scores(found, len(pictures), pause))

    def _sent(self, request: httpx.Request) -> Answer | Exception:
        """The answer, TimeoutError if it did not arrive in time, or another failure."""
        late = TimeoutError(
            f"{self.url} did not answer within {self._timeout:g} s; raise --timeout if it may take "
            "longer"
        )
        try:
            found = self._hands.run(partial(self._exchange, request), self._timeout)
        except LateError:
            return late
        return late if found is None else found

    def _exchange(
        self, request: httpx.Request, hand: Hand[httpx.Client]
    ) -> Answer | Exception | None:
        """As `_sent`, run in a thread of its own; None if no answer arrived in time."""
        httpx = self._httpx

        def stop(event: str, _: object) -> None:  # do not send an abandoned request
            if hand.left and event == "http11.send_request_headers.started":
                raise httpx.ReadTimeout("abandoned")

        request.extensions["trace"] = stop
        try:
            response = hand.tool.send(request, stream=True)
        except httpx.TimeoutException:
            return None
        except httpx.LocalProtocolError as error:
            return self._failure(f"cannot be queried: {self._quote(str(error))}")
        except (httpx.HTTPError, OSError, RuntimeError) as error:
            text = self._quote(str(error)) or type(error).__name__
            said, passing = why(error, text, proven=self._understood)
            return ConnectionError(f"{self.url} {said}") if passing else self._failure(said)
        return self._only(self._received(response), response, hand)

    def _only(
        self,
        found: Answer | Exception | None,
        response: httpx.Response,
        hand: Hand[httpx.Client],
    ) -> Answer | Exception | None:
        """The answer, or a failure if more data arrived with it.

        It is then unknown which part is the answer, and the rest would be read as the next one.
        """
        if not isinstance(found, Answer) or found.status >= 300:
            return found
        first, more = not self._understood, _behind(hand.tool)
        comes = first and _comes_more(response, LISTEN_S)
        if more or comes:
            hand.tool.close()
            hand.tool = self._connect()
        if not more.strip() and not comes:  # blank lines are harmless
            return found
        said = f"{self.url} sent extra data after its answer"
        if first:
            return ModelFailedError(f"{said}; fix the service")
        return TransientError(said, billed=True)

    def _received(self, response: httpx.Response) -> Answer | Exception | None:
        good = response.status_code < 300
        headers = {name.lower(): value for name, value in response.headers.items()}
        try:
            body = bytearray()
            for part in response.iter_raw():
                body += part
                if len(body) > LARGEST:
                    raise TooLargeError
            text = as_text(unpacked(bytes(body), headers), response.charset_encoding)
        except self._httpx.TimeoutException:
            return None
        except ValueError as error:
            if good or isinstance(error, TooLargeError):
                return self._failure(self._quote(str(error)))
            text = ""  # for a failure, the status is enough
        except (self._httpx.HTTPError, zlib.error, OSError, RuntimeError) as error:
            lost = f"{self.url} closed the connection during its answer ({self._quote(str(error))})"
            # Even a partial answer may have been billed.
            return TransientError(lost, billed=True) if good else ConnectionError(lost)
        finally:
            response.close()
        return Answer(response.status_code, headers, text)

    # -- an answer --------------------------------------------------------------------------------

    def _scores(self, answer: Answer, n: int, pause: float | None) -> list[float]:
        status = answer.status
        if 200 <= status < 300:
            return self._understand(answer.text, n)
        if 300 <= status < 400 and "location" in answer.headers:
            target = self._quote(shown(answer.headers["location"]), REASON)
            raise self._failure(
                f"redirects to {target} ({status}); use that address if it is correct"
            )
        quote = self._quote(answer.text)
        said = f"answered {status}" + (f" '{quote}'" if quote else "")
        hint = f"; {HINTS[status]}" if status in HINTS else ""
        if status in LATER or (status >= 500 and status not in NEVER):
            raise TransientError(f"{self.url} {said}{hint}", retry_after=pause)
        raise self._failure(f"{said}{hint}")

    def _understand(self, text: str, n: int) -> list[float]:
        reason = ""
        try:
            scores = self._parsed(text, n)
        except ValueError as error:
            reason = self._quote(str(error), REASON)
        if not reason:
            self._understood = True
            return scores
        said = f"answered '{self._quote(text)}': {reason}"
        if self._understood:
            raise TransientError(f"{self.url} {said}", billed=True)
        raise self._failure(said)

    def _parsed(self, text: str, n: int) -> list[float]:
        """The scores in an answer; ValueError with the reason if there are none."""
        value: Any = text
        if self._score_path is not None:
            try:
                value = json.loads(text)
            except (ValueError, RecursionError):
                what = "not JSON" if text.strip() else "empty answer"
                raise ValueError(what) from None
            try:
                value = find(value, self._score_path)
            except PathError as error:
                raise ValueError(f"score={self._score_path}: {error.args[0]}") from None
        values = value if isinstance(value, list) else [value]
        if len(values) != n:
            raise ValueError(f"{len(values)} scores at '{self._score_path}' for {n} images")
        return [self._number(one) for one in values]

    def _number(self, value: Any) -> float:
        if self._pattern is not None:
            match = self._pattern.search(value if isinstance(value, str) else json.dumps(value))
            if match is None:
                raise ValueError(f"pattern '{self._pattern.pattern}' does not match")
            value = match[1]
        try:
            if isinstance(value, bool) or not isinstance(value, int | float | str):
                raise ValueError
            return float(value)
        except OverflowError:
            return math.inf
        except ValueError:
            hint = "" if self._pattern is not None else "; set pattern= for a score within text"
            at = f" at '{self._score_path}'" if self._score_path else ""
            raise ValueError(f"no number{at}{hint if isinstance(value, str) else ''}") from None

    def _failure(self, text: str) -> ModelFailedError:
        return ModelFailedError(f"{self.url} {text}")

    def _quote(self, text: str, most: int = QUOTED) -> str:
        """The beginning of a text on one line, without credentials."""
        line = " ".join(self._secrets.redact(text).split())
        line = "".join(letter if letter.isprintable() else "�" for letter in line)
        return line if len(line) <= most else line[: most - 1] + "…"


def load_http(
    argument: str,
    *,
    device: str = "cpu",
    convention: Input = UINT8,
    timeout: float | None = None,
) -> Http:
    """The service at a URL, with options as `name=value` after a #, joined by &.

    convention, timeout: take precedence over the options. Raises InputError as `Http` does, and for
    unknown options.
    """
    url, _, text = argument.partition("#")
    source = shown(url)
    takes_no_device(source, device)
    options: dict[str, str] = {}
    for part in filter(None, text.split("&")):
        name, equals, value = part.partition("=")
        if not equals or name in options:
            wrong = "given twice" if equals else "expected name=value"
            raise InputError(f"{source}#{part}: {wrong}")
        if name in ("url", "headers", "params", "body"):
            raise InputError(f"{source}: {name} needs a TOML file, with url = … in it")
        options[name] = unquote(value)
    settings = HttpSettings.of({**options, "url": url}, source)
    return Http(settings, source=source, convention=convention, timeout=timeout)


def takes_no_device(source: str, device: str) -> None:
    """Raise DeviceError for any device, because a service chooses its own."""
    if device != "cpu":
        raise DeviceError(f"{source}: device {device}: a service takes no device; leave it out")


def shown(url: str) -> str:
    """A URL without the parts that may be secret: user, query and fragment."""
    match = ADDRESS.fullmatch(url)
    scheme, rest = (match["scheme"], match["rest"]) if match else ("", url.rpartition("@")[2])
    return scheme + re.split(r"[?#]", rest)[0]


def _address(url: str, source: str) -> re.Match[str]:
    match = ADDRESS.fullmatch(url)
    host = "" if match is None else match["rest"].partition("/")[0]
    if match is None or "#" in url or ("[" in host) != ("]" in host):
        raise InputError(f"{source}: url: expected http://HOST:PORT/PATH or https://…, without a #")
    return match


def _refuse_literals(settings: HttpSettings, source: str) -> None:
    address, _, query = settings.url.partition("?")
    match = ADDRESS.fullmatch(address)
    if match is not None and match["user"] is not None:
        for part in match["user"].split(":", 1):
            refuse_literal(source, "url:", "password", part, secret=True)
    for name, value in parse_qsl(query, keep_blank_values=True):
        refuse_literal(source, "url:", name, value)
    for where, values in (("headers:", settings.headers), ("params:", settings.params)):
        for name, value in values.items():
            refuse_literal(source, where, name, value)
    _refuse_in_body(settings.body, source)


def _refuse_in_body(value: object, source: str, name: str = "") -> None:
    if isinstance(value, dict):
        for key, one in value.items():
            _refuse_in_body(one, source, key)
    elif isinstance(value, list):
        for one in value:
            _refuse_in_body(one, source, name)
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        refuse_literal(source, "body:", name, value)


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _behind(client: httpx.Client) -> bytes:
    """Data received after an answer, which would be read as the beginning of the next one.

    httpcore closes connections with unread bytes on the socket, but not those with bytes in its own
    buffer, which is accessible only through its private connections.
    """
    pool = getattr(getattr(client, "_transport", None), "_pool", None)
    for connection in getattr(pool, "connections", ()):
        state = getattr(getattr(connection, "_connection", None), "_h11_state", None)
        if state is not None and state.trailing_data[0]:
            return bytes(state.trailing_data[0])
    return b""


def _comes_more(response: httpx.Response, seconds: float) -> bool:
    """Whether anything but blank lines follows an answer within `seconds` seconds."""
    stream = response.extensions.get("network_stream")
    connected: Any = None if stream is None else stream.get_extra_info("socket")
    try:
        readable, _, _ = select.select([connected], [], [], seconds)
        return bool(readable and connected.recv(64, socket.MSG_PEEK).strip())
    except (OSError, ValueError, TypeError):  # closed, or TLS, which cannot be peeked
        return False


def _retry_after(text: str) -> float | None:
    """The delay in seconds of a Retry-After header, a number or a date; None if invalid."""
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(text).timestamp() - time.time()
        # Not a date, or one out of range.
        except (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, OSError):
            return None
    return None if math.isnan(seconds) else min(max(0.0, seconds), LONGEST_RETRY_S)


def _import_httpx() -> Any:
    try:
        httpx = importlib.import_module("httpx")
    except ModuleNotFoundError:
        raise InputError(
            "models behind HTTP need the package 'httpx', which is not installed:"
            " pip install 'iqattack[http]'"
        ) from None
    # They log URLs at INFO and headers at DEBUG, including credentials: silence them unless a level
    # is set explicitly.
    for name in ("httpx", "httpcore"):
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.WARNING)
    return httpx
