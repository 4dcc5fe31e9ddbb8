import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import typer

from iqattack.cli.interrupts import end_at_once
from iqattack.cli.signals import at_once, closing_on_interrupt, stop_on_signals

SOURCE = Path(__file__).parents[2] / "src"
PROGRAM = "import sys; from iqattack.cli import main; sys.exit(main())"
OPTIONS = ["--model", "model.py:load", "--attack", "noise"]
OPTIONS += ["--constraint", "linf:3", "--queries", "40"]


def start(out, *more, slow="0"):
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1", "SLOW": slow}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "attack", "photos", *OPTIONS, "--out", out, *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )


def wait_for_queries(process):
    assert process.stderr is not None
    while '"stage"' not in (line := process.stderr.readline()):
        assert '"event": "loading"' in line
    time.sleep(0.5)


def contents(run):
    images = {path.name: path.read_bytes() for path in Path(run, "adversarial").iterdir()}
    return images, Path(run, "results.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_and_resume_give_the_same_files(work, iqattack, number):
    process = start("run", slow="0.03")
    wait_for_queries(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after the batch in flight" in err
    assert "Traceback" not in err
    command = f"iqattack attack photos {' '.join(OPTIONS)} --out run --resume"
    assert err.splitlines()[-1] == f"stopped; to continue, run: {command}"

    for more in (["run", "--resume"], ["whole"]):
        assert iqattack("attack", "photos", *OPTIONS, "--out", *more).status == 0
    assert contents("run") == contents("whole")


@pytest.mark.slow
def test_the_second_signal_stops_at_once(work):
    process = start("run", slow="30")
    time.sleep(0.1)
    while not Path("run/log.sqlite").exists():
        time.sleep(0.05)
        assert process.poll() is None
    time.sleep(0.5)
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)
    _, err = process.communicate(timeout=10)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.splitlines()[-1].endswith("--out run --resume")


# Ctrl-C before Python itself has begun is not ours: the handler is there once the program says so.
EARLY = """
import os, sys
from iqattack.cli import main
from iqattack.cli.interrupts import end_at_once
end_at_once()
os.write(1, b".")
sys.exit(main())
"""
ENDED = (0, 2, -signal.SIGINT)  # of a program that was through before, or had left Python
DELAYS_MS = (0, 20, 50, 100, 200, 400)


@pytest.mark.slow
@pytest.mark.parametrize(
    "args",
    [
        ("attacks",),
        ("verify", "run"),
        ("attack", "photos", *OPTIONS, "--out", "new"),
        ("compare", "run", "run"),
    ],
    ids=lambda args: args[0],
)
def test_ctrl_c_while_the_program_starts_is_no_traceback(work, args):
    """At any moment of its start: status 130, or that of a program that had ended already."""
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "OMP_NUM_THREADS": "1"}
    statuses = []
    for delay in DELAYS_MS * 2:
        process = subprocess.Popen(
            [sys.executable, "-c", EARLY, *args],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        assert process.stdout is not None
        assert process.stdout.read(1) == b"."
        time.sleep(delay / 1000)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert b"Traceback" not in err
        assert b"Exception ignored" not in err
        assert len(err.splitlines()) <= 1, err
        assert process.returncode in (130, *ENDED)
        statuses.append(process.returncode)
        assert not Path("new").exists()
    assert statuses[0] == statuses[len(DELAYS_MS)] == 130


def test_an_ignored_ctrl_c_and_an_ignored_sighup_stay_so(monkeypatch):
    """As of a program in the background, and under nohup."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGHUP)}
    try:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        end_at_once()
        with closing_on_interrupt():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        with stop_on_signals():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_handlers_are_put_back_and_ctrl_c_ends_a_block_with_130():
    mine = lambda *_: None  # noqa: E731
    before = signal.signal(signal.SIGINT, mine)
    try:
        with at_once():
            assert signal.getsignal(signal.SIGINT) is not mine
        assert signal.getsignal(signal.SIGINT) is mine
        closed = []
        with pytest.raises(typer.Exit) as end, closing_on_interrupt():
            try:
                signal.raise_signal(signal.SIGINT)
            finally:
                closed.append("the block")
        assert (end.value.exit_code, closed) == (130, ["the block"])
        assert signal.getsignal(signal.SIGINT) is mine
    finally:
        signal.signal(signal.SIGINT, before)


def test_outside_the_main_thread_handlers_stay_as_they_are():
    before, found = signal.getsignal(signal.SIGINT), []

    def enter():
        with at_once(), closing_on_interrupt(), stop_on_signals():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [before]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_a_model_that_is_still_loading(work, number):
    Path("slow.py").write_text(
        "import pathlib, time\n"
        "def load():\n    pathlib.Path('loading').touch()\n    time.sleep(60)\n"
    )
    model = ("--model", "slow.py:load", "--score-range", "0,1", "--no-lower-better")
    command = [sys.executable, "-m", "iqattack", "attack", "photos", *model, "--out", "new"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not Path("loading").exists():
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(number)
    _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not Path("new").exists()
