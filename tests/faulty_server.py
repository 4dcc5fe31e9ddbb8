"""A server on 127.0.0.1 for tests of remote scorers, and one that fails in all the usual ways."""

import hashlib
import json
import random
import socket
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cv2
import numpy as np

FAULTS = {"busy": 0.10, "broken": 0.05, "reset": 0.05, "hang": 0.02, "garbled": 0.01}


@dataclass
class Asked:
    """A request as it arrived; headers with names in lower case."""

    method: str
    path: str
    headers: dict
    body: bytes
    number: int  # from 0


@dataclass
class Reply:
    """What to answer; how: answer, reset, hang, or cut, which ends within the body."""

    body: bytes = b""
    status: int = 200
    headers: dict = field(default_factory=dict)
    how: str = "answer"


def pixels(png):
    """A PNG file as (3, H, W) uint8 RGB."""
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    return np.ascontiguousarray(picture[..., ::-1].transpose(2, 0, 1))


def as_json(value, status=200, **headers):
    return Reply(json.dumps(value).encode(), status, {"Content-Type": "application/json"} | headers)


class Server:
    """Answers what `reply(asked)` says; `asked` are the requests that it received."""

    def __init__(self, reply):
        self.asked = []
        self.most = self.running = 0  # requests at once
        self.ended = threading.Event()
        self.lock = threading.Lock()
        self.http = _Http(self, reply)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.http.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    @property
    def received(self):
        return len(self.asked)


class FaultyServer(Server):
    """Scores PNG bodies, and fails for given fractions of the requests.

    score: of (3, H, W) uint8 RGB. What becomes of the n-th request is a function of the seed and n.
    clean: requests that it answers well before the first fault. well: how often it answered each
    picture, by hash; failed: how often what happened.
    """

    def __init__(self, score, *, faults=FAULTS, seed=0, clean=1):
        super().__init__(self.answer)
        self.score, self.faults, self.seed, self.clean = score, faults, seed, clean
        self.well, self.failed = Counter(), Counter()

    def fault(self, number):
        left = random.Random(f"{self.seed} {number}").random()
        for name, share in self.faults.items() if number >= self.clean else ():
            left -= share
            if left < 0:
                return name
        return None

    def answer(self, asked):
        fault = self.fault(asked.number)
        if fault is not None:
            with self.lock:
                self.failed[fault] += 1
        match fault:
            case "busy":
                return as_json({"detail": "busy"}, 429, **{"Retry-After": "0.01"})
            case "broken":
                return Reply(b"<h1>Internal Server Error</h1>", 500)
            case "reset" | "hang":
                return Reply(how=fault)
            case "garbled":
                return Reply(b'{"score": 4')
        image = pixels(asked.body)
        score = self.score(image)
        with self.lock:
            self.well[hashlib.sha256(repr(image.shape).encode() + image.tobytes()).hexdigest()] += 1
        return as_json({"score": score})


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, owner, reply):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.owner, self.reply = owner, reply

    def shutdown_request(self, request):
        self.close_request(request)  # without the polite end that would go before a reset

    def handle_error(self, *_):
        """A client that left."""


class _Handler(BaseHTTPRequestHandler):
    server: _Http
    protocol_version = "HTTP/1.1"  # connections are kept
    disable_nagle_algorithm = True
    timeout = 30

    def do_POST(self):
        server = self.server.owner
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        with server.lock:
            asked = Asked(self.command, self.path, headers, body, len(server.asked))
            server.asked.append(asked)
            server.running += 1
            server.most = max(server.most, server.running)
        try:
            reply = self.server.reply(asked)
        finally:
            with server.lock:
                server.running -= 1
        self.close_connection = reply.how != "answer"
        match reply.how:
            case "hang":
                server.ended.wait(30)
            case "reset":
                reset = struct.pack("ii", 1, 0)
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            case _:
                more = 10 if reply.how == "cut" else 0
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(reply.body) + more))
                self.end_headers()
                self.wfile.write(reply.body)

    do_PUT = do_PATCH = do_POST  # noqa: N815

    def log_message(self, *_):
        """Nothing on standard error."""
