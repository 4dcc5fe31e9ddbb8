import runpy
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

# pytest-xdist's workers ignore Ctrl-C, and so would programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

_helper = runpy.run_path(str(Path(__file__).with_name("torchvision_cpu.py")))
TORCHVISION_OPERATORS = _helper["declare_missing_operators"]()


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
    images = {}
    for path in sorted((shared / "dev").glob("*.png")):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        images[path.name] = torch.from_numpy(pixels.transpose(2, 0, 1).copy())
    return images


@pytest.fixture(autouse=True, scope="session")
def _state(tmp_path_factory) -> Iterator[Path]:
    """A folder of the tests' own for what is kept of this user: the key of runs, a cache."""
    folder = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("XDG_STATE_HOME", str(folder))
        patched.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="session")
def chromium():
    """A window of a browser, for pages; skips where there is no browser."""
    helper = runpy.run_path(str(Path(__file__).with_name("chromium.py")))
    if not helper["chromium_is_here"]():
        pytest.skip("no browser: expected Debian's chromium and chromium-driver")
    browser = helper["Browser"]()
    yield browser
    browser.close()
