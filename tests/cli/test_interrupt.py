import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

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
    assert '"stage"' in process.stderr.readline()
    time.sleep(0.5)


def contents(run):
    images = {path.name: path.read_bytes() for path in Path(run, "adversarial").iterdir()}
    return images, Path(run, "results.csv").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stop_and_resume_give_the_same_files(work, number):
    process = start("run", slow="0.03")
    wait_for_queries(process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after the batch in flight" in err
    assert "Traceback" not in err
    command = f"stopped; go on with: iqattack attack photos {' '.join(OPTIONS)} --out run --resume"
    assert err.splitlines()[-1] == command

    resumed, whole = start("run", "--resume"), start("whole")
    for process in (resumed, whole):
        process.communicate(timeout=60)
        assert process.returncode == 0
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
