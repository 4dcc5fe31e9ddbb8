"""What a model or an attack changes for the whole process is put back."""

import locale
import os
import signal
import sys
import threading
import warnings
from io import StringIO
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import (
    AvifImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    PngImagePlugin,
    TiffImagePlugin,
)

from iqattack import isolation
from iqattack.isolation import OF_THREAD, SWITCHES, guest
from iqattack.models import gradient_of, load_model, score_checked
from iqattack.pillow_switches import default_switches

# How a guest changes each switch, by its name.
CHANGES = {
    "the working folder": lambda: os.chdir("/"),
    "the filters of warnings": lambda: warnings.simplefilter("error"),
    "handlers of signals": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "the locale": lambda: locale.setlocale(locale.LC_ALL, "C"),
    "standard error": lambda: setattr(sys, "stderr", StringIO()),
    "sys.excepthook": lambda: setattr(sys, "excepthook", print),
    "threading.excepthook": lambda: setattr(threading, "excepthook", print),
    "Pillow's LOAD_TRUNCATED_IMAGES": lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True),
    "Pillow's MAXBLOCK": lambda: setattr(ImageFile, "MAXBLOCK", 1 << 20),
    "Pillow's SAFEBLOCK": lambda: setattr(ImageFile, "SAFEBLOCK", 1),
    "Pillow's MAX_IMAGE_PIXELS": lambda: setattr(Image, "MAX_IMAGE_PIXELS", None),
    "Pillow's LOADING_STRATEGY": lambda: setattr(
        GifImagePlugin, "LOADING_STRATEGY", GifImagePlugin.LoadingStrategy.RGB_ALWAYS
    ),
    "Pillow's READ_LIBTIFF": lambda: setattr(TiffImagePlugin, "READ_LIBTIFF", True),
    "Pillow's MAX_TEXT_CHUNK": lambda: setattr(PngImagePlugin, "MAX_TEXT_CHUNK", 1),
    "Pillow's MAX_TEXT_MEMORY": lambda: setattr(PngImagePlugin, "MAX_TEXT_MEMORY", 1),
    "Pillow's DECODE_CODEC_CHOICE": lambda: setattr(AvifImagePlugin, "DECODE_CODEC_CHOICE", "x"),
    "torch's default dtype": lambda: torch.set_default_dtype(torch.float64),
    "torch's precision of float32 products": lambda: torch.set_float32_matmul_precision("medium"),
    "OpenCV's optimised code": lambda: cv2.setUseOptimized(not cv2.useOptimized()),
    "torch's default device": lambda: torch.set_default_device("meta"),
    "torch's threads": lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    "torch's gradients": lambda: torch.set_grad_enabled(not torch.is_grad_enabled()),
    "torch's autocast": lambda: torch.set_autocast_enabled("cpu", True),
    "subnormal numbers": lambda: torch.set_flush_denormal(True),
    "NumPy's floating-point errors": lambda: np.seterr(all="raise"),
}
ALL = {switch.name: switch for switch in (*SWITCHES, *OF_THREAD)}
IMAGES = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)


@pytest.fixture(autouse=True)
def nothing_said():
    isolation.changes()


def test_each_switch_is_tried_here():
    assert set(CHANGES) == set(ALL)


@pytest.mark.parametrize("name", CHANGES)
def test_a_guest_changes_nothing(name):
    switch = ALL[name]
    before = switch.read()
    with guest():
        CHANGES[name]()
        changed = switch.read() != before
    assert changed, "this system does not let it be changed"
    assert switch.read() == before
    (phrase,) = isolation.changes()
    assert phrase.startswith(f"changed {name}")
    assert phrase.endswith("; put back")
    assert isolation.changes() == []


@pytest.mark.parametrize("name", CHANGES)
def test_nor_does_one_that_fails(name):
    before = ALL[name].read()
    with pytest.raises(ZeroDivisionError), guest():
        CHANGES[name]()
        1 / 0  # noqa: B018
    assert ALL[name].read() == before


def test_the_default_device_leaves_no_mode_behind():
    with guest():
        torch.set_default_device("meta")
    assert torch._C._len_torch_function_stack() == 0
    assert torch.zeros(1).device.type == "cpu"


def test_what_guests_print_goes_to_standard_error(capsys):
    with guest():
        print("mine")
        sys.stdout.close()
    print("ours")
    assert capsys.readouterr() == ("ours\n", "mine\n")


def test_standard_output_that_was_replaced_comes_back(capsys):
    with guest():
        sys.stdout = None
    print("ours")
    assert capsys.readouterr().out == "ours\n"
    assert isolation.changes() == ["changed standard output; put back"]


def test_others_print_as_ever_while_a_guest_runs(capsys):
    begun, go_on = threading.Event(), threading.Event()

    def work():
        with guest():
            print("mine")
            begun.set()
            go_on.wait()

    thread = threading.Thread(target=work)
    thread.start()
    begun.wait()
    print("ours")
    go_on.set()
    thread.join()
    assert capsys.readouterr() == ("ours\n", "mine\n")


def test_guests_that_overlap_leave_what_was_before_the_first():
    first, second = threading.Event(), threading.Event()
    before = Path.cwd()

    def change():
        with guest():
            os.chdir("/")
            first.set()
            second.wait()

    thread = threading.Thread(target=change)
    thread.start()
    first.wait()
    with guest():  # it begins where the folder is another one
        second.set()
        thread.join()
        os.chdir("/tmp")
    assert Path.cwd() == before


def test_a_guest_that_changes_pillow_while_a_picture_is_read():
    """Before, in between and after: readers have their values, and the rest its own."""
    Image.MAX_IMAGE_PIXELS, before = 12345, Image.MAX_IMAGE_PIXELS
    try:
        with guest():
            Image.MAX_IMAGE_PIXELS = 1
            with default_switches():
                assert before == Image.MAX_IMAGE_PIXELS
                Image.MAX_IMAGE_PIXELS = 2
                with default_switches():
                    assert before == Image.MAX_IMAGE_PIXELS
        assert Image.MAX_IMAGE_PIXELS == 12345
        isolation.changes()
        with default_switches():
            with guest():
                pass
            assert isolation.changes() == []
            with guest():
                Image.MAX_IMAGE_PIXELS = 3
            assert before == Image.MAX_IMAGE_PIXELS
        assert Image.MAX_IMAGE_PIXELS == 12345
    finally:
        Image.MAX_IMAGE_PIXELS = before


def test_a_guest_within_a_guest():
    before = Path.cwd()
    with guest():
        with guest():
            os.chdir("/")
        assert Path.cwd() == before
    assert Path.cwd() == before


def test_a_model_that_moves_while_it_is_made_and_while_it_scores(tmp_path, capsys):
    (tmp_path / "mine.py").write_text(
        "import os, numpy, torch\n"
        "os.chdir('/')\n"
        "def load():\n"
        "    torch.set_default_dtype(torch.float64)\n"
        "    print('loaded')\n"
        "    def score(images):\n"
        "        print('scored')\n"
        "        numpy.seterr(all='raise')\n"
        "        return images.float().mean((1, 2, 3))\n"
        "    score.score_range, score.lower_better = (0, 255), False\n"
        "    return score\n"
    )
    before = [switch.read() for switch in ALL.values()]
    model = load_model(f"{tmp_path}/mine.py:load")
    assert [switch.read() for switch in ALL.values()] == before
    assert score_checked(model, IMAGES).tolist() == [0.0]
    assert [switch.read() for switch in ALL.values()] == before
    assert capsys.readouterr() == ("", "loaded\nscored\n")
    said = isolation.changes()
    assert len(said) == 3
    assert "the working folder" in said[0] + said[1]


def test_gradients_and_calls_with_a_time_limit_are_guests(tmp_path):
    (tmp_path / "mine.py").write_text(
        "import os\n"
        "class Score:\n"
        "    score_range, lower_better = (0, 255), False\n"
        "    def __call__(self, images):\n"
        "        os.chdir('/')\n"
        "        return images.float().mean((1, 2, 3))\n"
        "    def differentiable(self, images):\n"
        "        os.chdir('/')\n"
        "        return images.mean((1, 2, 3))\n"
    )
    before = Path.cwd()
    model = load_model(f"{tmp_path}/mine.py:Score", timeout=60.0)
    score_checked(model, IMAGES)
    assert Path.cwd() == before
    gradient_of(model)(IMAGES.float())
    assert Path.cwd() == before
