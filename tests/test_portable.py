"""What only POSIX systems have is needed by nothing that is imported."""

import pkgutil
import subprocess
import sys

import pytest

import iqattack

PROGRAM = """
import importlib, os, signal, socket, sys, errno

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

# Other people's packages know their systems by themselves.
import asyncio, concurrent.futures, multiprocessing.connection, selectors, shutil, tempfile
import cv2, filelock, httpx, jinja2, onnxruntime, PIL.Image, pydantic, rich.live, rich.markdown
import scipy.stats, scipy.fft, skimage.metrics, skimage.restoration, torch, typer
for name in {blocked!r}:
    sys.modules.pop(name, None)
sys.meta_path.insert(0, Blocked())
for module, names in {gone!r}.items():
    for name in names:
        if hasattr(sys.modules[module], name):
            delattr(sys.modules[module], name)
sys.platform = {platform!r}
for name in {modules!r}:
    importlib.import_module(name)
{more}
"""
BLOCKED = ["fcntl", "resource", "termios", "pwd", "grp", "pty", "tty", "syslog"]
GONE = {
    "signal": ["SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGALRM", "pthread_kill", "setitimer"],
    "os": ["fork", "killpg", "getpgid", "setsid", "sched_getaffinity", "geteuid", "getuid",
           "pread", "pwrite", "mkfifo", "uname", "sysconf"],
}  # fmt: skip
MORE = """
from iqattack.children import Child
from iqattack.cli.options import parse_workers
from iqattack.errors import InputError
from iqattack.memory import keep_freed_memory
from iqattack.models.services.program import Command
from iqattack.probing.speed import peak_memory
from iqattack.paths import user_folder

keep_freed_memory()
assert parse_workers("auto") == (os.cpu_count() or 1)
assert peak_memory() is None
for given in (lambda: Child(print, 1), lambda: Command.of(["python"], "cpu")):
    try:
        given()
    except InputError as error:
        assert "need" in str(error) and "Linux or macOS" in str(error), error
    else:
        raise AssertionError("no error")
os.environ["LOCALAPPDATA"] = "here"
assert str(user_folder("state")) == os.path.join("here", "iqattack")
print("fine")
"""


def modules():
    """All of the package, but what users start from and what needs an extra to be imported."""
    return [
        found.name
        for found in pkgutil.walk_packages(iqattack.__path__, "iqattack.")
        if ".templates" not in found.name and not found.name.endswith("__main__")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_all_is_imported_without_what_posix_systems_have(platform):
    program = PROGRAM.format(
        blocked=BLOCKED,
        gone=GONE,
        platform=platform,
        modules=modules(),
        more=MORE if platform == "win32" else "print('fine')",
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.stdout == "fine\n", ended.stderr
