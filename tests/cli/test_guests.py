"""A model that changes what is its process's: the run is that of a model that changes nothing."""

import os
from pathlib import Path

import pytest

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
        said = attack("--attack", "filter-search", *options, model="mine.py:load")
        assert said.status == 0, said.err
        return said

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
    here = os.getcwd()
    said = attacked(CHANGES[change], when, "--out", "other-run", *options)
    assert os.getcwd() == here
    assert kept(Path("other-run")) == kept(Path("plain"))
    assert len(list(Path("other-run/adversarial").iterdir())) == 4
    lines = said.out.replace("other-run", "plain").splitlines()
    assert [line for line in lines if "session" not in line] == [
        line for line in plain.out.splitlines() if "session" not in line
    ]


def test_what_a_model_changed_is_said(attacked):
    said = attacked(CHANGES["dtype"], "load")
    assert "changed torch's default dtype from torch.float32 to torch.float64; put back" in said.err
