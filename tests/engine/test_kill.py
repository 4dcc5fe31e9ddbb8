"""A run that is killed again and again, or its workers, ends as one that was left alone."""

import csv
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest

from iqattack.engine import QueryLog

IMAGES, QUERIES, BATCH, WORKERS = 9, 110, 3, 2
KILLS = 20
# Each worker has a call that is being scored, and one or two on their way back: what nobody reads
# any more is sent until the system has closed the connection.
IN_FLIGHT = WORKERS * 3 * BATCH

MODEL = """
import os, pathlib, time
import torch
from iqattack.engine import image_hash

SLOW = pathlib.Path(__file__).with_name("slow")  # while it is there, and so many seconds

def load():
    asked = os.open(os.environ["ASKED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def score(images):
        scores = []
        for image in images:
            grey = image.int()
            fine = (grey[:, :, 1:] - grey[:, :, :-1]).abs().sum()
            scores.append(int(3 * fine + grey.sum()) / image.numel())
            time.sleep(float(SLOW.read_text()) if SLOW.exists() else 0.0015)
            os.write(asked, f"{os.getpid():010d} {image_hash(image):020d}\\n".encode())
        return scores

    score.score_range, score.lower_better = (0.0, 400.0), False
    return score
"""
LINE = 32  # bytes of the side file per image scored

# What it takes to import stays in memory: a run is forked from there, and its workers from the run.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["iqattack.api", "iqattack.cli.app", "iqattack.cli.attack"])
FORKING = Path(__file__).parents[1] / "forking.py"
PROGRAM = """
import os, runpy, sys
os.environ["ASKED"], os.environ["OMP_NUM_THREADS"] = {asked!r}, "1"
sys.stdout = sys.stderr = open({errors!r}, "a", buffering=1)
if {new} != 1:
    runpy.run_path({forking!r})["fork_workers"]({new})
from iqattack.cli import main
sys.exit(main({arguments!r}))
"""


class Started:
    """A run of `iqattack attack` in a process of its own.

    new: every n-th of its workers starts as users' workers do, the others are forked; 0: none.
    """

    def __init__(self, folder, out, *options, new=0):
        self.out, self.asked, self._errors = out, out.with_suffix(".asked"), out.with_suffix(".err")
        self.asked.touch()
        arguments = [
            *("attack", folder / "images", "--model", f"{folder / 'model.py'}:load"),
            *("--attack", "score-boundary", "--queries", QUERIES, "--batch", BATCH),
            *("--out", out, *(["--resume"] if (out / "run.toml").exists() else []), *options),
        ]
        program = PROGRAM.format(
            asked=str(self.asked),
            errors=str(self._errors),
            arguments=list(map(str, arguments)),
            forking=str(FORKING),
            new=new,
        )
        self._process = FORKS.Process(target=exec, args=(program, {}))
        self._process.start()
        self.pid = self._process.pid

    @property
    def running(self):
        return self._process.exitcode is None

    @property
    def errors(self):
        return self._errors.read_text() if self._errors.exists() else ""

    @property
    def scored(self):
        return self.asked.stat().st_size // LINE

    def by(self, pid):
        """Images that a process scored."""
        return sum(int(line.split()[0]) == pid for line in self.asked.read_text().splitlines())

    def workers(self):
        try:
            return psutil.Process(self.pid).children()
        except psutil.NoSuchProcess:
            return []

    def wait(self):
        self._process.join()
        return self._process.exitcode

    def finish(self, status=0):
        assert self.wait() == status, self.errors

    def send(self, number):
        os.kill(self.pid, number)


def alive(process):
    """Zombies, which were not waited for after their parent was killed, do not count."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def gone(processes):
    """Whether they end, in a few seconds."""
    for _ in range(1000):
        if not any(map(alive, processes)):
            return True
        time.sleep(0.01)
    return False


@pytest.fixture(scope="module")
def folder(kit, tmp_path_factory):
    """Images and a model, and `whole`, an undisturbed run."""
    folder = tmp_path_factory.mktemp("kill")
    (folder / "images").mkdir()
    kit.write_set(folder / "images", [(48, 40), (40, 48), (48, 40)] * (IMAGES // 3))
    (folder / "model.py").write_text(MODEL)
    whole = Started(folder, folder / "whole")
    whole.finish()
    final = rows_of(whole.out, kit)
    assert sum(map(len, final.values())) == whole.scored == IMAGES * QUERIES
    return folder


def kept(kit, folder, run, lost):
    """The rows of a run that was killed: what was scored is there, but for so many at most."""
    rows, final = rows_of(run.out, kit), rows_of(folder / "whole", kit)
    assert all(rows[name] == final[name][: len(rows[name])] for name in rows)
    logged = Counter(digest for image in rows.values() for digest, _ in image)
    scored = Counter(int(line.split()[1]) for line in run.asked.read_text().splitlines())
    assert logged <= scored
    assert (scored - logged).total() <= lost
    same_pictures(folder / "whole", run.out, finished(run.out))
    return rows


def same(kit, folder, out):
    """Whether a run ended as `whole`."""
    whole = folder / "whole"
    assert rows_of(out, kit) == rows_of(whole, kit)
    assert len(finished(out)) == IMAGES
    same_pictures(whole, out, finished(out))
    assert sorted(p.name for p in (out / "adversarial").iterdir()) == sorted(
        p.name for p in (whole / "adversarial").iterdir()
    )
    tables = []
    for run in (whole, out):
        with (run / "results.csv").open(newline="") as file:
            tables.append([row | {"attempts": ""} for row in csv.DictReader(file)])
    assert tables[0] == tables[1]


@pytest.mark.slow
@pytest.mark.parametrize("workers", [None, WORKERS])
def test_kills_lose_at_most_what_is_in_flight(kit, folder, workers):
    out = folder / f"killed-{workers}"
    options = [] if workers is None else ["--workers", str(workers)]
    lost = BATCH if workers is None else IN_FLIGHT
    (folder / "slow").write_text("0.0015" if workers is None else "0.01")
    chance = random.Random(20)
    rows, everybody = {}, []
    for kill in range(1, KILLS + 1):
        # Some are to be hit while their workers import what they need.
        run = Started(folder, out, *options, new=int(kill % 5 == 0))
        # Until so many more images were scored; now and then none, while it starts.
        wanted = run.scored + max(0, chance.randrange(-25 if workers else -5, 41))
        if wanted == run.scored:
            time.sleep(chance.uniform(0, 1))
        while run.scored < wanted and run.running:
            time.sleep(0.0005)
        # Saving a result takes longer than a batch does, and is to be hit, too.
        time.sleep(chance.uniform(0, 0.05))
        children = run.workers()
        everybody += children
        run.send(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL, f"kill {kill}: it was over already: {run.errors}"
        assert gone(children)
        # And the score at the beginning of each session that goes on.
        before, rows = rows, kept(kit, folder, run, kill * (lost + 1))
        assert all(len(rows[name]) >= len(before[name]) for name in before)
    assert len(everybody) >= (KILLS if workers else 0)
    (folder / "slow").unlink()
    run = Started(folder, out, *options)
    run.finish()
    same(kit, folder, out)
    assert run.scored <= IMAGES * QUERIES + KILLS * (lost + 1)


@pytest.mark.slow
def test_twenty_kills_of_workers(kit, folder):
    """All in one run, which does not end; some while they load the model."""
    (folder / "slow").write_text("0.02")
    run = Started(folder, folder / "workers", "--workers", str(WORKERS), new=4)
    chance = random.Random(20)
    killed = set()
    for kill in range(1, KILLS + 1):
        # Past the place where another one was lost, or an image would soon have failed by three.
        least = 0 if kill % 7 == 0 else chance.randrange(2 * BATCH + 1, 4 * BATCH)
        while True:
            assert run.running, run.errors
            fresh = [w for w in run.workers() if w.pid not in killed and run.by(w.pid) >= least]
            if fresh:
                break
            time.sleep(0.01)
        worker = chance.choice(fresh)
        killed.add(worker.pid)
        worker.kill()
    (folder / "slow").unlink()
    status = run.wait()
    kept(kit, folder, run, KILLS * 2 * BATCH)
    if status:  # three of them were killed over the same image after all
        assert status == 1, run.errors
        assert "3 workers were lost over it, the last one killed by signal 9" in run.errors
        Started(folder, run.out).finish()
    same(kit, folder, run.out)


@pytest.mark.slow
def test_a_signal_ends_a_run_and_its_workers_in_good_order(kit, folder):
    out = folder / "signals"
    (folder / "slow").write_text("0.005")  # or it may be over before a signal comes
    # Under nohup, a hangup is ignored by the tests and by what they start, as it should be.
    ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    signals = [signal.SIGINT, signal.SIGTERM, *[signal.SIGHUP] * (not ignored)]
    for again, number in enumerate(signals):
        run = Started(folder, out, "--workers", str(WORKERS), new=int(number == signal.SIGTERM))
        wanted = run.scored + 30
        while run.scored < wanted:
            assert run.running, run.errors
            time.sleep(0.001)
        children = run.workers()
        assert len(children) == WORKERS
        run.send(number)
        run.finish(130)
        assert not any(map(alive, children))
        assert "stopping after the batch in flight" in run.errors
        assert "Traceback" not in run.errors
        kept(kit, folder, run, again)  # one score at the beginning of each session that goes on
    (folder / "slow").unlink()
    Started(folder, out).finish()
    same(kit, folder, out)
    assert run.scored == IMAGES * QUERIES + len(signals)


@pytest.mark.slow
def test_a_second_signal_ends_a_run_whose_workers_hang(kit, folder):
    (folder / "slow").write_text("1000")
    run = Started(folder, folder / "hanging", "--workers", str(WORKERS), new=1)
    while len(run.workers()) < WORKERS:
        time.sleep(0.01)
    children = run.workers()
    for child in children:
        while child.status() != psutil.STATUS_SLEEPING or child.cpu_times().user < 1.0:
            time.sleep(0.05)
    for _ in range(2):
        time.sleep(0.3)
        run.send(signal.SIGINT)
    run.finish(130)
    (folder / "slow").unlink()
    assert gone(children)
    assert "Traceback" not in run.errors


def rows_of(folder, kit):
    """The log's rows by image; none before there is a log."""
    path = folder / "log.sqlite"
    if not path.is_file() or not path.stat().st_size:
        return {}
    with QueryLog(path, read_only=True) as log:
        return kit.all_rows(log)


def finished(folder):
    """Images with a result in the log."""
    path = folder / "log.sqlite"
    if not path.is_file() or not path.stat().st_size:
        return []
    with QueryLog(path, read_only=True) as log:
        return list(log.results())


def same_pictures(one, other, names):
    for name in names:
        pictures = [(folder / "adversarial" / name).read_bytes() for folder in (one, other)]
        assert pictures[0] == pictures[1], name
