import multiprocessing
import os
import runpy
import signal
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from hashlib import sha256
from multiprocessing.connection import Connection
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from iqattack.evaluation import evaluate_scores
from iqattack.perception import ColorVideoVdp
from iqattack.samples import write_samples

# pytest-xdist's workers ignore Ctrl-C, and so would programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_helper = runpy.run_path(str(Path(__file__).with_name("torchvision_cpu.py")))
TORCHVISION_OPERATORS = _helper["declare_missing_operators"]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: a long one that is left for the end keeps a single core busy."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data that is not part of the repository; skips where it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("shared data absent: expected shared/data beside the repository")
    return folder


@pytest.fixture(scope="session")
def dev_images(shared) -> dict[str, torch.Tensor]:
    """The 24 development images by file name: (3, 224, 224) uint8 RGB."""
    return pictures_in(shared / "dev")


def pictures_in(folder: Path) -> dict[str, torch.Tensor]:
    images = {}
    for path in sorted(folder.glob("*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        images[path.name] = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    return images


@pytest.fixture(scope="session")
def sample_folder(tmp_path_factory) -> Path:
    """The sample set: 24 pictures of 256×256, crops of photographs, clean and distorted."""
    folder = tmp_path_factory.mktemp("samples")
    write_samples(folder)
    return folder


@pytest.fixture(scope="session")
def sample_images(sample_folder) -> dict[str, torch.Tensor]:
    """The same by file name: (3, 256, 256) uint8 RGB."""
    return pictures_in(sample_folder)


@pytest.fixture(autouse=True, scope="session")
def _state(tmp_path_factory) -> Iterator[Path]:
    """A folder of the tests' own for what is kept of this user: the key of runs, a cache."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(folder))
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture
def few_resamples(monkeypatch) -> None:
    """Intervals of runs take longer than small runs do, and have tests of their own."""
    few = partial(evaluate_scores, resamples=20)
    monkeypatch.setattr("iqattack.runs.summary.evaluate_scores", few)


_JODS: dict[object, tuple[float, torch.Tensor | None]] = {}


@pytest.fixture(autouse=True)
def _a_jod_once(request, monkeypatch) -> None:
    """But in tests of JOD itself, that of the same two pictures is computed once.

    It takes a third of the time of a small run, and many tests make and verify the same one.
    """
    if {"constraints", "perception"} & set(request.path.parts):
        return
    measured = ColorVideoVdp._measured

    def once(self, image, other, heatmap):
        if heatmap != "none":
            return measured(self, image, other, heatmap)
        pictures = [one.byte().cpu().numpy() for one in (image, other)]
        digests = (sha256(one.tobytes()).digest() for one in pictures)
        key = (self.viewing, image.shape, *digests)
        if key not in _JODS:
            _JODS[key] = measured(self, image, other, heatmap)
        return _JODS[key]

    monkeypatch.setattr(ColorVideoVdp, "_measured", once)


# What it takes to import stays in memory: processes are forked from there.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["iqattack.api", "iqattack.cli.app", "iqattack.cli.attack"])
SERVE = """
import os
import torch

os.setsid()
os.chdir({folder!r})
os.environ.clear()
os.environ.update({environment!r})
torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
{path}
from iqattack.children import main
main(end.fileno(), os.getppid())
"""


class Forked:
    """What `Child` starts, as far as it uses a `Popen`."""

    def __init__(self, command, *, pass_fds, env, **_):
        folder, path = str(Path.cwd()), command[-1].splitlines()[0]
        program = SERVE.format(folder=folder, environment=dict(env), path=path)
        with Connection(os.dup(pass_fds[0])) as end:
            self._process = FORKS.Process(target=exec, args=(program, {"end": end}))
            self._process.start()
        self.pid = self._process.pid

    def wait(self, timeout=None):
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("a worker", timeout)
        return self._process.exitcode

    def kill(self):
        self._process.kill()


@pytest.fixture
def forked_workers(monkeypatch) -> None:
    """Workers start at once, for tests of what they do: to import torch takes them seconds.

    How they start has tests of its own.
    """
    stand_in = SimpleNamespace(
        Popen=Forked, DEVNULL=subprocess.DEVNULL, TimeoutExpired=subprocess.TimeoutExpired
    )
    monkeypatch.setattr("iqattack.children.subprocess", stand_in)


PROGRAM = """
import os
import sys
import torch

os.chdir({folder!r})
os.environ.clear()
os.environ.update({environment!r})
torch.set_num_threads(1)
sys.argv[1:] = {arguments!r}
exec({program!r}, {{"__name__": "__main__"}})
"""


class ForkedProgram:
    """A program in a process of its own, as far as tests use a `Popen`."""

    def __init__(self, program, *arguments):
        given = {
            "folder": str(Path.cwd()),
            "environment": {**os.environ, "OMP_NUM_THREADS": "1"},
            "arguments": list(map(str, arguments)),
        }
        whole = PROGRAM.format(program=program, **given)
        self._process = FORKS.Process(target=exec, args=(whole, {}))
        self._process.start()

    def poll(self):
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def wait(self):
        self._process.join()
        return self._process.exitcode

    def end(self):
        """At once, for those that a failed test left: they would keep the session from ending."""
        self._process.kill()
        self._process.join()


@pytest.fixture
def forked_program() -> Iterator[Callable[..., ForkedProgram]]:
    """Starts a Python program at once, given as text, with arguments: it imports nothing anew."""
    started = []

    def start(program, *arguments):
        started.append(ForkedProgram(program, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.end()


@pytest.fixture(scope="session")
def chromium():
    """A window of a browser, for pages; skips where there is no browser."""
    helper = runpy.run_path(str(Path(__file__).with_name("chromium.py")))
    if not helper["chromium_is_here"]():
        pytest.skip("no browser: expected Debian's chromium and chromium-driver")
    browser = helper["Browser"]()
    yield browser
    browser.close()
