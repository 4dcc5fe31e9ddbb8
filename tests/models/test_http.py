"""Services on 127.0.0.1: what arrives there, what is made of answers, and what is never shown."""

import base64
import contextlib
import email
import email.policy
import email.utils
import gzip
import html
import json
import logging
import math
import runpy
import socket
import ssl
import sys
import threading
import time
import traceback
import tracemalloc
import zlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import torch

import iqattack
from iqattack.engine import QueryLog
from iqattack.errors import InputError, NotSentError, TransientError
from iqattack.images import write_png
from iqattack.models import ModelFailedError, answers
from iqattack.models.inputs import UINT8, Input
from iqattack.models.services.bodies import LARGEST
from iqattack.models.services.credentials import Credentials
from iqattack.models.services.http import LONGEST_RETRY_S, RATE, Http, load_http
from iqattack.models.services.settings import HttpSettings
from iqattack.models.services.unreachable import why
from iqattack.scoring import Request, Threads

pytestmark = pytest.mark.usefixtures("few_resamples")

_helper = runpy.run_path(str(Path(__file__).parents[1] / "faulty_server.py"))
Server, FaultyServer = _helper["Server"], _helper["FaultyServer"]
Reply, as_json, pixels = _helper["Reply"], _helper["as_json"], _helper["pixels"]

IMAGES = torch.randint(256, (3, 3, 20, 24), generator=torch.Generator().manual_seed(0)).byte()
SECRET = "s3cr3t/with+odd=signs&\"quotes' and <more>"
FAILURES = (TransientError, InputError)


@pytest.fixture
def serve():
    """A function that starts a server with a function of what is asked, or a fixed answer."""
    servers = []

    def start(reply=None):
        fixed = as_json({"score": 41.5}) if reply is None else reply
        server = Server(reply if callable(reply) else lambda asked: fixed)
        servers.append(server)
        return server.__enter__()

    yield start
    for server in servers:
        server.__exit__()


def service(server, path="/score", *, convention=UINT8, **options):
    return Http(
        HttpSettings.of({"url": server.url + path} | options, "test"), convention=convention
    )


def failure(scorer, images=IMAGES[:1]):
    with pytest.raises(FAILURES) as caught:
        scorer(images)
    assert "\n" not in str(caught.value)
    return caught.value


# -- where the image goes in the request ----------------------------------------------------------


def test_a_picture_as_the_body(serve):
    server = serve()
    assert service(server)(IMAGES[:1]) == [41.5]
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/score")
    assert asked.headers["content-type"] == "image/png"
    assert asked.headers["user-agent"].startswith("iqattack/")
    assert asked.body.startswith(b"\x89PNG")
    assert (pixels(asked.body) == IMAGES[0].numpy()).all()


@pytest.mark.parametrize("text", ["size=16x12", "grey", "bgr", "crop=8", "size=32,resample=area"])
def test_what_arrives_is_what_the_convention_makes(serve, text):
    server = serve()
    convention = Input.parse(text)
    service(server, convention=convention)(IMAGES[:1])
    wanted = convention.pictures(IMAGES[:1])[0]
    arrived = pixels(server.asked[0].body)
    assert arrived.shape[1:] == wanted.shape[1:]
    assert (arrived == wanted.expand(3, -1, -1).numpy()).all()


def test_a_content_type_of_one_s_own(serve):
    server = serve()
    service(server, headers={"Content-Type": "application/octet-stream"})(IMAGES[:1])
    assert server.asked[0].headers["content-type"] == "application/octet-stream"


def parts(asked):
    """The parts of a form: (name, file's name, bytes)."""
    head = f"Content-Type: {asked.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + asked.body, policy=email.policy.HTTP)
    return [
        (
            part.get_param("name", header="content-disposition"),
            part.get_filename(),
            part.get_payload(decode=True),
        )
        for part in message.iter_parts()
    ]


def test_multipart(serve):
    server = serve(as_json({"scores": [1, 2]}))
    scorer = service(server, image="multipart:file", batch=2, body={"task": "quality"})
    assert scorer(IMAGES[:2]) == [1.0, 2.0]
    text, *files = parts(server.asked[0])
    assert text == ("task", None, b"quality")
    assert [(name, file) for name, file, _ in files] == [("file", "0.png"), ("file", "1.png")]
    assert all(
        (pixels(file[2]) == image.numpy()).all()
        for file, image in zip(files, IMAGES[:2], strict=True)
    )


def test_json_in_a_template(serve):
    server = serve()
    body = {"model": "m", "inputs": [{"kind": "picture"}]}
    service(server, image="json:inputs.0.image", body=body, method="PUT")(IMAGES[:1])
    sent = json.loads(server.asked[0].body)
    assert server.asked[0].method == "PUT"
    png = base64.b64decode(sent["inputs"][0].pop("image"))
    assert sent == body
    assert (pixels(png) == IMAGES[0].numpy()).all()


def test_a_data_url(serve):
    server = serve(as_json({"choices": [{"message": {"content": "**7.5**"}}]}))
    body = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Grade it."}]}]}
    scorer = service(
        server,
        image="data-url:messages.0.content.1.image_url.url",
        body=body,
        score="choices.0.message.content",
        pattern=r"(\d+(?:\.\d+)?)",
    )
    assert scorer(IMAGES[:1]) == [7.5]
    url = json.loads(server.asked[0].body)["messages"][0]["content"][1]["image_url"]["url"]
    head, _, data = url.partition(",")
    assert head == "data:image/png;base64"
    assert (pixels(base64.b64decode(data)) == IMAGES[0].numpy()).all()


def test_a_json_batch(serve):
    def reply(asked):
        sent = json.loads(asked.body)["images"]
        means = [float(pixels(base64.b64decode(one)).mean()) for one in sent]
        return as_json({"results": [{"score": mean} for mean in means]})

    server = serve(reply)
    scorer = service(server, image="json:images.*", batch=2, score="results.*.score")
    assert scorer(IMAGES) == IMAGES.double().mean((1, 2, 3)).tolist()
    assert [len(json.loads(asked.body)["images"]) for asked in server.asked] == [2, 1]
    assert scorer.requests == 2


def test_params_and_the_query_of_the_url_are_both_sent(serve, monkeypatch):
    monkeypatch.setenv("IQ_KEY", "a b/c")
    server = serve()
    service(server, "/score?v=1", params={"key": "${IQ_KEY}", "n": 3})(IMAGES[:1])
    assert server.asked[0].path == "/score?v=1&key=a+b%2Fc&n=3"


def test_options_after_the_hash_are_not_sent(serve):
    server = serve(as_json({"a": {"b": "it is 7/10"}}))
    scorer = load_http(
        server.url + r"/s#image=multipart:f&score=a.b&pattern=(\d%2B)/10&score_range=0,10"
        "&lower_better=true&name=my%20model&concurrency=2&rate=unlimited&price=0.5"
    )
    assert scorer(IMAGES[:1]) == [7.0]
    assert server.asked[0].path == "/s"
    assert (scorer.name, scorer.score_range, scorer.lower_better) == ("my model", (0, 10), True)
    assert (scorer.concurrency, scorer.rate, scorer.price) == (2, None, 0.5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("scoer=x", "unknown key of 'http://127.0.0.1:9/s': 'scoer': did you mean 'score'?"),
        ("score", "#score: expected name=value"),
        ("batch=2&batch=3", "#batch=3: given twice"),
        ("headers=x", "headers needs a TOML file"),
        ("url=http://x", "url needs a TOML file"),
        ("batch=two", "batch = 'two': expected a valid integer"),
        ("score_range=5", "score_range = '5': expected two numbers"),
    ],
)
def test_wrong_options(options, said):
    with pytest.raises(InputError) as caught:
        load_http(f"http://127.0.0.1:9/s#{options}")
    assert said in str(caught.value)


# -- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "options", "score"),
    [
        ('{"score": 7}', {}, 7.0),
        ('{"score": "7.25"}', {}, 7.25),
        ('{"score": [7.5]}', {}, 7.5),
        ("41.5", {"score": ""}, 41.5),
        ('{"score": Infinity}', {}, math.inf),
        ('{"score": 1' + "0" * 400 + "}", {}, math.inf),
        ("I give it 7/10.", {"pattern": r"(\d+(?:\.\d+)?)\s*/\s*10"}, 7.0),
        ("<b>**7.5**</b>", {"pattern": r"(\d+(?:\.\d+)?)"}, 7.5),
        ('{"a": {"n": 3}}', {"score": "a", "pattern": r'"n": (\d)'}, 3.0),
    ],
)
def test_scores(serve, text, options, score):
    assert service(serve(Reply(text.encode())), **options)(IMAGES[:1]) == [score]


def test_nan_is_a_score_that_is_not_finite(serve):
    assert math.isnan(service(serve(Reply(b'{"score": NaN}')))(IMAGES[:1])[0])


BAD = [
    (
        b"<html>\n<h1>Log in</h1></html>",
        {},
        "answered '<html> <h1>Log in</h1></html>': not JSON",
    ),
    (b"", {}, "empty answer"),
    (b"[" * 100_000, {}, "not JSON"),
    (b'{"quality": 4}', {}, "score=score: no 'score' in the answer, which has quality"),
    (b'{"score": null}', {}, "no number at 'score'"),
    (b'{"score": true}', {}, "no number at 'score'"),
    (b'{"score": "good"}', {}, "no number at 'score'; set pattern= for a score within text"),
    (b'{"score": [1, 2]}', {}, "2 scores at 'score' for 1 images"),
    (b"excellent", {"pattern": r"(\d+)"}, r"pattern '(\d+)' does not match"),
    (b"1.2.3", {"pattern": r"([\d.]+)"}, "no number"),
]


@pytest.mark.parametrize(("body", "options", "said"), BAD)
def test_an_answer_without_a_score(serve, body, options, said):
    """It stays so where no answer was understood before; else the service is in trouble."""
    good = b'{"score": 1}' if not options else b"7"
    replies = [body, good, body]
    server = serve(lambda asked: Reply(replies[asked.number]))
    scorer = service(server, **options)
    first = failure(scorer)
    assert isinstance(first, ModelFailedError)
    assert not first.transient
    assert said in str(first)
    scorer(IMAGES[:1])
    later = failure(scorer)
    assert isinstance(later, TransientError)
    assert later.billed
    assert said in str(later)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 529])
def test_asked_again_later(serve, status):
    server = serve(as_json({"detail": "busy"}, status, **{"Retry-After": "0.25"}))
    error = failure(service(server))
    assert isinstance(error, TransientError)
    assert error.retry_after == 0.25
    assert not error.billed
    assert f'answered {status} \'{{"detail": "busy"}}\'' in str(error)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        pytest.param(email.utils.formatdate(time.time() + 1e6), LONGEST_RETRY_S, id="in 12 days"),
        (email.utils.formatdate(0), 0.0),
        ("1e9", LONGEST_RETRY_S),
        ("-3", 0.0),
        ("soon", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", LONGEST_RETRY_S),
        ("Mon, 99 Foo 99999999999999999999 00:00:00 GMT", None),
        ("1e400", LONGEST_RETRY_S),
        ("nan", None),
    ],
)
def test_retry_after(serve, text, seconds):
    error = failure(service(serve(Reply(b"", 500, {"Retry-After": text}))))
    assert error.retry_after == seconds


@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 405, 413, 415, 422, 451, 501, 505])
def test_final(serve, status):
    error = failure(service(serve(Reply(b"no\n way", status))))
    assert isinstance(error, ModelFailedError)
    assert not error.transient
    assert f"/score answered {status} 'no way'" in str(error)


def test_a_redirect_is_not_followed(serve):
    target = "http://me:pw@other.example/login?next=token"
    server = serve(Reply(b"", 307, {"Location": target}))
    error = failure(service(server))
    assert isinstance(error, ModelFailedError)
    assert "redirects to http://other.example/login (307)" in str(error)
    assert "pw" not in str(error)
    assert server.received == 1


def test_a_relative_redirect(serve):
    error = failure(service(serve(Reply(b"", 301, {"Location": "/score/?a=b"}))))
    assert "redirects to /score/ (301)" in str(error)


@pytest.mark.parametrize(("how", "billed"), [("reset", False), ("cut", True)])
def test_a_lost_connection(serve, how, billed):
    error = failure(service(serve(Reply(b'{"sco', how=how))))
    assert isinstance(error, TransientError)
    assert error.billed == billed


def test_a_service_that_hangs(serve):
    error = failure(service(serve(Reply(how="hang")), timeout=0.2))
    assert isinstance(error, TransientError)
    assert "did not answer within 0.2 s" in str(error)


def test_an_answer_that_comes_in_drops():
    """Each wait is short; the time limit holds for all of them."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        ended = threading.Event()

        def drip():
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
                while not ended.wait(0.05):
                    try:
                        connection.sendall(b" ")
                    except OSError:
                        return

        thread = threading.Thread(target=drip)
        thread.start()
        error = failure(load_http(url, timeout=0.3))
        ended.set()
        thread.join(10)
    assert isinstance(error, TransientError)
    assert "did not answer within 0.3 s" in str(error)


@contextlib.contextmanager
def raw_server(answer):
    """Its address; it reads the beginning of a request and gives the connection to `answer`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve_one():
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(1 << 16)
                answer(connection)

        thread = threading.Thread(target=serve_one)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        thread.join(10)
        assert not thread.is_alive()


EMPTY = bytes.fromhex("0000 00ffff")  # a block of deflate that holds nothing


@pytest.mark.parametrize(
    ("head", "drop"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X-Wait: 1\r\n"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\nContent-Length: 100000\r\n\r\n",
            EMPTY,
        ),
    ],
)
def test_the_time_limit_is_one_of_the_whole_request(head, drop):
    """Each read is short; the connection is closed, which ends the server, too."""

    def drip(connection):
        connection.sendall(head)
        while True:
            connection.sendall(drop)
            time.sleep(0.02)

    with raw_server(drip) as address:
        scorer = load_http(f"http://{address}/", timeout=0.3)
        error = failure(scorer)
        assert isinstance(error, TransientError)
        assert "did not answer within 0.3 s; raise --timeout" in str(error)


def couriers():
    return [one for one in threading.enumerate() if one.name == "iqattack-request"]


def test_threads_and_connections_are_used_again(serve):
    before = couriers()
    scorer = service(serve())
    for _ in range(5):
        scorer(IMAGES[:1])
    (one,) = [one for one in couriers() if one not in before]
    assert one.daemon
    scorer.close()
    one.join(10)
    assert not one.is_alive()


def test_a_request_that_is_left_behind_is_not_sent_later(serve):
    server = serve()
    scorer = service(server)
    client = scorer._connect()
    courier = SimpleNamespace(tool=client, left=True)
    assert scorer._exchange(scorer._request([b"png"]), courier) is None
    assert server.received == 0
    client.close()


@pytest.mark.parametrize("kind", ["gzip", "deflate", "bare"])
def test_one_layer_of_compression_is_undone(serve, kind):
    body = b'{"score": 7}'
    packed = gzip.compress(body) if kind == "gzip" else zlib.compress(body)
    packed = packed[2:-4] if kind == "bare" else packed
    encoding = {"Content-Encoding": "gzip" if kind == "gzip" else "deflate"}
    server = serve(Reply(packed, 200, encoding))
    assert service(server)(IMAGES[:1]) == [7.0]
    assert server.asked[0].headers["accept-encoding"] == "identity"


BOMB = gzip.compress(bytes(200 << 20), 1)


@pytest.mark.parametrize(
    ("body", "encoding", "said"),
    [
        (BOMB, "gzip", "sent more than 4 MiB"),
        (gzip.compress(BOMB), "gzip, gzip", "answered with content-encoding gzip, gzip; expected"),
        (b"x", "br", "answered with content-encoding br; expected none, gzip or deflate"),
    ],
)
def test_compression_that_is_not_undone(serve, body, encoding, said):
    server = serve(Reply(body, 200, {"Content-Encoding": encoding}))
    tracemalloc.start()
    error = failure(service(server))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(error, ModelFailedError)
    assert said in str(error)
    assert peak < 60 << 20


@pytest.mark.parametrize("body", [b"no gzip", gzip.compress(b"{}", mtime=0)[:-9]])
def test_compression_that_is_broken(serve, body):
    error = failure(service(serve(Reply(body, 200, {"Content-Encoding": "gzip"}))))
    assert isinstance(error, TransientError)
    assert error.billed


def test_the_status_counts_where_a_body_cannot_be_read(serve):
    error = failure(service(serve(Reply(b"x", 503, {"Content-Encoding": "br"}))))
    assert isinstance(error, TransientError)
    assert "answered 503;" in str(error)


@pytest.mark.parametrize("charset", ["punycode", "undefined", "zlib", "no-such"])
def test_a_strange_charset_is_read_as_utf8(serve, charset):
    kind = {"Content-Type": f"application/json; charset={charset}"}
    assert service(serve(Reply(b'{"score": 7}', 200, kind)))(IMAGES[:1]) == [7.0]


def test_an_answer_without_end(serve):
    assert "sent more than 4 MiB" in str(failure(service(serve(Reply(b" " * (LARGEST + 1))))))


def test_nobody_is_there():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(load_http(f"http://127.0.0.1:{port}/score"))
    assert isinstance(error, TransientError)
    assert str(error) == (
        f"http://127.0.0.1:{port}/score cannot be reached (connection refused): check that it runs"
        " and the URL"
    )


@pytest.mark.parametrize(
    ("answer", "url", "said"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "https", "does not speak TLS; http:// instead of"),
        (b"\x15\x03\x03\x00\x02\x02\x46\r\n", "http", "does not speak HTTP; https:// instead of"),
        (b"", "http", "closed the connection without an answer"),
    ],
)
def test_what_does_not_answer_in_http(answer, url, said):
    with raw_server(lambda connection: connection.sendall(answer)) as address:
        error = failure(load_http(f"{url}://{address}/", timeout=5))
    assert said in str(error)
    assert isinstance(error, TransientError) == (not answer)


def test_reasons_that_need_a_network():
    httpx = pytest.importorskip("httpx")
    error = httpx.ConnectError("[Errno -2] Name or service not known")
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    assert why(error, "x") == (
        "cannot be reached (unknown host name): check the URL and the network",
        True,
    )
    error.__cause__ = ssl.SSLCertVerificationError(1, "self-signed certificate")
    assert "certificate that is not trusted" in why(error, "x")[0]
    assert "HTTPS_PROXY" in why(httpx.ProxyError("407"), "407")[0]


def test_images_beyond_a_request_fail_by_themselves(serve):
    replies = [as_json({"score": 1}), Reply(b"", 500), Reply(b"", 404)]
    found = service(serve(lambda asked: replies[asked.number]))(IMAGES)
    assert found[0] == 1.0
    assert [type(one) for one in found[1:]] == [TransientError, ModelFailedError]


def test_a_failure_reaches_the_pool_with_its_marks(serve):
    replies = [as_json({"score": 1}), Reply(b"", 503, {"Retry-After": "0.5"}), Reply(b"?")]
    scorer = service(
        serve(lambda asked: replies[asked.number]), score_range=(0, 9), lower_better=False
    )
    one, busy, unread = answers(scorer, IMAGES)
    assert one == 1.0
    assert isinstance(busy, ModelFailedError)
    assert isinstance(unread, ModelFailedError)
    assert (busy.transient, busy.retry_after, busy.billed) == (True, 0.5, False)
    assert (unread.transient, unread.billed) == (True, True)


def test_a_proxy_of_the_environment_does_not_get_what_is_local(serve, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server = serve()
    assert service(server)(IMAGES[:1]) == [41.5]
    assert server.received == 1


def test_without_httpx(monkeypatch):
    monkeypatch.setitem(sys.modules, "httpx", None)
    with pytest.raises(InputError, match=r"pip install 'iqattack\[http\]'"):
        load_http("http://127.0.0.1:9/")


@pytest.mark.parametrize(
    ("host", "rate"),
    [("127.0.0.1", None), ("localhost", None), ("[::1]", None), ("scores.example", RATE)],
)
def test_only_this_machine_is_asked_as_fast_as_it_answers(host, rate):
    assert load_http(f"http://{host}:9/s").rate == rate
    assert load_http(f"http://{host}:9/s#rate=unlimited").rate is None
    assert load_http(f"http://{host}:9/s#rate=3").rate == 3.0


# -- credentials ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "values",
    [
        {"url": f"http://user:{SECRET[:6]}@h/"},
        {"url": f"http://{SECRET[:6]}@h/"},
        {"url": f"http://{SECRET[:6]}:@h/"},
        {"url": f"http://{SECRET[:6]}:${{IQ_PASSWORD}}@h/"},
        *(
            {"url": f"http://h/?{name}={SECRET[:6]}"}
            for name in ("api_key", "pass", "passphrase", "code", "pin", "pwd", "sas", "sig")
        ),
        {"params": {"access": SECRET}},
        {"params": {"APIKey": SECRET}},
        {"params": {"accesstoken": SECRET}},
        *(
            {"headers": {name: SECRET}}
            for name in (
                "Authorization",
                "X-Api-Key",
                "api-key",
                "Cookie",
                "X-Auth-Token",
                "apikey",
            )
        ),
        {"headers": {"X-What": f"Bearer {SECRET}"}},
        {"params": {"accessToken": SECRET}},
        {"params": {"key": SECRET}},
        {"params": {"key": "$KEY"}},
        {"image": "json:a", "body": {"auth": {"password": SECRET}}},
    ],
)
def test_a_credential_that_is_written_out_is_refused(values):
    with pytest.raises(InputError) as caught:
        Http(HttpSettings.of({"url": "http://h/"} | values, "my.toml"), source="my.toml")
    assert "holds a credential; keep it in the environment and write ${" in str(caught.value)
    assert SECRET[:6] not in str(caught.value)


def test_what_is_no_credential_is_taken():
    values = {
        "url": "http://127.0.0.1:9/?monkey=1",
        "headers": {"Accept": "text/plain"},
        "params": {"keywords": "sharp", "max_tokens": 8},
        "image": "json:image",
        "body": {"max_tokens": 8, "prompt": "a key feature", "language_code": "en", "multipass": 1},
    }
    Http(HttpSettings.of(values, "my.toml"))


def test_a_variable_that_is_not_set(monkeypatch):
    monkeypatch.delenv("IQ_KEY", raising=False)
    values = {"url": "http://h/", "headers": {"Authorization": "Bearer ${IQ_KEY}"}}
    with pytest.raises(InputError) as caught:
        Http(HttpSettings.of(values, "x"), source="my.toml")
    assert str(caught.value) == (
        "my.toml: the environment variable IQ_KEY is not set; export IQ_KEY=…"
    )


@pytest.mark.parametrize("value", ["two\nlines", "ends\n", "ünïcode", " blank"])
def test_a_variable_that_cannot_be_a_header(monkeypatch, value):
    monkeypatch.setenv("IQ_KEY", value)
    values = {"url": "http://h/", "headers": {"X-Key": "${IQ_KEY}"}}
    with pytest.raises(InputError) as caught:
        Http(HttpSettings.of(values, "x"), source="my.toml")
    assert value.strip() not in str(caught.value)
    assert "\n" not in str(caught.value)


FORMS = {
    "raw": lambda s: s,
    "json": lambda s: json.dumps({"seen": s}),
    "quoted": lambda s: quote(s, safe=""),
    "upper": lambda s: s.upper(),
    "base64": lambda s: base64.b64encode(s.encode()).decode(),
    "html": html.escape,
    "repr": repr,
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [200, 401, 500, 302])
def test_a_server_that_repeats_the_credential_does_not_spread_it(serve, monkeypatch, form, status):
    monkeypatch.setenv("IQ_KEY", SECRET)
    text = f"you sent {FORMS[form](SECRET)}, I saw"

    def reply(asked):
        assert asked.headers["authorization"] == f"Bearer {SECRET}"
        return Reply(text.encode(), status, {"Location": f"/{FORMS['quoted'](SECRET)}"})

    scorer = service(serve(reply), headers={"Authorization": "Bearer ${IQ_KEY}"})
    error = failure(scorer)
    assert "${IQ_KEY}" in str(error)
    shown = everything_shown(scorer, error)
    for made in FORMS.values():
        assert made(SECRET) not in shown
    assert SECRET[:6] not in shown


def everything_shown(scorer, error):
    """All texts of a scorer and an exception: repr, notes, traceback, causes, contexts."""
    texts = [repr(scorer), scorer.name, scorer.url]
    texts += [repr(scorer._secrets), repr(scorer._settings)]
    seen = error
    while seen is not None:
        texts += [str(seen), repr(seen), repr(vars(seen)), *traceback.format_exception(seen)]
        seen = seen.__cause__ or seen.__context__
    return "\n".join(texts)


def test_a_user_and_a_password_in_the_url_come_from_the_environment(serve, monkeypatch):
    monkeypatch.setenv("IQ_USER", "me")
    monkeypatch.setenv("IQ_PASSWORD", SECRET)
    basic = base64.b64encode(f"me:{SECRET}".encode()).decode()
    server = serve(lambda asked: Reply(asked.headers["authorization"].encode(), 403))
    host = server.url.removeprefix("http://")
    scorer = load_http(f"http://${{IQ_USER}}:${{IQ_PASSWORD}}@{host}/score")
    error = failure(scorer)
    assert server.asked[0].headers["authorization"] == f"Basic {basic}"
    assert basic not in everything_shown(scorer, error)
    assert "Basic ${…}" in str(error)
    assert SECRET not in everything_shown(scorer, error)


@pytest.mark.parametrize("user", ["", "me:hidden%2Fword@"])
def test_a_whole_url_from_the_environment(serve, monkeypatch, user):
    server = serve(lambda asked: Reply(repr([asked.path, asked.headers]).encode(), 404))
    url = server.url.replace("://", f"://{user}")
    monkeypatch.setenv("IQ_URL", f"{url}/hidden/path?sig=hidden%20too")
    scorer = Http(HttpSettings.of({"url": "${IQ_URL}", "name": "mine"}, "my.toml"))
    error = failure(scorer)
    assert server.asked[0].path == "/hidden/path?sig=hidden%20too"
    basic = base64.b64encode(b"me:hidden/word").decode()
    assert server.asked[0].headers.get("authorization") == (f"Basic {basic}" if user else None)
    assert scorer.rate is None
    assert "hidden" not in everything_shown(scorer, error)
    assert basic not in everything_shown(scorer, error)


def test_parts_of_a_url_from_the_environment(serve, monkeypatch):
    server = serve(lambda asked: Reply(f"{asked.path}".encode(), 404))
    address = server.url.replace("http://", "")
    monkeypatch.setenv("IQ_HOST", address)
    monkeypatch.setenv("IQ_PATH", "hidden/path")
    scorer = load_http("http://${IQ_HOST}/${IQ_PATH}?key=${IQ_PATH}")
    error = failure(scorer)
    assert server.asked[0].path == "/hidden/path?key=hidden/path"
    assert scorer.rate is None
    assert address not in everything_shown(scorer, error)
    assert "hidden" not in everything_shown(scorer, error)


def test_literal_values_of_a_query_are_not_quoted(serve):
    server = serve(lambda asked: Reply(f"{asked.path} v=2".encode(), 404))
    scorer = service(server, "/score?tenant=h1dden%2Fone&v=2", params={"user": "h1dden two"})
    error = failure(scorer)
    assert server.asked[0].path == "/score?tenant=h1dden%2Fone&v=2&user=h1dden+two"
    assert "h1dden" not in str(error)
    assert "answered 404 '/score?tenant=…&v=2&user=… v=2'" in str(error)
    assert "h1dden" not in str(failure(service(server, "/score?h1dden-key")))


def test_the_log_of_httpx_holds_no_credentials(serve, monkeypatch, caplog):
    monkeypatch.setenv("IQ_KEY", SECRET)
    for name in ("httpx", "httpcore"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.NOTSET)
    caplog.set_level(logging.DEBUG)
    options = {"params": {"key": "${IQ_KEY}"}, "headers": {"Authorization": "Bearer ${IQ_KEY}"}}
    assert service(serve(), **options)(IMAGES[:1]) == [41.5]
    assert logging.getLogger().isEnabledFor(logging.DEBUG)
    assert not [record for record in caplog.records if record.name.startswith("http")]


def test_credentials_in_the_body(serve, monkeypatch):
    monkeypatch.setenv("IQ_KEY", SECRET)
    server = serve(lambda asked: Reply(asked.body, 400))
    body = {"auth": [{"token": "${IQ_KEY}"}]}
    scorer = service(server, image="json:auth.1", body=body)
    error = failure(scorer)
    assert json.loads(server.asked[0].body)["auth"][0]["token"] == SECRET
    assert SECRET[:6] not in everything_shown(scorer, error)


def test_texts_of_httpx_are_without_credentials(monkeypatch):
    monkeypatch.setenv("IQ_KEY", "h0st-secret")
    error = failure(load_http("http://127.0.0.1:1/${IQ_KEY}"))
    assert "h0st" not in str(error)
    with pytest.raises(InputError) as caught:
        load_http("http://127.0.0.1:${IQ_KEY}/")
    assert "h0st" not in str(caught.value)


def test_redaction_takes_the_longest_first():
    credentials = Credentials("x", {"A": "abc", "B": "abcdef"})
    assert credentials.expand("${A} ${B} $A") == "abc abcdef $A"
    assert credentials.redact("abcdef-abc-ABCDEF") == "${B}-${A}-${B}"


# -- in a run -------------------------------------------------------------------------------------


def play(pool, images):
    todo, replies = [Request(f"{n}.png", 1, image) for n, image in enumerate(images)], []
    while todo or pool.pending:
        while todo and pool.pending < pool.capacity:
            pool.submit([todo.pop(0)])
        replies += pool.wait()
    return replies


def test_requests_at_once_stay_within_the_threads_and_are_counted(serve):
    """Whatever the description says: the threads are what --concurrency asks for."""
    server = serve()
    scorer = service(server, concurrency=2, score_range=(0, 100), lower_better=False)
    assert scorer.concurrency == 2
    pool = Threads(scorer, 3)
    replies = play(pool, IMAGES.repeat(30, 1, 1, 1))
    pool.close()
    assert [reply.score for reply in replies] == [41.5] * 90
    assert scorer.requests == server.received == 90
    assert 1 <= server.most <= 3


@pytest.mark.parametrize("how", ["hold", "close"])
def test_what_waits_for_its_turn_is_not_sent_any_more(serve, how):
    scorer = service(serve(), rate=2e-5)
    started, found = threading.Event(), []

    def ask():
        pictures = scorer._convention.pictures

        def marked(images):
            started.set()
            return pictures(images)

        scorer._convention = SimpleNamespace(pictures=marked)
        found.extend(scorer(IMAGES))

    scorer(IMAGES[:1])
    thread = threading.Thread(target=ask)
    thread.start()
    assert started.wait(10)  # the call has begun, and only then is it stopped
    getattr(scorer, how)()
    thread.join(10)
    assert not thread.is_alive()
    assert [type(one) for one in found] == [NotSentError] * 3
    assert len({id(one) for one in found}) == 3
    assert "not queried" in str(found[0])
    assert scorer.requests == 1


def test_after_a_hold_calls_are_sent_again(serve):
    scorer = service(serve())
    scorer.hold()
    assert scorer(IMAGES) == [41.5] * 3
    assert scorer.requests == 3


def score(image):
    """50 + a weighted sum of (3, H, W) uint8, in integers until the last division."""
    weights = (np.arange(image.size, dtype=np.int64).reshape(image.shape) * 7919) % 7 - 3
    return 50.0 + int((image * weights).sum()) * 20 / image.size


def test_a_run_holds_no_credential(serve, tmp_path, monkeypatch):
    """Even where the service fails and says it all; what it scored is there."""
    monkeypatch.setenv("IQ_KEY", SECRET)

    def reply(asked):
        if pixels(asked.body).shape[1] == 40:
            return Reply(f"{asked.path} {asked.headers['authorization']}".encode(), 401)
        return as_json({"score": score(pixels(asked.body)), "you": asked.headers["authorization"]})

    server = serve(reply)
    (tmp_path / "set").mkdir()
    for number, size in enumerate([(40, 48), (48, 40)]):
        image = torch.full((3, *size), 100 + number, dtype=torch.uint8)
        write_png(tmp_path / "set" / f"{number}.png", image)
    (tmp_path / "model.toml").write_text(
        f'url = "{server.url}/s"\nparams = {{ key = "${{IQ_KEY}}" }}\nname = "mine"\n'
        'headers = { Authorization = "Bearer ${IQ_KEY}" }\n'
        "score_range = [0, 100]\nlower_better = false\n"
    )
    run = iqattack.attack(
        tmp_path / "set",
        str(tmp_path / "model.toml"),
        out=tmp_path / "run",
        attack="square",
        constraint="linf:3",
        objective="up",
        queries=10,
    )
    assert sorted(result.failed for result in run.results) == [False, True]
    assert server.asked[0].headers["authorization"] == f"Bearer {SECRET}"
    written = b"".join(
        path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()
    )
    assert b"answered 401" in written
    assert b"${IQ_KEY}" in written
    for made in FORMS.values():
        assert made(SECRET).encode() not in written
    assert SECRET[:6].encode() not in written


@pytest.mark.slow
def test_an_attack_through_a_faulty_service_ends_like_one_on_the_model_itself(tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "set").mkdir()
    for number, size in enumerate([(40, 48), (48, 40), (40, 48)]):
        pixels_ = torch.from_numpy(rng.integers(40, 215, (3, *size), dtype=np.uint8))
        write_png(tmp_path / "set" / f"{number}.png", pixels_)
    options: dict[str, Any] = {
        "attack": "square",
        "constraint": "linf:3",
        "objective": "up",
        "queries": 100,
    }
    local = iqattack.wrap(
        lambda images: [score(image.numpy()) for image in images],
        name="integers",
        score_range=(0.0, 100.0),
        lower_better=False,
    )
    wanted = iqattack.attack(tmp_path / "set", local, out=tmp_path / "local", **options)
    retry = iqattack.Retry(retries=12, first_s=0.01, longest_s=0.05)
    with FaultyServer(score, seed=5) as server:
        scorer = service(
            server, name="integers", score_range=(0, 100), lower_better=False, timeout=2
        )
        pool = Threads(scorer, 8, retry=retry)
        found = iqattack.attack(
            tmp_path / "set", scorer, out=tmp_path / "remote", pool=pool, retry=retry, **options
        )
        pool.close()
        scorer.close()
        assert set(server.failed) == {"busy", "broken", "reset", "hang", "garbled"}
        pictures = sorted((tmp_path / "local").rglob("*.png"))
        assert len(pictures) == 3
        for path in pictures:
            other = tmp_path / "remote" / path.relative_to(tmp_path / "local")
            assert path.read_bytes() == other.read_bytes()
        assert [r.score_adv for r in found.results] == [r.score_adv for r in wanted.results]
        # No picture was answered well twice, but for the two with which the model is checked.
        assert sorted(server.well.values())[-2:] == [6, 6]
        assert set(server.well.values()) == {1, 6}
        with QueryLog(tmp_path / "remote" / "log.sqlite", read_only=True) as log:
            queries = sum(log.queries(name) for name in log.images())
            attempts = sum(log.attempts().values())
        assert queries == sum(server.well.values())
        assert attempts == sum(server.failed.values())
        assert scorer.requests == server.received == queries + attempts


# -- more than was asked for ----------------------------------------------------------------------


def http_answer(body, extra=b"", length=None):
    length = len(body) if length is None else length
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s%s" % (length, body, extra)


def _head(reader):
    """The lines of a request before its body; nothing at the end of the connection."""
    lines = []
    while (line := reader.readline()) not in (b"\r\n", b""):
        lines.append(line)
    return b"".join(lines)


@contextlib.contextmanager
def kept_open(answers, behind=(), pause=0.0):
    """A server that keeps connections, and answers each request with the next of these bytes.

    behind: what it sends after them, in the same packet or after a pause in seconds.
    """
    answers, behind = iter(answers), iter(behind)

    def serve(connection):
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reader:
            while head := _head(reader):
                reader.read(int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]))
                answer, more = next(answers), next(behind, b"")
                connection.sendall(answer + (b"" if pause else more))
                time.sleep(pause)
                connection.sendall(more if pause else b"")

    def accept():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/score"


@pytest.mark.parametrize("extra", [http_answer(b'{"score": 99}'), b"rubbish\r\n\r\n"])
@pytest.mark.parametrize("pause", [0.0, 0.05])
def test_a_service_that_sends_more_than_its_answer_is_refused(extra, pause):
    """Which is the answer is not known; the next one would be read from the rest."""
    with kept_open([http_answer(b'{"score": 1}')] * 2, [extra] * 2, pause) as url:
        error = failure(Http(HttpSettings.of({"url": url}, "test")))
    assert "sent extra data after its answer; fix the service" in str(error)
    assert not isinstance(error, TransientError)


def test_what_comes_behind_a_later_answer_is_not_the_next_one():
    answers = [http_answer(b'{"score": %d}' % number) for number in range(5)]
    with kept_open(answers, [b"", http_answer(b'{"score": 99}'), b"", b"\r\n", b""]) as url:
        scorer = Http(HttpSettings.of({"url": url}, "test"))
        assert scorer(IMAGES[:1]) == [0.0]
        error = failure(scorer)
        assert isinstance(error, TransientError) and error.billed
        # Blank lines do not matter.
        assert [scorer(IMAGES[:1])[0] for _ in range(3)] == [2.0, 3.0, 4.0]
        scorer.close()


def test_an_answer_cut_by_its_length_is_asked_for_again():
    good = http_answer(b'{"score": 1}')
    cut = http_answer(b'{"score": 12345}', length=6)
    with kept_open([good, cut, good]) as url:
        scorer = Http(HttpSettings.of({"url": url}, "test"))
        assert scorer(IMAGES[:1]) == [1.0]
        error = failure(scorer)
        assert isinstance(error, TransientError) and error.billed
        assert scorer(IMAGES[:1]) == [1.0]
        scorer.close()


def test_what_is_not_http_passes_for_a_service_that_has_scored():
    with kept_open(
        [http_answer(b'{"score": 1}'), b"HTTP?\r\n\r\n", http_answer(b'{"score": 2}')]
    ) as url:
        scorer = Http(HttpSettings.of({"url": url}, "test"))
        assert scorer(IMAGES[:1]) == [1.0]
        assert isinstance(failure(scorer), TransientError)
        assert scorer(IMAGES[:1]) == [2.0]
        scorer.close()


def test_another_protocol_is_not_asked_again():
    with kept_open([b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"]) as url:
        error = failure(Http(HttpSettings.of({"url": url}, "test")))
    assert "answered 101" in str(error) and not isinstance(error, TransientError)


@pytest.mark.parametrize("port", ["99999", "65536", "0"])
def test_a_port_that_there_is_not(port):
    with pytest.raises(InputError, match=f"port {port}: expected 1 to 65535"):
        Http(HttpSettings.of({"url": f"http://127.0.0.1:{port}/score"}, "test"))


def test_an_address_without_its_bracket():
    with pytest.raises(InputError, match=r"url: expected http://HOST:PORT/PATH"):
        Http(HttpSettings.of({"url": "http://[::1/score"}, "test"))


def test_json_after_a_byte_order_mark():
    with kept_open([http_answer(b'\xef\xbb\xbf{"score": 3}')]) as url:
        assert Http(HttpSettings.of({"url": url}, "test"))(IMAGES[:1]) == [3.0]


@pytest.mark.parametrize("status", [429, 503])
def test_a_service_that_is_asked_too_much_names_what_to_do(serve, status):
    server = serve(Reply(b"no", status=status))
    assert "--retries" in str(failure(service(server)))
