"""What a model or an attack changes for the whole process is put back."""

import builtins
import gc
import locale
import os
import signal
import socket
import sys
import threading
import warnings
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import BmpImagePlugin, Image, ImageFile

from iqattack import isolation
from iqattack.images import encode_png
from iqattack.isolation import OF_THREAD, SWITCHES, guest
from iqattack.models import gradient_of, load_model, score_checked

# How a guest changes each switch, by its name.
CHANGES = {
    "the working folder": lambda: os.chdir("/"),
    "the filters of warnings": lambda: warnings.simplefilter("error"),
    "handlers of signals": lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    "the locale": lambda: locale.setlocale(locale.LC_ALL, "C"),
    "sockets' default timeout": lambda: socket.setdefaulttimeout(10.0),
    "print": lambda: setattr(builtins, "print", lambda *_, **__: None),
    "an alarm": lambda: signal.setitimer(signal.ITIMER_REAL, 60.0),
    "sys.excepthook": lambda: setattr(sys, "excepthook", print),
    "threading.excepthook": lambda: setattr(threading, "excepthook", print),
    "Pillow": lambda: setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True),
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
    """Neither before nor after: what is left is said in the next run."""
    isolation.changes()
    yield
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
    assert phrase.endswith("; restored")
    assert isolation.changes() == []


@pytest.mark.parametrize("name", CHANGES)
def test_nor_does_one_that_fails(name):
    before = ALL[name].read()
    with pytest.raises(ZeroDivisionError), guest():
        CHANGES[name]()
        1 / 0  # noqa: B018
    assert ALL[name].read() == before


def test_each_constant_of_pillow_by_its_name():
    with guest():
        Image.MAX_IMAGE_PIXELS = None
        BmpImagePlugin.USE_RAW_ALPHA = True
    assert Image.MAX_IMAGE_PIXELS and not BmpImagePlugin.USE_RAW_ALPHA
    assert sorted(isolation.changes()) == [
        "changed Pillow's MAX_IMAGE_PIXELS from 89478485 to None; restored",
        "changed Pillow's USE_RAW_ALPHA from False to True; restored",
    ]


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
    assert isolation.changes() == ["changed standard output; restored"]


def stream(name):
    """The standard stream of that time, of whatever kind."""
    return getattr(sys, name)


@pytest.mark.parametrize(
    "idiom",
    [
        lambda: setattr(sys, "stdout", TextIOWrapper(sys.stdout.buffer, encoding="utf-8")),
        lambda: setattr(sys, "stdout", TextIOWrapper(stream("stdout").detach(), encoding="utf-8")),
        lambda: setattr(sys, "stderr", TextIOWrapper(sys.stderr.buffer, encoding="utf-8")),
        lambda: (sys.stdout.close(), sys.stderr.close()),
        lambda: stream("stderr").detach().close(),
        lambda: (
            stream("stdout").reconfigure(encoding="ascii"),
            stream("stderr").reconfigure(encoding="ascii"),
        ),
        lambda: setattr(sys, "stderr", StringIO()),
        lambda: sys.stdout.buffer.close(),  # noqa: PLW0108 - of the stream of that time
    ],
)
def test_whatever_a_guest_does_to_its_streams_ours_are_as_they_were(idiom, capsys):
    before = sys.stdout, sys.stderr
    with guest():
        idiom()
        print("é of a guest")
    gc.collect()
    assert (sys.stdout, sys.stderr) == before
    print("ours é")
    print("error é", file=sys.stderr)
    out, err = capsys.readouterr()
    assert out == "ours é\n"
    assert err.endswith("error é\n")


def test_a_handler_that_kept_its_stream_writes_to_standard_error(capsys):
    with guest():
        kept = sys.stdout
        kept.write("mine\n")
    kept.write("later\n")
    assert capsys.readouterr() == ("", "mine\nlater\n")


def test_a_switch_that_cannot_be_read_keeps_no_other_from_being_put_back():
    """As torch's is, once precisions are set by backend."""
    if not hasattr(torch.backends, "fp32_precision"):
        pytest.skip("this torch has no precisions by backend")
    before, here = torch.backends.fp32_precision, Path.cwd()
    mkldnn: Any = torch.backends.mkldnn  # whose types have no matmul
    try:
        with guest():
            torch.backends.cuda.matmul.fp32_precision = "tf32"
            os.chdir("/")
        assert Path.cwd() == here
        with guest():
            mkldnn.matmul.fp32_precision = "bf16"
        assert mkldnn.matmul.fp32_precision != "bf16"
    finally:
        torch.backends.cuda.matmul.fp32_precision = "none"
        torch.backends.fp32_precision = before
    assert isolation._guests == 0


def test_what_is_written_is_what_was_scored_whatever_writers_are_registered(monkeypatch):
    pixels = torch.randint(256, (3, 8, 9)).byte()
    expected = encode_png(pixels)
    monkeypatch.setitem(Image.SAVE, "PNG", lambda image, file, name: file.write(b"another"))
    monkeypatch.setattr(Image.Image, "convert", lambda self, *_: self.rotate(180))
    monkeypatch.setattr(Image.Image, "save", None)
    monkeypatch.setitem(Image.ENCODERS, "zip", None)
    assert encode_png(pixels) == expected


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
