"""A model that changes what is its process's: the run is that of a model that changes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import iqattack

TEMPLATE = """
import os, sys, time, random, warnings
import numpy as np, torch
from PIL import Image, ImageFile

def change():
    {change}

def load():
    if {when!r} == "load":
        change()

    def score(images):
        if {when!r} == "call":
            change()
        return [float(one.double().mean() + one.double().std()) for one in images]

    score.name, score.score_range, score.lower_better = "mine", (0.0, 400.0), False
    return score
"""
NOTHING = "pass"
CHANGES = {
    "folder": "os.chdir('/')",
    "folder for a while": "old = os.getcwd(); os.chdir('/'); time.sleep(0.02); os.chdir(old)",
    "seeds": "random.seed(1); np.random.seed(1); torch.manual_seed(1)",
    "dtype": "torch.set_default_dtype(torch.float64)",
    "device": "torch.set_default_device('meta')",
    "error modes": "np.seterr(all='raise')",
    "warnings": "warnings.simplefilter('error')",
    "output": "print('mine'); print('mine', file=sys.stderr); sys.stdout = None",
    "output closed": "sys.stdout.close()",
    "truncated images": "ImageFile.LOAD_TRUNCATED_IMAGES = True",
    "small images": "Image.MAX_IMAGE_PIXELS = 10",
    "gradients and threads": "torch.set_grad_enabled(True); torch.set_num_threads(1)",
    "subnormals": "torch.set_flush_denormal(True)",
}


@pytest.fixture
def attacked(attack):
    """The run of a model that does something when it is loaded or called."""

    def run(change, when, *options):
        Path("mine.py").write_text(TEMPLATE.format(change=change, when=when))
        result = attack("--attack", "filter-search", *options, model="mine.py:load")
        assert result.status == 0, result.err
        return result

    return run


def kept(out):
    """What is in a run but for times: images and results."""
    files = {path.name: path.read_bytes() for path in (out / "adversarial").iterdir()}
    return files, (out / "results.csv").read_text()


@pytest.mark.parametrize("options", [(), ("--concurrency", "3")], ids=["alone", "threads"])
@pytest.mark.parametrize("when", ["load", "call"])
@pytest.mark.parametrize("change", CHANGES)
def test_the_run_is_the_same(attacked, change, when, options):
    plain = attacked(NOTHING, when, "--out", "plain")
    here = Path.cwd()
    result = attacked(CHANGES[change], when, "--out", "other-run", *options)
    assert Path.cwd() == here
    assert kept(Path("other-run")) == kept(Path("plain"))
    assert len(list(Path("other-run/adversarial").iterdir())) == 4
    lines = result.out.replace("other-run", "plain").splitlines()
    assert [line for line in lines if "session" not in line] == [
        line for line in plain.out.splitlines() if "session" not in line
    ]


def test_what_a_model_changed_is_said(attacked):
    result = attacked(CHANGES["dtype"], "load")
    assert (
        "changed torch's default dtype from torch.float32 to torch.float64; restored" in result.err
    )


ATTACK = """
import os, sys, torch
import numpy as np

os.chdir("/")

def mine(task):
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):
        torch.set_default_dtype(torch.float64)
        np.seterr(all="raise")
        os.chdir("/")
        print("proposing")
        yield task.image + torch.randn(1, *task.image.shape, generator=generator)
"""


def test_an_attack_of_one_s_own_moves_nothing_either(attack):
    Path("mine.py").write_text(ATTACK)
    here, dtype = Path.cwd(), torch.get_default_dtype()
    result = attack("--attack", "mine.py:mine")
    assert result.status == 0, result.err
    assert (Path.cwd(), torch.get_default_dtype()) == (here, dtype)
    assert "proposing" not in result.out
    assert len(list(Path("run/adversarial").iterdir())) == 4


def test_compiled_code_and_programs_print_to_standard_error(work):
    Path("mine.py").write_text(
        "import os, subprocess\n"
        "def load():\n"
        "    def score(images):\n"
        "        os.write(1, b'compiled\\\\n')\n"
        "        subprocess.run(['echo', 'program'])\n"
        "        return images.double().mean((1, 2, 3))\n"
        "    score.score_range, score.lower_better = (0, 255), False\n"
        "    return score\n"
    )
    command = [sys.executable, "-m", "iqattack", "attack", "photos", "--model", "mine.py:load"]
    options = ["--constraint", "linf:3", "--queries", "4", "--attack", "noise", "--out", "run"]
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=True)
    assert "compiled" not in done.stdout and "program" not in done.stdout
    assert "compiled" in done.stderr and "program" in done.stderr
    assert "results.csv" in done.stdout


def test_an_attack_that_yields_more_than_memory_holds_fails_that_image(attack):
    Path("mine.py").write_text(
        "def mine(task):\n    yield task.image[None].expand(10**7, -1, -1, -1)\n"
    )
    result = attack("--attack", "mine.py:mine")
    assert result.status == 2
    assert "10,000,000 candidates of 1,440 values, more than" in result.err
    assert "Traceback" not in result.err


def moving(task):
    """An attack that is given as a function."""
    os.chdir("/")
    torch.set_default_dtype(torch.float64)
    print("proposing")
    yield task.image[None] + 1.0


def test_an_attack_that_is_a_function_is_a_guest_too(work, capsys):
    def score(images):
        return images.double().mean((1, 2, 3))

    model = iqattack.wrap(score, score_range=(0, 255), lower_better=False)
    here, dtype = Path.cwd(), torch.get_default_dtype()
    capsys.readouterr()
    run = iqattack.attack(
        "photos", model, out="run", attack=moving, constraint="linf:3", queries=4, check=False
    )
    assert (Path.cwd(), torch.get_default_dtype()) == (here, dtype)
    assert capsys.readouterr().out == ""
    assert len(run.results) == 4
