"""Workers of a Ray cluster, on this machine: a run ends as in a single process."""

import math
import os
import signal
import socket
from dataclasses import replace
from multiprocessing.reduction import ForkingPickler

import psutil
import pytest

import iqattack
from iqattack.children import Lost
from iqattack.constraints import parse_constraint
from iqattack.engine import Interrupted, QueryLog, Searcher, cluster
from iqattack.engine.cluster import connected, lost_by, ray_module
from iqattack.engine.events import CleanScore, Failure, Replies
from iqattack.engine.schedule import Listed
from iqattack.engine.searcher import Carried, Limits, carried
from iqattack.engine.workers import Wanted
from iqattack.errors import InputError
from iqattack.images import ImageEntry, write_png
from iqattack.relay import LINGERS_S, SHORT_BYTES
from iqattack.runs import How
from iqattack.scoring import InProcess

ray = pytest.importorskip("ray")
exceptions = pytest.importorskip("ray.exceptions")

IMAGES, QUERIES, BATCH = 8, 90, 3
IN_FLIGHT = 6 * BATCH  # of a worker: being scored, and on their way back
SCORING_S = 0.012  # of an image by the model once there is a file `slow`, else a quarter of it
MODEL = (
    f"""
import os, pathlib, signal, time

HERE, SCORING_S = pathlib.Path(__file__).parent, {SCORING_S}
"""
    + """
HERE.joinpath("weights").touch()

def score(images):
    scores = []
    with HERE.joinpath("asked").open("a") as asked:
        for image in images:
            if int(image.min()) == 255:
                os.kill(os.getpid(), signal.SIGKILL)
            grey = image.int()
            fine = (grey[:, :, 1:] - grey[:, :, :-1]).abs().sum()
            scores.append(int(3 * fine + grey.sum()) / image.numel())
            time.sleep(SCORING_S if HERE.joinpath("slow").exists() else SCORING_S / 4)
            asked.write(f"{os.getpid()}\\n")
    return scores

score.score_range, score.lower_better = (0.0, 400.0), False
score.files = [HERE / "weights"]

def load():
    return score

def other():
    score.files[0].write_text(str(os.getpid()))
    return score
"""
)
DEFENCE = """
import numpy as np

def shaken(pixels, rng, by: int = 2):
    moved = pixels + rng.integers(-by, by + 1, pixels.shape)
    return np.clip(moved, 0, 255).astype(np.uint8)
"""
FAST_CHECKS = {  # of whether a node lives
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}


@pytest.fixture(scope="module")
def nodes():
    """A cluster of one node for two workers, to which others may be added."""
    utils = pytest.importorskip("ray.cluster_utils")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patched.setenv("RAY_worker_niceness", "0")
        head = {"num_cpus": 2, "include_dashboard": False, "_system_config": FAST_CHECKS}
        found = utils.Cluster(initialize_head=True, head_node_args=head)
        yield found
        ray.shutdown()
        found.shutdown()


@pytest.fixture(scope="module")
def folder(kit, tmp_path_factory):
    """Images and a model, and `whole`, a run in a single process."""
    folder = tmp_path_factory.mktemp("ray")
    (folder / "images").mkdir()
    kit.write_set(folder / "images", [(48, 40), (40, 48)] * (IMAGES // 2))
    (folder / "model.py").write_text(MODEL)
    attack(folder, "whole")
    return folder


def attack(folder, name, *, model="load", images="images", **options):
    return iqattack.attack(
        folder / images,
        f"{folder / 'model.py'}:{model}",
        out=folder / name,
        attack="score-boundary",
        queries=QUERIES,
        batch=BATCH,
        **({"check": False} | options),
    )


def asked(folder):
    return len((folder / "asked").read_text().splitlines())


def same(kit, folder, name, as_run="whole"):
    """Whether a run is, byte for byte, that of a single process."""
    whole, out = folder / as_run, folder / name
    rows = []
    for run in (whole, out):
        with QueryLog(run / "log.sqlite", read_only=True) as log:
            rows.append((kit.all_rows(log), log.directions()))
    assert rows[0] == rows[1]
    assert (out / "results.csv").read_bytes() == (whole / "results.csv").read_bytes()
    pictures = sorted(path.name for path in (whole / "adversarial").iterdir())
    assert sorted(path.name for path in (out / "adversarial").iterdir()) == pictures
    for picture in pictures:
        parts = [(run / "adversarial" / picture).read_bytes() for run in (whole, out)]
        assert parts[0] == parts[1]


@pytest.mark.slow
def test_a_run_that_is_stopped_and_goes_on_is_that_of_one_process(kit, folder, nodes):
    """Neither the first session nor the second asks anything twice; --resume starts the first."""
    before, notes, states = asked(folder), [], []
    handler = signal.getsignal(signal.SIGTERM)
    stopping = iqattack.Callbacks(
        stop=lambda: bool(states) and states[-1].queries > IMAGES * QUERIES // 3,
        progress=states.append,
        note=lambda *note: notes.append(note),
    )
    options = {"engine": "ray", "address": nodes.address, "resume": True}
    with pytest.raises(Interrupted):
        attack(folder, "stopped", workers=2, callbacks=stopping, **options)
    assert ("run", f"no run in {folder / 'stopped'} yet; starting one") in notes
    attack(folder, "stopped", **options)
    same(kit, folder, "stopped")
    assert asked(folder) - before <= IMAGES * QUERIES + 1  # and one as a session begins
    assert signal.getsignal(signal.SIGTERM) == handler
    assert not ray.is_initialized()


@pytest.mark.slow
def test_a_defence_of_a_file_goes_to_the_workers(kit, folder, nodes):
    """With a random one, too: its draws do not depend on who scores."""
    (folder / "defence.py").write_text(DEFENCE)
    defended = {"defence": f"{folder / 'defence.py'}:shaken:by=3,passes=2", "check": True}
    attack(folder, "shaken", **defended)
    attack(
        folder, "shaken on a cluster", engine="ray", address=nodes.address, workers=2, **defended
    )
    same(kit, folder, "shaken on a cluster", "shaken")
    results = [(folder / name / "results.csv").read_bytes() for name in ("shaken", "whole")]
    assert results[0] != results[1]


@pytest.mark.slow
def test_a_node_that_is_killed_costs_its_last_replies(kit, folder, nodes):
    """Those that were being scored or sent, and what its relay held; far less than an image."""
    held = math.ceil(LINGERS_S / SCORING_S)
    assert IN_FLIGHT + held < QUERIES // 2
    (folder / "slow").touch()
    node = nodes.add_node(num_cpus=1)
    (raylet,) = node.all_processes["raylet"]
    killed, before = [], asked(folder)

    def progress(state):
        there = psutil.Process(raylet.process.pid).children(recursive=True) if not killed else []
        workers = [
            p for p in there if p.pid != p.ppid() and "iqattack.children" in " ".join(p.cmdline())
        ]
        if workers and state.stage == "attack" and state.queries > IMAGES * QUERIES // 4:
            os.kill(raylet.process.pid, signal.SIGKILL)
            for process in there:
                process.kill()
            killed.extend(workers)

    attack(
        folder,
        "killed",
        engine="ray",
        address=nodes.address,
        workers=3,
        callbacks=iqattack.Callbacks(progress=progress),
    )
    assert killed
    assert asked(folder) - before <= IMAGES * QUERIES + IN_FLIGHT + held
    same(kit, folder, "killed")
    (folder / "slow").unlink()
    nodes.remove_node(node, allow_graceful=False)


@pytest.mark.slow
def test_an_image_that_kills_workers_fails_alone(kit, folder, nodes):
    (folder / "deadly").mkdir()
    paths = [folder / "deadly" / name for name in ("0.png", "1.png")]
    write_png(paths[0], kit.picture(48, 40, 1).fill_(255))
    write_png(paths[1], kit.picture(48, 40, 1))
    failures = []
    run = attack(
        folder,
        "deadly-run",
        images="deadly",
        engine="ray",
        address=nodes.address,
        workers=1,
        callbacks=iqattack.Callbacks(failed=lambda *failure: failures.append(failure)),
    )
    assert [result.failed for result in run.results] == [True, False]
    why = "3 workers were lost over it, the last one was killed by signal 9 (SIGKILL)"
    assert failures == [("0.png", f"{paths[0]}: {why}")]


@pytest.mark.slow
def test_a_node_with_another_model_ends_the_run(folder, nodes):
    with pytest.raises(InputError) as caught:
        attack(folder, "other", model="other", engine="ray", address=nodes.address, workers=1)
    message = str(caught.value)
    assert message.startswith(f"node {socket.gethostname()}: the model's file {folder / 'weights'}")
    assert "use a shared file system" in message
    assert not (folder / "other").exists()


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (exceptions.ActorDiedError(), Lost("was lost with its Ray actor: its process ended")),
        (
            exceptions.OutOfMemoryError("x"),
            Lost("was ended by Ray, as its node ran short of memory"),
        ),
        (
            exceptions.RayActorError(None, "The actor died because its node has died. Node Id: 5"),
            Lost("was lost with its node", outside=True),
        ),
        (
            exceptions.RayActorError(None, "drained", preempted=True),
            Lost("was preempted with its node", outside=True),
        ),
        (
            exceptions.RayActorError(
                None, "raised in its creation task, …\nNo module named 'iqattack'\n", True
            ),
            Lost("could not be started there (No module named 'iqattack')"),
        ),
        (
            exceptions.ActorUnavailableError("it may come back", None),
            Lost("could not be reached any more (ActorUnavailableError)", outside=True),
        ),
    ],
)
def test_what_became_of_a_worker(error, lost):
    assert lost_by(error) == lost


def test_who_asks_for_an_image_is_heard_at_once():
    """A relay tells messages apart by their length."""
    assert len(ForkingPickler.dumps(Wanted())) <= SHORT_BYTES < len(ForkingPickler.dumps(Replies()))


def test_an_image_goes_with_its_job(kit, images):
    scorer, gone = kit.Scorer(), ImageEntry("a.png", images[0].path.with_name("gone.png"))
    box = parse_constraint("linf:3")
    searcher = Searcher(InProcess(scorer, batch=1), Limits.of(scorer), None, box)

    def play(job):
        events = searcher.play(Listed(iter([searcher.opener(job)])))
        return next(event for event in events if isinstance(event, CleanScore | Failure))

    here = carried(images[0])
    there = Carried(replace(images[0], path=gone.path), here.file)
    assert play(there).score == play(images[0]).score
    failed = play(carried(gone))
    assert failed == Failure(gone, f"{gone.path}: no such image; check the path")
    damaged = play(Carried(gone, b"not a picture"))
    assert damaged.reason.startswith(f"{gone.path}: ")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("127.0.0.1:9", "nobody answers there"),
        ("ray://127.0.0.1:9", "nobody answers there"),
        ("somewhere", "expected auto, HOST:PORT or ray://HOST:PORT"),
    ],
)
def test_an_address_without_a_cluster_is_an_error_at_once(address, message):
    with pytest.raises(InputError, match=message), connected(address):
        pass


class AuthenticationError(Exception):
    """As of a Ray that has tokens."""


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("{}", ConnectionError("Failed to connect to Ray cluster at 192.0.2.1:6379")),
        ("ray://{}", ConnectionError("ray client connection timeout")),
        ("auto", AuthenticationError("no authentication token was found. Ensure that it is there")),
    ],
)
def test_where_a_token_may_lack_it_is_said(monkeypatch, given, error):
    def refuse(*_, **__):
        raise error

    monkeypatch.setattr(ray, "init", refuse)
    with socket.create_server(("127.0.0.1", 0)) as listens:
        address = given.format(f"127.0.0.1:{listens.getsockname()[1]}")
        reason = str(error).partition(".")[0] if address == "auto" else str(error)
        with pytest.raises(InputError) as caught, connected(address):
            pass
    message = str(caught.value)
    assert message.startswith(f"--address {address}: Ray cannot connect ({reason}); ")
    assert "set RAY_AUTH_MODE=token" in message


def test_where_auto_finds_no_cluster_it_is_said_how_to_start_one(monkeypatch):
    def refuse(*_, **__):
        raise ConnectionError("Could not find any running Ray instance.")

    monkeypatch.setattr(ray, "init", refuse)
    with pytest.raises(InputError, match=r"instance\.\); start one with 'ray start --head'"):
        connected("auto").__enter__()


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(InputError, match=r"pip install 'iqattack\[ray\]'"):
        ray_module()


@pytest.mark.parametrize(
    ("resources", "gpus", "number"),
    [
        ({"CPU": 8.0}, 0.0, 8),
        ({"CPU": 8.0, "GPU": 1.0}, 0.25, 4),
        ({"CPU": 2.0, "GPU": 1.0}, 0.1, 2),
        ({"CPU": 8.0, "GPU": 4.0}, 2.0, 2),
        ({"CPU": 8.0}, 1.0, "has no GPU for a worker"),
        ({}, 0.0, "has no processor for a worker"),
    ],
)
def test_as_many_workers_as_there_is_room_for(monkeypatch, resources, gpus, number):
    monkeypatch.setattr(ray, "cluster_resources", lambda: resources)
    if isinstance(number, int):
        assert cluster.offered(gpus) == number
        return
    with pytest.raises(InputError, match=number):
        cluster.offered(gpus)


ELSEWHERE = "applies to engine ray; add --engine ray, or leave it out"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"engine": "dask"}, "engine dask: expected local or ray"),
        ({"address": "auto"}, f"address auto {ELSEWHERE}"),
        ({"gpus_per_worker": 0.5}, f"gpus_per_worker 0.5 {ELSEWHERE}"),
        ({"engine": "ray", "gpus_per_worker": 1.5}, "expected a share such as 0.25, or 1, 2"),
        ({"engine": "ray", "concurrency": 2}, "leave out concurrency"),
        ({"engine": "ray", "max_requests": 9}, "leave out engine ray"),
    ],
)
def test_what_does_not_go_together(given, message):
    with pytest.raises(InputError, match=message):
        How(**given)
