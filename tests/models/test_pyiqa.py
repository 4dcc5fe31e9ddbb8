import importlib
import importlib.metadata
import socket
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import iqattack
from iqattack.errors import InputError
from iqattack.models import load_model
from iqattack.models.pyiqa import Pyiqa, parse_options, parse_range
from iqattack.models.pyiqa_table import METRICS, NOT_OF_ONE_IMAGE, as_markdown

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
    assert isinstance(ours, torch.Tensor)
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
    together = torch.as_tensor(model(photographs))
    assert together[:3].mean() < together[3:].mean()
    parts = [torch.as_tensor(model(part)) for part in photographs.split(4)]
    assert torch.equal(torch.cat(parts), together)


def test_ranges(pyiqa, shared):
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
    scores = torch.as_tensor(model(torch.cat([flat, noise])))
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
        ("niqe,pretrained_model_path=/", "pretrained_model_path: is a folder: '/'"),
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
    monkeypatch.setitem(configs, "new", configs["piqe"] | {"score_range": "0, ~"})
    with pytest.raises(InputError, match="'pyiqa:new' does not declare its score range"):
        load_model("pyiqa:new")
    monkeypatch.setitem(configs, "new", configs["piqe"] | {"score_range": "~0, ~7"})
    new = Pyiqa("new")
    assert (new.score_range, new.lower_better) == ((0.0, 7.0), True)
    assert new.notes == (
        "pyiqa metric 'new' is not in iqattack's table: its range is what pyiqa lists, a rough "
        "estimate",
    )


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


# -- the table ------------------------------------------------------------------------------------


@pytest.fixture
def listed(pyiqa):
    """pyiqa's own entries of the no-reference metrics, in the version that the table is of."""
    if importlib.metadata.version("pyiqa") != "0.1.16":
        pytest.skip("the table is of pyiqa 0.1.16")
    configs = pytest.importorskip("pyiqa.default_model_configs").DEFAULT_CONFIGS
    return {name: one for name, one in configs.items() if one.get("metric_mode") == "NR"}


def test_the_table_has_every_metric_of_one_image(listed):
    refused = {n for n, one in listed.items() if one["metric_opts"]["type"] in NOT_OF_ONE_IMAGE}
    assert METRICS.keys() == listed.keys() - refused


@pytest.mark.parametrize("name", METRICS)
def test_the_table_fits_what_pyiqa_lists(listed, name):
    """Where pyiqa's range is another one, the table has a reason, which it names."""
    ours, theirs = METRICS[name], listed[name]
    assert ours.score_range[0] < ours.score_range[1]
    assert ours.lower_better == theirs.get("lower_better", False)
    if parse_range(theirs["score_range"]) != ours.score_range:
        assert "pyiqa lists" in ours.source


def test_the_table_is_in_the_documentation():
    text = (Path(__file__).parents[2] / "docs" / "pyiqa.md").read_text()
    assert as_markdown() in text, "print as_markdown() into docs/pyiqa.md"


# Networks that can be made with random weights and without a network.
RANDOM = (
    "cnniqa,pretrained=None",
    "musiq,pretrained=False",
    "musiq-ava,pretrained=False,num_class=10",
    "metaiqa,pretrained=False",
    "uranker,pretrained=False",
    "wadiqam_nr,pretrained=False",
)


@pytest.mark.parametrize("spec", [*RANDOM, "piqe", "entropy"])
def test_smallest_sides_and_bounds(pyiqa, spec):
    torch.manual_seed(0)
    name = spec.partition(",")[0]
    model, known = Pyiqa(spec), METRICS[spec.partition(",")[0]]
    images = torch.randint(256, (2, 3, model.min_size, model.min_size + 3)).byte()
    images[1] = 7
    scores = model(images)
    assert scores.isfinite().all()
    assert torch.equal(model(images), scores)
    if known.bounded:
        low, high = known.score_range
        assert ((scores >= low - 1e-4) & (scores <= high + 1e-4)).all()
    if name in ("piqe", "cnniqa", "wadiqam_nr"):  # and for others every size does
        with pytest.raises((RuntimeError, IndexError)):
            model(images[..., 1:, :])


def test_random_weights_are_said_to_be(pyiqa):
    assert Pyiqa("musiq,pretrained=False").notes == (
        "pyiqa metric 'musiq' has random weights (pretrained=False)",
    )
    sees, random = Pyiqa("metaiqa,pretrained=False").notes
    assert sees == "pyiqa metric 'metaiqa' resizes every picture to 224×224"
    assert "random weights" in random
    assert Pyiqa("piqe").notes == ()


def test_a_border_that_is_cropped_needs_larger_images(pyiqa, shared):
    options = OPTIONS["niqe"].format(shared)
    model = load_model(f"pyiqa:niqe,crop_border=4{options}")
    assert model.min_size == 104
    images = torch.randint(0, 256, (1, 3, 104, 104), dtype=torch.uint8)
    assert torch.as_tensor(model(images)).isfinite().all()


def test_random_numbers_start_anew_for_each_call(pyiqa):
    model = Pyiqa("piqe")
    legacy = importlib.import_module("numpy.random")  # whose global state pyiqa uses
    model._metric = lambda image: torch.rand(1) + legacy.random()
    images = torch.zeros(3, 3, 16, 16, dtype=torch.uint8)

    def seed():
        torch.manual_seed(5)
        legacy.seed(5)

    seed()
    expected = (torch.rand(1), legacy.random())
    seed()
    scores = model(images)
    assert torch.equal(model(images), scores)
    assert len(set(scores.tolist())) == 1
    assert (torch.rand(1), legacy.random()) == expected


@pytest.mark.parametrize(
    ("module", "message"),
    [
        ("pkg_resources", r"which setuptools 82 removed: pip install 'setuptools<82'$"),
        ("icecream", r"'clipiqa' needs the package 'icecream': pip install icecream$"),
    ],
)
def test_packages_that_a_metric_lacks(pyiqa, monkeypatch, module, message):
    def lacking(*arguments, **options):
        raise ModuleNotFoundError(f"No module named '{module}'", name=module)

    monkeypatch.setattr(pyiqa, "create_metric", lacking)
    with pytest.raises(InputError, match=message):
        load_model("pyiqa:clipiqa")


def test_a_metric_of_cuda_alone(pyiqa):
    with pytest.raises(InputError, match="'maclip' runs only on CUDA; use --device cuda"):
        load_model("pyiqa:maclip")


@pytest.fixture
def offline(pyiqa, monkeypatch, tmp_path):
    """No network, no weights from earlier, and no waiting for either; the folder for downloads."""

    def unreachable(*arguments, **options):
        raise socket.gaierror("no network")

    caches = tmp_path / "caches"
    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setenv("TORCH_HOME", str(caches))
    monkeypatch.setenv("HOME", str(caches))
    download = pytest.importorskip("pyiqa.utils.download_util")
    monkeypatch.setattr(download, "DEFAULT_CACHE_DIR", str(caches / "pyiqa"))
    hub = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(caches / "hub"))
    return caches


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_metric_loads_or_says_why_not(offline, listed):
    loaded = []
    for name in listed:
        try:
            model = Pyiqa(name)
        except InputError as error:
            assert "\n" not in str(error)
            assert f"'{name}'" in str(error)
            assert len(str(error)) < 450
            continue
        loaded.append(name)
        assert model(torch.zeros(1, 3, 32, 32, dtype=torch.uint8)).shape == (1,)
    assert {"piqe", "entropy"} <= set(loaded)
    assert [path for path in offline.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("spec", "ending"),
    [
        ("cnniqa", "connect once, or give a local file: pyiqa:cnniqa,pretrained_model_path=FILE"),
        ("arniqa", "connect once"),  # which takes no file
    ],
)
def test_a_file_is_a_remedy_where_the_metric_takes_one(offline, spec, ending):
    with pytest.raises(InputError) as caught:
        load_model(f"pyiqa:{spec}")
    assert str(caught.value).endswith(f"): {ending}")


def test_a_deep_network_from_a_file_is_attacked_and_verified(pyiqa, monkeypatch, tmp_path):
    torch.manual_seed(0)
    network = pyiqa.create_metric("metaiqa", device="cpu", pretrained=False).net
    torch.save(network.state_dict(), tmp_path / "weights.pth")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name in ("a", "b"):
        pixels = rng.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{name}.png")
    monkeypatch.chdir(tmp_path)
    model = Pyiqa("metaiqa,pretrained_model_path=weights.pth")
    assert model.files == (tmp_path / "weights.pth",)
    assert model.spec == f"pyiqa:metaiqa,pretrained_model_path={tmp_path}/weights.pth"
    run = iqattack.attack(
        "photos",
        "pyiqa:metaiqa,pretrained_model_path=weights.pth",
        out="run",
        attack="square",
        constraint="linf:8",
        queries=6,
    )
    assert [row.queries for row in run.results] == [6, 6]
    monkeypatch.chdir("/")
    assert iqattack.verify(tmp_path / "run").ok
