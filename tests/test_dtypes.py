"""Tensors are of the same dtype whatever a model has made the default, at any moment."""

import ast
from pathlib import Path

import pytest
import torch
from skimage import data

import iqattack
from iqattack.constraints import parse_constraint, parse_floor
from iqattack.perception import linf, psnr, rms, ssim

PACKAGE = Path(iqattack.__file__).parent
# Where attacks are computed, beside a model that is being called in another thread.
BESIDE = ("attacks", "constraints", "directions", "engine", "objectives", "perception", "probing")
MADE = {
    *("arange", "as_tensor", "bartlett_window", "blackman_window", "empty", "eye", "full"),
    *("hamming_window", "hann_window", "kaiser_window", "linspace", "logspace", "normal", "ones"),
    *("rand", "randn", "tensor", "zeros", "fftfreq", "rfftfreq", "Tensor"),
}


@pytest.mark.parametrize("path", [p for name in BESIDE for p in (PACKAGE / name).rglob("*.py")])
def test_each_tensor_that_is_made_says_its_dtype(path):
    for call in ast.walk(ast.parse(path.read_text("utf-8"))):
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
            continue
        owner = ast.unparse(call.func.value)
        if owner.split(".")[0] == "torch" and call.func.attr in MADE:
            given = {keyword.arg for keyword in call.keywords}
            assert "dtype" in given, f"{path.name}:{call.lineno}: {ast.unparse(call)}"


@pytest.fixture
def double():
    """Makes float64 the default of torch."""
    before = torch.get_default_dtype()
    yield lambda: torch.set_default_dtype(torch.float64)
    torch.set_default_dtype(before)


@pytest.mark.parametrize("spec", ["linf:2.5", "jnd:0.38", "jnd:0.5:liu2010", "bands:3", "l0:40"])
def test_what_is_allowed_does_not_depend_on_the_default(spec, double):
    """Nor what is measured of it."""
    chance = torch.Generator().manual_seed(0)
    image = torch.from_numpy(data.coffee()[200:240, 200:248]).permute(2, 0, 1).float()
    noise = 8.0 * torch.randn((2, *image.shape), generator=chance, dtype=torch.float32)

    def found():
        region = parse_constraint(spec).around(image)
        nearest = region.project(image + noise)
        rounded = nearest.round()
        kept = parse_floor("ssim:0.95").enforce(image, rounded)
        seen = [measure(image, rounded) for measure in (linf, rms, psnr, ssim)]
        return [region.lower, region.upper, nearest, kept, *seen]

    plain = found()
    double()
    for one, other in zip(plain, found(), strict=True):
        assert one.dtype == other.dtype
        assert torch.equal(one, other)
