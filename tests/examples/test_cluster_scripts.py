"""examples/slurm.sh and ray_job.sh, with stand-ins for what clusters have."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer

from iqattack.cli.app import app

EXAMPLES = Path(__file__).parents[2] / "examples"
SLURM = {
    "SLURM_JOB_NODELIST": "n[1-3]",
    "SLURM_JOB_NUM_NODES": "3",
    "SLURM_JOB_ID": "123456",
    "SLURM_CPUS_PER_TASK": "8",
    "SLURM_GPUS_ON_NODE": "1",
}
STANDS_IN = {  # scripts by name; each says what it was given
    "srun": 'exec sleep "${SECONDS_OF_ATTACK:-0}"',
    "ray": 'case "$1" in get-auth-token) echo "$TOKEN"; exec [ -n "$TOKEN" ];; '
    'status) echo "it says why"; exec [ -z "$NO_RAY" ];; esac',
    "scontrol": '[ "$1" != show ] || printf "n1\\nn2\\nn3\\n"',
    "iqattack": "trap 'exit 130' TERM; "
    'for _ in $(seq $((10 * ${SECONDS_OF_ATTACK:-0}))); do sleep 0.1; done; exit "${STATUS:-0}"',
}


@dataclass
class Started:
    """Starts a script; `said` then has what was called, a line each."""

    start: Callable[..., subprocess.Popen[str]]
    said: Path
    folder: Path

    def __call__(self, script, **more):
        return self.start(script, **more)


@pytest.fixture
def started(tmp_path):
    for name, does in STANDS_IN.items():
        path = tmp_path / name
        path.write_text(f'#!/bin/bash\necho {name} "$@" >> "$SAID"\n{does}\n')
        path.chmod(0o755)
    said = tmp_path / "said"
    said.touch()

    def start(script, **more):
        given = {"IMAGES": "my photos", "MODEL": "m.py:load", "OUT": "runs/a", "SAID": str(said)}
        given |= {"TOKEN": "a-token", "NO_RAY": ""}
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
        env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        return subprocess.Popen(
            ["bash", EXAMPLES / script],
            env=env | SLURM | given | path | more,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    return Started(start, said, tmp_path)


def calls(said, name):
    return [line for line in said.read_text().splitlines() if line.startswith(f"{name} ")]


ATTACK = (
    "iqattack attack my photos --model m.py:load --out runs/a --resume --engine ray --address {} "
    "--device cuda --gpus-per-worker 0.25"
)


@pytest.mark.skipif(sys.platform == "win32", reason="Slurm runs on Linux")
@pytest.mark.parametrize("status", [0, 1])
def test_a_slurm_job_attacks_with_all_of_its_nodes(started, status):
    assert started("slurm.sh", STATUS=str(status)).wait(30) == status
    assert calls(started.said, "iqattack") == [ATTACK.format("n1:23456 --workers 12")]
    while len(calls(started.said, "srun")) < 2:  # which run beside it
        time.sleep(0.02)
    head, others = sorted(calls(started.said, "srun"), key=lambda call: "--exclude" in call)
    assert "--nodelist=n1" in head
    assert "ray start --head --port 23456" in head
    assert "--nodes=2 --ntasks=2 --exclude=n1 ray start --address n1:23456" in others
    assert all("--num-cpus 8 --num-gpus 1 --block" in call for call in (head, others))
    assert calls(started.said, "scontrol") == ["scontrol show hostnames n[1-3]"]


@pytest.mark.skipif(sys.platform == "win32", reason="Slurm runs on Linux")
@pytest.mark.parametrize("token", ["a-token", ""])
def test_all_nodes_of_a_slurm_job_have_one_token_where_ray_knows_them(started, token):
    """A head requires a token found in the home folder; others send it only if configured to."""
    stands_in = started.folder / "iqattack"
    stands_in.write_text(
        '#!/bin/bash\necho "iqattack ${RAY_AUTH_MODE-none} ${RAY_AUTH_TOKEN-none}" >> "$SAID"\n'
    )
    assert started("slurm.sh", TOKEN=token).wait(30) == 0
    expected = f"token {token}" if token else "none none"
    assert calls(started.said, "iqattack") == [f"iqattack {expected}"]


@pytest.mark.skipif(sys.platform == "win32", reason="Slurm runs on Linux")
@pytest.mark.parametrize("lives", [True, False])
def test_a_slurm_job_on_which_ray_does_not_start_fails(started, lives):
    """It ends at once where the head has ended, and else after some tries."""
    (started.folder / "sleep").write_text("#!/bin/bash\n")
    (started.folder / "sleep").chmod(0o755)
    if lives:
        (started.folder / "srun").write_text("#!/bin/bash\nexec tail -f /dev/null\n")
    job = started("slurm.sh", NO_RAY="1")
    assert job.wait(30) == 1
    if lives:  # as Slurm ends the steps of a job
        os.killpg(job.pid, signal.SIGKILL)
    assert "Ray did not start on n1: it says why" in job.stderr.read()
    assert calls(started.said, "iqattack") == []
    tries = len(calls(started.said, "ray")) - 1
    assert tries == 20 if lives else 1 <= tries <= 20


@pytest.mark.skipif(sys.platform == "win32", reason="Slurm runs on Linux")
def test_a_slurm_job_whose_time_is_up_is_queued_again(started):
    job = started("slurm.sh", SECONDS_OF_ATTACK="20")
    while not calls(started.said, "iqattack"):
        time.sleep(0.02)
    time.sleep(0.2)
    job.send_signal(signal.SIGTERM)
    assert job.wait(15) == 130
    assert calls(started.said, "scontrol")[1:] == ["scontrol requeue 123456"]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script")
def test_a_ray_job_is_submitted(started):
    assert started("ray_job.sh").wait(30) == 0
    (call,) = calls(started.said, "ray")
    assert call.startswith("ray job submit --working-dir . ")
    assert call.endswith(f" -- {ATTACK.format('auto')}")


@pytest.mark.parametrize("script", ["slurm.sh", "ray_job.sh"])
def test_the_options_of_the_examples_are_there(script):
    commands = typer.main.get_group(app).commands
    there = {name for option in commands["attack"].params for name in option.opts}
    text = (EXAMPLES / script).read_text().partition('iqattack attack "')[2].partition("&\n")[0]
    given = re.findall(r"--[a-z-]+", text)
    assert len(given) == {"slurm.sh": 8, "ray_job.sh": 7}[script]
    assert there.issuperset(given)
