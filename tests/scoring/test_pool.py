"""Pools: what comes back, what is asked again, and what is kept when a model fails."""

import math
import multiprocessing
import os
import pickle
import signal
import threading
import time
import urllib.error
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import pairwise
from types import SimpleNamespace

import psutil
import pytest
import torch

import iqattack
from iqattack.errors import InputError, TransientError
from iqattack.models import ModelFailedError, WrongAnswerError
from iqattack.models.checked import is_transient
from iqattack.scoring import NO_RETRY, Executor, InProcess, Pool, Processes, Request, Retry, Threads
from iqattack.scoring.contract import Done, ScorePool
from iqattack.scoring.inline import ask
from iqattack.scoring.pool import WorkerDiedError

QUICK = Retry(retries=3, first_s=0.001, longest_s=0.002)


def request(value, *, size=16, number=1):
    """An image whose score is its value, at (0, 0, 0)."""
    image = torch.full((3, size, size), 7, dtype=torch.uint8)
    image[0, 0, 0] = value
    return Request(f"{value}.png", number, image)


def values(images):
    return [int(image[0, 0, 0]) for image in images]


class Scorer:
    """Answers values; `fail(value, n)` says what becomes of the n-th time that one is asked."""

    name, score_range, lower_better, min_size = "values", (0.0, 255.0), False, 1

    def __init__(self, fail=lambda value, n: None, batch=lambda values: None):
        self.fail, self.batch = fail, batch
        self.calls = []
        self.asked = Counter()

    def __call__(self, images):
        asked = values(images)
        self.calls.append(asked)
        self.asked.update(asked)
        self.batch(asked)
        found = [self.fail(value, self.asked[value]) or float(value) for value in asked]
        return found if any(isinstance(one, Exception) for one in found) else torch.tensor(found)


def raising(error, *bad, times=math.inf):
    """Raises for the whole batch where one of these values is in it, so many times."""
    left = [times]

    def batch(asked):
        if set(asked) & set(bad) and left[0] > 0:
            left[0] -= 1
            raise error() if isinstance(error, type) else error

    return batch


def play(pool, requests):
    """All replies, in the order in which they came; the pool is kept full."""
    todo, replies = list(requests), []
    while todo or pool.pending:
        while todo and (not pool.pending or pool.pending + pool.batch <= pool.capacity):
            call = todo[: pool.batch]
            del todo[: len(call)]
            pool.submit(call)
        replies += pool.wait()
    assert pool.pending == 0
    assert pool.wait() == []
    return replies


def scores(replies):
    return {r.request.name: r.score for r in replies if r.score is not None}


def errors(replies, *, final=True):
    found = [r for r in replies if r.error is not None and r.final == final]
    return {r.request.name: r for r in found} if final else found


@pytest.fixture(params=["in process", "threads", "executor"])
def make(request):
    """Makes a pool of each kind that scores in this process."""
    close: list[Callable[[], object]] = []

    def pool(scorer, *, batch=None, retry=QUICK):
        made: ScorePool
        match request.param:
            case "in process":
                made = InProcess(scorer, batch=batch, retry=retry)
            case "threads":
                made = Threads(scorer, 3, batch=batch or 1, retry=retry)
            case _:
                executor = ThreadPoolExecutor(3)
                close.append(executor.shutdown)
                made = Executor(scorer, executor, 3, batch=batch or 1, retry=retry)
        close.insert(0, made.close)
        return made

    yield pool
    for each in close:
        each()


@pytest.mark.parametrize("batch", [1, 4, None])
def test_every_image_is_answered_once(make, batch):
    scorer = Scorer()
    replies = play(make(scorer, batch=batch), [request(k) for k in range(30)])
    assert scores(replies) == {f"{k}.png": float(k) for k in range(30)}
    assert all(reply.final for reply in replies)
    assert len(replies) == scorer.asked.total() == 30


def test_images_of_a_failed_batch_are_asked_again_in_halves(make):
    scorer = Scorer(batch=raising(ValueError("singular"), 5))
    replies = play(make(scorer, batch=8), [request(k) for k in range(8)])
    assert scores(replies) == {f"{k}.png": float(k) for k in range(8) if k != 5}
    failed = errors(replies)
    assert set(failed) == {"5.png"}
    assert (
        str(failed["5.png"].error) == "model 'values' failed to score images: ValueError: singular"
    )
    assert not failed["5.png"].transient
    assert sorted(map(len, scorer.calls)) == [1, 1, 2, 2, 4, 4, 8]
    assert scorer.asked.total() == len(replies)  # each is a score or an attempt


@pytest.mark.parametrize("batch", [1, 3, 8])
def test_of_answers_with_exceptions_the_others_are_kept(make, batch):
    def fail(value, n):
        return {2: ValueError("two"), 6: ConnectionError("six")}.get(value)

    scorer = Scorer(fail)
    replies = play(make(scorer, batch=batch), [request(k) for k in range(8)])
    assert scores(replies) == {f"{k}.png": float(k) for k in range(8) if k not in {2, 6}}
    assert scorer.asked == dict.fromkeys(range(8), 1) | {6: 4}  # 1 + 3 retries, that one alone
    failed = errors(replies)
    assert {name: reply.transient for name, reply in failed.items()} == {
        "2.png": False,
        "6.png": True,
    }
    assert isinstance(failed["6.png"].error, ModelFailedError)
    assert len(errors(replies, final=False)) == 3
    assert sum(reply.final for reply in replies) == 8


def named(*names):
    """An exception class whose bases have these names, as a library's that is absent here."""
    kind = Exception
    for name in reversed(names):
        kind = type(name, (kind,), {})
    return kind


TRANSIENT = [
    TimeoutError(),
    ConnectionError(),
    ConnectionResetError(),
    BrokenPipeError(),
    TimeoutError(),
    urllib.error.URLError(TimeoutError("timed out")),
    urllib.error.URLError(ConnectionRefusedError()),
    TransientError("busy"),
    named("ReadTimeout", "Timeout", "RequestException")(),  # requests
    named("ConnectTimeout", "ConnectionError", "RequestException")(),
    named("ReadTimeout", "TimeoutException", "TransportError", "RequestError")(),  # httpx
    named("RemoteProtocolError", "ProtocolError", "TransportError")(),
    named("ReadTimeoutError", "TimeoutError", "HTTPError")(),  # urllib3
    named("NameResolutionError", "NewConnectionError", "HTTPError")(),
    named("ServerDisconnectedError", "ServerConnectionError", "ClientConnectionError")(),  # aiohttp
]
FATAL = [
    ValueError("no"),
    KeyError("score"),
    urllib.error.URLError("unknown url type"),
    urllib.error.URLError(OSError("certificate")),
    named("ConnectionErrors")(),
    named("InvalidURL", "RequestException")(),
    OSError("disk"),
]


@pytest.mark.parametrize("error", TRANSIENT, ids=lambda e: type(e).__name__)
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("place", ["raised", "returned"])
def test_what_may_pass_is_asked_again(make, error, batch, place):
    if place == "raised":
        scorer = Scorer(batch=raising(error, 1, times=2))
    else:
        scorer = Scorer(lambda value, n: error if value == 1 and n <= 2 else None)
    replies = play(make(scorer, batch=batch), [request(k) for k in range(4)])
    assert scores(replies) == {f"{k}.png": float(k) for k in range(4)}
    attempts = errors(replies, final=False)
    assert all(reply.transient for reply in attempts)
    assert scorer.asked.total() == 4 + len(attempts)
    assert scorer.asked[1] == 3


@pytest.mark.parametrize("error", FATAL, ids=lambda e: type(e).__name__)
def test_what_does_not_pass_is_not_asked_again(make, error):
    scorer = Scorer(lambda value, n: error if value == 1 else None)
    replies = play(make(scorer), [request(k) for k in range(4)])
    assert not is_transient(error)
    assert scorer.asked == dict.fromkeys(range(4), 1)
    assert set(errors(replies)) == {"1.png"}


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_so_many_retries_of_one_image(make, retries):
    retry = Retry(retries=retries, first_s=0.0)
    scorer = Scorer(batch=raising(TimeoutError("slow"), 1))
    replies = play(make(scorer, batch=1, retry=retry), [request(k) for k in range(3)])
    assert scorer.asked == {0: 1, 1: 1 + retries, 2: 1}
    (failed,) = errors(replies).values()
    assert failed.transient
    assert str(failed.error).endswith("TimeoutError: slow")
    with pytest.raises(InputError, match="retries -1: expected 0 or more"):
        Retry(retries=-1)


def test_retries_are_counted_anew_for_another_query(make):
    """Of the same image, too: an engine never sends one twice, other users may."""
    scorer = Scorer(lambda value, n: TimeoutError() if n % 3 else None)
    pool = make(scorer, batch=1, retry=Retry(retries=2, first_s=0.0))
    again = request(1)
    for _ in range(3):
        assert scores(play(pool, [again])) == {"1.png": 1.0}
    assert scorer.asked == {1: 9}


@pytest.mark.parametrize("billed", [False, True])
def test_what_a_failure_cost_is_reported(make, billed):
    scorer = Scorer(lambda value, n: TransientError("busy", billed=billed) if n == 1 else None)
    replies = play(make(scorer), [request(1)])
    assert [(r.final, r.transient, r.billed, r.score) for r in replies] == [
        (False, True, billed, None),
        (True, False, False, 1.0),
    ]


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
def test_short_of_memory_batches_are_halved_until_they_fit(make, error):
    def batch(asked):
        if len(asked) > 2:
            raise error

    scorer = Scorer(batch=batch)
    pool = make(scorer, batch=8)
    replies = play(pool, [request(k) for k in range(40)])
    assert len(scores(replies)) == 40
    assert pool.batch == 2
    assert not errors(replies)
    large = [call for call in scorer.calls if len(call) > 2]
    assert len(large) <= 3 * 3  # those in flight at first, and their halves


def test_out_of_memory_on_one_image_is_final_and_says_so(make):
    scorer = Scorer(batch=raising(torch.OutOfMemoryError, 3))
    replies = play(make(scorer, batch=4), [request(k, size=20) for k in range(8)])
    (failed,) = errors(replies).values()
    assert str(failed.error) == (
        "model 'values': out of memory on one image of 20×20 pixels; use smaller images "
        "(--resize) or another device"
    )
    assert len(scores(replies)) == 7


@pytest.mark.parametrize(
    "answer",
    [
        lambda found: torch.tensor(sum(found) / len(found)),
        lambda found: [sum(found)],
        lambda found: torch.zeros(len(found) + 1) if len(found) > 1 else found,
        lambda found: "high" if len(found) > 1 else found,
    ],
)
@pytest.mark.parametrize("batch", [2, 8])
def test_a_wrong_answer_for_a_batch_is_asked_one_at_a_time_with_a_note(make, answer, batch):
    class Reduced(Scorer):
        def __call__(self, images):
            return answer(super().__call__(images).tolist())

    scorer = Reduced()
    pool = make(scorer, batch=batch)
    replies = play(pool, [request(k) for k in range(16)])
    assert scores(replies) == {f"{k}.png": float(k) for k in range(16)}
    assert pool.batch == 1
    assert pool.notes
    assert len(pool.notes) == 1, pool.notes
    assert pool.notes[0].endswith("; so it is queried one image at a time")
    assert f"for {batch} images" in pool.notes[0]


def test_the_first_batch_of_unknown_size_finds_out_a_model_that_reduces():
    scorer = Scorer(batch=lambda asked: None)
    pool = InProcess(lambda_scorer(lambda images: images.double().mean()), retry=QUICK)
    assert pool.batch == 2
    replies = play(pool, [request(k) for k in range(9)])
    assert len(scores(replies)) == 9
    assert len(pool.notes) == 1
    assert pool.batch == 1
    assert not scorer.calls


def lambda_scorer(function):
    class Lambda:
        name, score_range, lower_better, min_size = "lambda", (0.0, 255.0), False, 1
        __call__ = staticmethod(function)

    return Lambda()


def test_a_wrong_answer_for_one_image_is_final(make):
    scorer = lambda_scorer(lambda images: ["none"] * len(images))
    replies = play(make(scorer), [request(k) for k in range(4)])
    assert len(errors(replies)) == 4
    assert all(isinstance(r.error, WrongAnswerError) for r in errors(replies).values())


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_passed_on(make, score):
    replies = play(make(Scorer(lambda value, n: score)), [request(1)])
    assert replies[0].score == pytest.approx(score, nan_ok=True)
    assert replies[0].error is None


class Quit(KeyboardInterrupt):
    """Out of a model."""


@pytest.mark.parametrize("error", [Quit, GeneratorExit])
def test_of_what_ends_the_program_nothing_that_came_back_is_lost(error):
    """In any order: the others are replied to, then it is raised, again and again."""
    entered, go = threading.Semaphore(0), threading.Event()

    def batch(asked):
        entered.release()
        if asked == [1]:
            raise error
        go.wait()

    pool = Threads(Scorer(batch=batch), 3)
    pool.submit([request(0)])
    pool.submit([request(1)])
    pool.submit([request(2)])
    for _ in range(3):
        entered.acquire()
    go.set()
    found = {}
    with pytest.raises(error):
        while True:
            found |= scores(pool.wait())
    assert found == {"0.png": 0.0, "2.png": 2.0}
    for _ in range(2):
        with pytest.raises(error):
            pool.wait()
    pool.submit([request(3)])
    with pytest.raises(error):
        pool.wait()
    pool.close()


def test_what_ends_the_program_goes_through_in_process():
    pool = InProcess(Scorer(batch=raising(Quit, 1)), batch=1)
    pool.submit([request(1)])
    with pytest.raises(Quit):
        pool.wait()
    pool.close()


def test_a_model_that_exits_fails_its_image(make):
    replies = play(make(Scorer(batch=raising(SystemExit(3), 1))), [request(k) for k in range(3)])
    assert len(scores(replies)) == 2
    assert str(errors(replies)["1.png"].error).endswith("SystemExit: 3")


def test_unless_it_is_to_nothing_is_sent_again(make):
    scorer = Scorer(batch=raising(TimeoutError, 1))
    pool = make(scorer, batch=1)
    pool.submit([request(1)])
    (reply,) = pool.wait(resend=False)
    assert (reply.final, pool.pending, pool.running) == (False, 1, 0)
    for _ in range(3):
        assert pool.wait(resend=False) == []
    assert scorer.asked == {1: 1}
    while pool.pending:
        pool.wait()
    assert scorer.asked == {1: 4}


def test_it_can_be_woken(make):
    pool = make(Scorer(batch=raising(TimeoutError, 1)), retry=Retry(first_s=1000.0))
    pool.submit([request(1)])
    (reply,) = pool.wait()
    assert not reply.final
    threading.Timer(0.05, pool.wake).start()
    assert pool.wait() == []
    assert pool.pending == 1


def test_it_does_not_sit_out_a_long_pause():
    """Nobody would hear Ctrl-C meanwhile, who is asked between two calls of `wait`."""
    pool = InProcess(Scorer(batch=raising(TimeoutError, 1)), retry=Retry(first_s=1000.0))
    pool.submit([request(1)])
    pool.wait()
    done = threading.Event()

    def wait():
        pool.wait()
        done.set()

    threading.Thread(target=wait, daemon=True).start()
    assert done.wait(20.0)


def test_closing_twice_is_no_fault(make):
    pool = make(Scorer())
    assert len(play(pool, [request(1)])) == 1
    pool.close()
    pool.close()


def test_more_may_be_submitted_than_fits(make):
    scorer = Scorer(lambda value, n: TimeoutError() if n == 1 and value % 3 == 0 else None)
    pool = make(scorer, batch=2)
    everything = [request(k) for k in range(40)]
    for k in range(0, 40, 2):
        pool.submit(everything[k : k + 2])
    replies = []
    while pool.pending:
        replies += pool.wait()
    assert len(scores(replies)) == 40


@pytest.mark.parametrize("options", [{"batch": 0}, {"batch": -1}])
def test_sizes_that_make_no_sense(options):
    with pytest.raises(InputError, match=r"batch size .*: expected at least 1"):
        InProcess(Scorer(), **options)
    with pytest.raises(InputError, match="concurrent calls 0: expected at least 1"):
        Threads(Scorer(), 0)


# -- pauses ---------------------------------------------------------------------------------------


class Clocked:
    """A backend with a simulated clock, which advances only while a caller waits."""

    name, slots = "clocked", 4

    def __init__(self, scorer):
        self.scorer, self.calls = scorer, []
        self.now = 0.0
        self.sent = []  # values and time of each call

    @property
    def running(self):
        return len(self.calls)

    def start(self, call):
        self.sent.append((values(r.image for r in call.requests), self.now))
        self.calls.append(call)

    def finished(self, timeout):
        if not self.calls:
            self.now += timeout
            return []
        call = self.calls.pop(0)
        return [Done(call, *ask(self.scorer, call.images))]

    def wake(self):
        pass

    def forget(self):
        self.calls.clear()

    def hold(self):
        pass

    def close(self):
        pass


@pytest.fixture
def clocked(monkeypatch):
    def make(scorer, **options):
        backend = Clocked(scorer)
        fake = SimpleNamespace(monotonic=lambda: backend.now)
        monkeypatch.setattr("iqattack.scoring.pool.time", fake)
        return Pool(backend, **options), backend

    return make


def test_pauses_double_up_to_the_longest_and_differ_by_chance(clocked):
    retry = Retry(retries=8, first_s=2.0, longest_s=20.0)
    pauses = []
    for _ in range(20):
        pool, backend = clocked(Scorer(batch=raising(TimeoutError, 1)), batch=1, retry=retry)
        play(pool, [request(1)])
        times = [at for _, at in backend.sent]
        assert len(times) == 9
        pauses.append([b - a for a, b in pairwise(times)])
    for each in zip(*pauses, strict=True):
        assert len(set(each)) > 10  # of 20
    for number, least in enumerate([2, 4, 8, 16, 20, 20, 20, 20]):
        assert all(least - 1e-9 <= each[number] <= least + 2 + 1e-9 for each in pauses)


@pytest.mark.parametrize("wanted", [0.5, 30.0])
def test_a_service_that_asks_for_a_pause_gets_it(clocked, wanted):
    error = TransientError("slow down", retry_after=wanted)
    for scorer in (
        Scorer(batch=raising(error, 1, times=2)),
        Scorer(lambda value, n: error if n <= 2 else None),
    ):
        pool, backend = clocked(scorer, batch=1, retry=Retry(first_s=1.0))
        assert scores(play(pool, [request(1)])) == {"1.png": 1.0}
        first, second, third = (at for _, at in backend.sent)
        assert second - first >= max(1.0, wanted) - 1e-9
        assert third - second >= max(2.0, wanted) - 1e-9


def test_a_service_that_asks_for_a_pause_gets_it_from_a_batch(clocked):
    error = TransientError("slow down", retry_after=30.0)
    pool, backend = clocked(Scorer(batch=raising(error, 1, times=1)), batch=4, retry=Retry())
    assert len(scores(play(pool, [request(k) for k in range(4)]))) == 4
    assert [at >= 30.0 for _, at in backend.sent] == [False, True, True]


def test_others_are_scored_during_a_pause(clocked):
    pool, backend = clocked(
        Scorer(batch=raising(TimeoutError, 1, times=1)), batch=1, retry=Retry(first_s=5.0)
    )
    replies = play(pool, [request(k) for k in (1, 2, 3, 4, 5, 6)])
    assert [value for (value,), _ in backend.sent] == [1, 2, 3, 4, 5, 6, 1]
    assert [at for _, at in backend.sent[:6]] == [0.0] * 6
    assert len(scores(replies)) == 6


def test_a_batch_whose_images_are_all_fine_alone_is_too_large_the_second_time(clocked):
    def batch(asked):
        if len(asked) > 2:
            raise RuntimeError("cudnn")

    scorer = Scorer(batch=batch)
    pool, _ = clocked(scorer, batch=4)
    replies = play(pool, [request(k) for k in range(24)])
    assert len(scores(replies)) == 24
    assert pool.batch == 2
    assert sum(len(call) > 2 for call in scorer.calls) <= 2 + Clocked.slots


@pytest.mark.parametrize("error", [ConnectionError("gone"), WorkerDiedError("died")])
def test_a_batch_that_failed_by_bad_luck_is_not_too_large(clocked, error):
    class Unlucky(Clocked):
        def finished(self, timeout):
            if self.calls and len(self.calls[0].requests) > 2 and len(self.sent) % 2:
                return [Done(self.calls.pop(0), failure, 0.0)]
            return super().finished(timeout)

    failure = (
        error
        if isinstance(error, WorkerDiedError)
        else ModelFailedError(str(error), transient=True)
    )
    _, backend = clocked(Scorer())
    unlucky = Unlucky(Scorer())
    backend.__class__, backend.__dict__ = Unlucky, unlucky.__dict__
    pool = Pool(backend, batch=4, retry=Retry())
    replies = play(pool, [request(k) for k in range(64)])
    assert len(scores(replies)) == 64
    assert pool.batch == 4
    assert errors(replies, final=False)


def test_a_batch_that_one_image_spoils_is_not_too_large(clocked):
    """Even where that image, alone, is answered with an exception."""

    class Odd(Scorer):
        def __call__(self, images):
            asked = values(images)
            if any(value % 8 == 0 for value in asked) and len(asked) > 1:
                raise ValueError("one of them is bad")
            return [ValueError("bad") if value % 8 == 0 else float(value) for value in asked]

    pool, _ = clocked(Odd(), batch=4)
    replies = play(pool, [request(k) for k in range(64)])
    assert len(scores(replies)) == 56
    assert pool.batch == 4


def test_an_image_may_take_two_workers_with_it(clocked):
    class Deadly(Clocked):
        def finished(self, timeout):
            if self.calls and 3 in values(r.image for r in self.calls[0].requests):
                return [Done(self.calls.pop(0), WorkerDiedError("killed"), 0.0)]
            return super().finished(timeout)

    for batch, deaths in ((1, 2), (4, 4)):
        _, backend = clocked(None)
        backend.__class__, backend.__dict__ = Deadly, Deadly(Scorer()).__dict__
        pool = Pool(backend, batch=batch, retry=NO_RETRY)
        replies = play(pool, [request(k) for k in range(8)])
        assert len(scores(replies)) == 7
        assert str(errors(replies)["3.png"].error) == "killed"
        assert sum(3 in asked for asked, _ in backend.sent) == deaths


# -- executors ------------------------------------------------------------------------------------


class Picklable:
    """Ends its process at value 99."""

    name, score_range, lower_better, min_size = "picklable", (0.0, 255.0), False, 1

    def __call__(self, images):
        asked = values(images)
        if 99 in asked:
            os._exit(3)
        if 98 in asked:
            raise TransientError("busy", retry_after=0.0, billed=True)
        return [ValueError("97") if value == 97 else float(value) for value in asked]


@pytest.mark.slow
def test_a_process_pool_and_one_that_breaks(monkeypatch):
    # The scorer's class has to be found by the processes: forked ones have it.
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as executor:
        monkeypatch.setattr(torch, "stack", lambda images: images[0][None])  # no threads in a fork
        pool = Executor(Picklable(), executor, 2, retry=QUICK)
        replies = play(pool, [request(k) for k in (0, 1, 97, 98, 2)])
        assert scores(replies) == {f"{k}.png": float(k) for k in range(3)}
        failed = errors(replies)
        assert {n: (r.transient, r.billed) for n, r in failed.items()} == {
            "97.png": (False, False),
            "98.png": (True, True),
        }
        assert len(errors(replies, final=False)) == 3
        replies = play(pool, [request(k) for k in (99, 3, 4, 5)])
        failed = errors(replies)
        assert len(failed) == 4 - len(scores(replies))
        assert "99.png" in failed
        assert all("BrokenProcessPool" in str(reply.error) for reply in failed.values())
        assert pool.pending == pool.running == 0


def test_a_failure_goes_through_pickle():
    error = ModelFailedError("busy", transient=True, retry_after=2.5, billed=True)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is ModelFailedError
    assert str(again) == "busy"
    assert (again.transient, again.retry_after, again.billed) == (True, 2.5, True)


# -- worker processes -----------------------------------------------------------------------------

MODEL = r"""
import os, pathlib, signal, time

HERE = pathlib.Path(__file__).parent

def load():
    def score(images):
        asked = [int(image[0, 0, 0]) for image in images]
        if 91 in asked:
            os._exit(9)
        if 92 in asked:
            os.kill(os.getpid(), signal.SIGSEGV)
        if 93 in asked and not (HERE / "seen").exists():
            (HERE / "seen").write_text(f"{os.getpid()}\n")
            time.sleep(1000)  # until it is killed
        if 94 in asked:
            raise KeyError(94)
        return [float(value) for value in asked]
    score.score_range, score.lower_better = (0.0, 255.0), False
    return score

def broken():
    raise ValueError("no weights here")

def deadly():
    os._exit(7)
"""


@pytest.fixture
def model(tmp_path):
    (tmp_path / "model.py").write_text(MODEL)
    return f"{tmp_path / 'model.py'}:"


@pytest.fixture
def processes():
    """Makes pools of processes, and closes them."""
    made = []

    def make(*arguments, **options):
        made.append(Processes(*arguments, **options))
        return made[-1]

    yield make
    for pool in made:
        pool.close()


def workers():
    children = psutil.Process().children(recursive=True)
    return [child for child in children if any("iqattack.children" in a for a in child.cmdline())]


@pytest.mark.slow
def test_images_that_end_their_workers_fail_and_no_others(model, processes, tmp_path):
    pool = processes(model + "load", 2, batch=1, retry=QUICK)
    seen = tmp_path / "seen"

    def kill():
        """The worker that sleeps, from outside; what it had scores again."""
        while not seen.exists() or not seen.read_text().endswith("\n"):
            time.sleep(0.01)
        os.kill(int(seen.read_text()), signal.SIGKILL)

    threading.Thread(target=kill, daemon=True).start()
    replies = play(pool, [request(k) for k in (0, 93, 1, 91, 2, 94, 3, 92, 4, 5)])
    assert scores(replies) == {f"{k}.png": float(k) for k in (0, 93, 1, 2, 3, 4, 5)}
    assert {name: str(reply.error) for name, reply in errors(replies).items()} == {
        "91.png": f"model '{model}load': a worker ended with status 9 while scoring",
        "92.png": f"model '{model}load': a worker was killed by signal 11 (SIGSEGV) while scoring",
        "94.png": "model 'model.py:load' failed to score images: KeyError: 94",
    }
    died = Counter(reply.request.name for reply in errors(replies, final=False))
    assert died == {"91.png": 1, "92.png": 1, "93.png": 1}
    assert all(isinstance(r.error, WorkerDiedError) for r in errors(replies, final=False))
    pool.close()
    assert not workers()
    pool.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("broken", r"ValueError: no weights here"),
        ("deadly", r"3 workers in a row ended while loading it; the last one ended with status 7"),
    ],
)
def test_a_model_that_cannot_be_loaded(model, processes, name, reason):
    pool = processes(model + name, 1)
    pool.submit([request(1)])
    with pytest.raises(InputError, match=reason):
        while True:
            pool.wait()
    pool.close()
    assert not workers()


@pytest.mark.parametrize("options", [{"processes": 0}, {"processes": 1, "batch": 0}])
def test_processes_that_make_no_sense_leave_none(model, options):
    with pytest.raises(InputError, match="expected at least 1"):
        Processes(model + "load", **options)
    assert not workers()


def test_the_interface_has_all_of_it():
    assert iqattack.TransientError is TransientError
    assert {"Executor", "InProcess", "Processes", "Retry", "Threads"} <= set(iqattack.__all__)
