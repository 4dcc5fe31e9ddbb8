"""A stand-in for the data that the benchmarks are run on, which is no part of the repository."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from iqattack.images import write_png
from iqattack.models.cnniqa import CnniqaNetwork
from iqattack.samples.distortions import distort
from iqattack.samples.photos import photographs

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
KINDS = {"none": None, "blur": "gaussian_blur", "jpeg": "jpeg", "noise": "white_noise"}
SIDE = 224


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory) -> Path:
    """As shared/data: 24 distorted pictures by the names of theirs, and a CNNIQA whose weights are
    random, with scores about the middle of its range.
    """
    folder = tmp_path_factory.mktemp("data")
    (folder / "dev").mkdir()
    (folder / "models").mkdir()
    photos = list(photographs().values())
    for k in range(24):
        kind, level = list(KINDS)[k % 4], k // 4 % 5
        pixels = np.ascontiguousarray(photos[k % 5][50 : 50 + SIDE, 20 * (k // 5) :][:, :SIDE])
        distortion = KINDS[kind]
        if distortion is not None:
            pixels = distort(pixels, ((distortion, level + 1.0),), np.random.default_rng(k))
        name = f"kodim{k + 1:02}_{kind}{0 if distortion is None else level}.png"
        write_png(folder / "dev" / name, torch.from_numpy(pixels).permute(2, 0, 1))
    torch.manual_seed(0)
    weights = CnniqaNetwork().state_dict()
    weights["fc3.bias"] += 50.0
    torch.save(weights, folder / "models" / "cnniqa_live.pth")
    return folder


@pytest.fixture
def on_stand_in(monkeypatch, stand_in):
    """Has the benchmarks that are imported next use it."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    for name, module in list(sys.modules.items()):
        if Path(getattr(module, "__file__", None) or "").parent == BENCHMARKS:
            monkeypatch.delitem(sys.modules, name)
    import common  # noqa: PLC0415 - from benchmarks/

    monkeypatch.setattr(common, "SHARED", stand_in)
