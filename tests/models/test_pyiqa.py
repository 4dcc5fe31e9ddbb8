import sys

import numpy as np
import pytest
import torch

from iqattack.errors import InputError
from iqattack.models import load_model
from iqattack.models.pyiqa import parse_options, parse_range

OPTIONS = {
    "brisque": ",pretrained_model_path={}/models/brisque_svm_weights.pth",
    "niqe": ",pretrained_model_path={}/models/niqe_modelparameters.mat",
    "piqe": "",
}


@pytest.fixture(scope="module")
def pyiqa():
    return pytest.importorskip("pyiqa", reason="pyiqa is not installed: the extra 'pyiqa'")


@pytest.fixture(scope="module")
def photographs(dev_images):
    names = [name for name in dev_images if "none" in name][:3]
    names += ["kodim03_jpeg4.png", "kodim08_noise4.png", "kodim18_blur4.png"]
    return torch.stack([dev_images[name] for name in names])


@pytest.mark.parametrize("name", OPTIONS)
def test_agrees_with_pyiqa_itself(pyiqa, shared, photographs, name):
    options = OPTIONS[name].format(shared)
    ours = load_model(f"pyiqa:{name}{options}")(photographs)
    keywords = dict(option.split("=") for option in options.split(",")[1:])
    metric = pyiqa.create_metric(name, device="cpu", **keywords)
    theirs = torch.stack([metric(image[None] / 255).double().squeeze() for image in photographs])
    assert torch.equal(ours, theirs)
    assert ours.shape == (len(photographs),)
    assert ours.dtype == torch.float64


@pytest.mark.parametrize("name", OPTIONS)
def test_lower_is_better_and_the_batch_does_not_matter(pyiqa, shared, photographs, name):
    model = load_model(f"pyiqa:{name}{OPTIONS[name].format(shared)}")
    assert (model.name, model.lower_better) == (f"pyiqa:{name}", True)
    together = model(photographs)
    assert together[:3].mean() < together[3:].mean()
    assert torch.equal(torch.cat([model(part) for part in photographs.split(4)]), together)


def test_ranges_are_pyiqas(pyiqa, shared):
    brisque = load_model(f"pyiqa:brisque{OPTIONS['brisque'].format(shared)}")
    assert brisque.score_range == (0.0, 150.0)
    assert load_model("pyiqa:piqe").score_range == (0.0, 100.0)
    assert load_model("pyiqa:piqe", score_range=(0, 80)).score_range == (0.0, 80.0)


def test_niqe_needs_a_whole_block(pyiqa, shared):
    model = load_model(f"pyiqa:niqe{OPTIONS['niqe'].format(shared)}")
    images = torch.randint(0, 256, (1, 3, 96, 96), dtype=torch.uint8)
    model(images)
    with pytest.raises(InputError, match="95×96 pixels is too small; expected at least 96×96"):
        model(images[..., :95])


@pytest.mark.filterwarnings("ignore:cov:UserWarning")  # of no blocks
def test_an_image_that_niqe_has_no_score_for_spoils_no_other(pyiqa, shared):
    model = load_model(f"pyiqa:niqe{OPTIONS['niqe'].format(shared)}")
    flat = torch.full((1, 3, 192, 192), 128, dtype=torch.uint8)
    noise = torch.randint(0, 256, (1, 3, 192, 192), dtype=torch.uint8)
    scores = model(torch.cat([flat, noise]))
    assert scores[0].isnan()
    assert scores[1] == model(noise)[0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("brisk", r"^unknown pyiqa metric 'brisk': did you mean 'brisque'\?"),
        ("lpips", "^pyiqa metric 'lpips' needs a reference image; expected a no-reference"),
        ("fid", "^pyiqa metric 'fid' does not score an image: it compares two sets"),
        ("inception_score", "does not score an image: it scores a set of images"),
        ("clipscore", "does not score an image: it needs a caption"),
        ("niqe,pretrained_model_path=absent.mat", "pretrained_model_path: no such file: 'absent"),
        ("piqe,window=3", "metric 'piqe' with window=3 cannot be made: TypeError"),
    ],
)
def test_metrics_that_cannot_be_used(pyiqa, spec, message):
    with pytest.raises(InputError, match=message) as caught:
        load_model(f"pyiqa:{spec}")
    assert "\n" not in str(caught.value)


def test_weights_that_cannot_be_downloaded(pyiqa, monkeypatch, tmp_path):
    download_util = pytest.importorskip("pyiqa.utils.download_util")

    def offline(*arguments, **options):
        raise OSError("no network")

    monkeypatch.setattr(download_util, "download_url_to_file", offline)
    monkeypatch.setattr(download_util, "DEFAULT_CACHE_DIR", str(tmp_path))
    with pytest.raises(
        InputError, match=r"OSError: no network.*pyiqa:niqe,pretrained_model_path=FILE"
    ):
        load_model("pyiqa:niqe")


def test_open_range_must_be_given(pyiqa, monkeypatch):
    configs = pytest.importorskip("pyiqa.default_model_configs").DEFAULT_CONFIGS
    monkeypatch.setitem(configs["piqe"], "score_range", "0, ~")
    with pytest.raises(InputError, match="'pyiqa:piqe' does not declare its score range"):
        load_model("pyiqa:piqe")


def test_pyiqa_that_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pyiqa", None)
    for name in [name for name in sys.modules if name.startswith("pyiqa.")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(InputError, match=r"pip install 'iqattack\[pyiqa\]'"):
        load_model("pyiqa:brisque")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0, 100", (0, 100)),
        ("~0, ~1", (0, 1)),
        ("~-1, ~0.1", (-1, 0.1)),
        ("0, 2.5", (0, 2.5)),
        ("0, ~", None),
        ("~, 2", None),
        ("quality: 0, 1; rank: 0, 2", None),
        (None, None),
    ],
)
def test_pyiqas_ranges(text, expected):
    assert parse_range(text) == expected


def test_options():
    name, options = parse_options("niqe,pretrained_model_path=/a/b.mat,crop_border=4,flag=True")
    assert name == "niqe"
    assert options == {"pretrained_model_path": "/a/b.mat", "crop_border": 4, "flag": True}
    assert parse_options("niqe") == ("niqe", {})
    with pytest.raises(InputError, match="option 'crop': expected pyiqa:NAME,option=value"):
        parse_options("niqe,crop")


def test_every_listed_range_is_read_or_open(pyiqa):
    configs = pytest.importorskip("pyiqa.default_model_configs").DEFAULT_CONFIGS
    ranges = [entry.get("score_range") for entry in configs.values()]
    assert np.mean([parse_range(text) is not None for text in ranges]) > 0.8
