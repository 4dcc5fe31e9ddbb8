"""How torch runs a model: compiled, under autocast, on a device; a CUDA device is made up here."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import nn

import iqattack
from iqattack.errors import InputError, RunError
from iqattack.evaluation import evaluate_scores
from iqattack.images import write_png
from iqattack.models import Inference, dealt, gradient_of, load_model, wrap
from iqattack.models import device as devices
from iqattack.models.builtin import Builtin
from iqattack.models.inputs import one_by_one

pytestmark = pytest.mark.usefixtures("few_resamples")

IMAGES = torch.randint(0, 256, (3, 3, 40, 48), dtype=torch.uint8)
MODULE = """
    import torch

    class Quality(torch.nn.Module):
        name, score_range, lower_better = "quality", (0.0, 100.0), False

        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.filters = torch.nn.Conv2d(3, 8, 5, 2)
            self.score = torch.nn.Linear(8, 1)

        def forward(self, images):
            return self.score(self.filters(images).abs().mean((2, 3))).squeeze(1)

    def load(device="cpu"):
        return Quality().to(device)

    def wrapped():
        import iqattack
        return iqattack.wrap(
            Quality(), score_range=(0, 1), lower_better=False, input="float01", autocast="bfloat16"
        )

    def function():
        return lambda images: images.double().mean((1, 2, 3))
"""


def scores(model, images=IMAGES):
    return torch.as_tensor(model(images))


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "quality.py"
    path.write_text("\n".join(line[4:] for line in MODULE.splitlines()))
    return path


class Module(nn.Module):
    """Keeps what it is given; its weights lie on a device that does not have to be there."""

    def __init__(self, device="cpu"):
        super().__init__()
        self.place = torch.device(device)
        self.given = []

    def parameters(self, recurse=True):
        class Weight:
            device = self.place

        yield Weight()

    def forward(self, images):
        self.given.append((images.dtype, tuple(images.shape)))
        return images.double().mean((1, 2, 3))


def test_autocast_runs_the_network_in_fewer_bits_and_says_so(file):
    exact = load_model(f"{file}:load", input="float01")
    for dtype, bits in (("bfloat16", 8), ("float16", 11)):
        model = load_model(f"{file}:load", input="float01", autocast=dtype)
        found, wanted = scores(model), scores(exact)
        assert not torch.equal(found, wanted)
        assert (found - wanted).abs().max() < 8 * 2.0**-bits
        assert model.inference == Inference(autocast=dtype)
        assert [dtype in note for note in model.traits.notes] == [True]
    assert exact.traits.notes == ()


def test_gradients_are_those_of_what_is_attacked(file):
    images = IMAGES[:1].float()
    exact = gradient_of(load_model(f"{file}:load", input="float01"))(images)
    less = gradient_of(load_model(f"{file}:load", input="float01", autocast="bfloat16"))(images)
    assert not torch.equal(less, exact)
    assert torch.cosine_similarity(less.flatten(), exact.flatten(), dim=0) > 0.98


def test_what_a_factory_wrapped_keeps_its_autocast(file):
    kept = load_model(f"{file}:wrapped")
    given = load_model(f"{file}:load", input="float01", autocast="bfloat16")
    assert torch.equal(scores(kept), scores(given))


def test_the_built_in_model_measures_energies_in_float32():
    images = torch.randint(0, 256, (1, 3, 64, 80), dtype=torch.uint8)
    model = load_model("builtin").function
    assert isinstance(model, Builtin)
    network = model.network
    exact = network.energies(images.float())
    with torch.autocast("cpu", torch.bfloat16):
        seen = []
        network.judges[0].register_forward_pre_hook(lambda _, given: seen.append(given))
        network(images.float())
    assert all(map(torch.equal, seen[0], exact))
    less = load_model("builtin", autocast="bfloat16")
    assert abs(float(scores(less, images) - scores(load_model("builtin"), images))) < 2.0


@pytest.fixture
def compiled(monkeypatch):
    """What `torch.compile` was given; it compiles nothing."""
    asked = []

    def fake(function, **options):
        asked.append(options)
        return function

    monkeypatch.setattr(torch, "compile", fake)
    return asked


def test_one_graph_is_compiled_for_all_sizes(file, compiled):
    exact = load_model(f"{file}:load", input="float01")
    assert compiled == []
    model = load_model(f"{file}:load", input="float01", compile=True)
    assert [options["dynamic"] for options in compiled] == [True]
    assert torch.equal(scores(model), scores(exact))
    assert "torch.compile" in model.traits.notes[0]


def test_what_torch_cannot_compile_is_refused(file, monkeypatch):
    def fake(function, **options):
        raise RuntimeError("not on this version of Python")

    monkeypatch.setattr(torch, "compile", fake)
    with pytest.raises(InputError, match=r"--compile: RuntimeError: not on this .*; leave it out"):
        load_model(f"{file}:load", input="float01", compile=True)


@pytest.mark.parametrize(
    "kind", ["onnx:x.onnx", "http://127.0.0.1/score", "command:./score", "s.toml"]
)
def test_models_of_other_libraries_are_refused(kind):
    with pytest.raises(InputError, match=r"is not a torch module; leave out --compile$"):
        load_model(kind, compile=True)


def test_a_function_is_refused(file):
    with pytest.raises(
        InputError, match=r"a function, not a torch module; leave out --autocast float16"
    ):
        load_model(f"{file}:function", autocast="float16")
    with pytest.raises(InputError, match="not a torch module"):
        wrap(len, score_range=(0, 1), lower_better=False, compile=True)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(InputError, match="float16"):
        load_model("builtin", autocast="fp16")


def test_options_of_a_loaded_model_are_given_where_it_is_loaded(tmp_path):
    model = load_model("builtin")
    write_png(tmp_path / "x.png", IMAGES[0])
    with pytest.raises(InputError, match="give compile and autocast to load_model"):
        iqattack.attack(
            tmp_path / "x.png", model, out=tmp_path / "run", compile=True, autocast="bfloat16"
        )


@pytest.mark.parametrize("workers", [None, 1])
def test_a_run_keeps_to_it_and_is_verified_with_it(file, tmp_path, monkeypatch, workers):
    few = partial(evaluate_scores, resamples=20)  # intervals have tests of their own
    monkeypatch.setattr("iqattack.runs.summary.evaluate_scores", few)
    (tmp_path / "images").mkdir()
    for k, image in enumerate(IMAGES):
        write_png(tmp_path / "images" / f"{k}.png", image)
    run, notes = tmp_path / "run", []
    given = {"input": "float01", "attack": "square", "queries": 6, "check": False, "out": run}
    iqattack.attack(
        tmp_path / "images", f"{file}:load", autocast="bfloat16", workers=workers,
        callbacks=iqattack.Callbacks(note=lambda *reported: notes.append(reported)), **given,
    )  # fmt: skip
    settings = iqattack.open_run(run).settings
    assert (settings.compile, settings.autocast) == (False, "bfloat16")
    assert ("model", "runs under autocast to bfloat16: scores differ from float32's") in notes
    if workers is not None:
        return
    assert not iqattack.verify(run).differences
    less = load_model(f"{file}:load", input="float01")
    assert iqattack.verify(run, less).differences
    with pytest.raises(RunError, match="autocast is bfloat16 there, not given here"):
        iqattack.attack(tmp_path / "images", f"{file}:load", resume=True, **given)


# -- on a device ----------------------------------------------------------------------------------


@pytest.fixture
def sent(monkeypatch):
    """What is sent to a device, which is the CPU after all."""
    seen = []

    def send(images, device):
        seen.append((images.dtype, tuple(images.shape), str(device)))
        return images.clone()

    monkeypatch.setattr("iqattack.models.callable.sent", send)
    moved = torch.Tensor.to

    def to(self, *given, **named):
        if given and isinstance(given[0], torch.device) and given[0].type == "cuda":
            return self
        return moved(self, *given, **named)

    monkeypatch.setattr(torch.Tensor, "to", to)
    return seen


@pytest.mark.parametrize("convention", ["uint8", "imagenet", "float01,bgr,size=24"])
def test_a_batch_is_sent_once_as_bytes(sent, convention):
    images, kept = IMAGES.clone(), IMAGES.clone()
    there, here = Module("cuda:1"), Module()
    given: dict[str, Any] = {"score_range": (0, 1), "lower_better": False, "input": convention}
    found = scores(wrap(there, **given), images)
    assert sent == [(torch.uint8, (3, 3, 40, 48), "cuda:1")]
    assert torch.equal(found, scores(wrap(here, **given), images))
    assert there.given == here.given
    assert torch.equal(images, kept)


@pytest.mark.parametrize("convention", ["numpy", "pil"])
def test_what_is_no_tensor_is_made_on_the_cpu(sent, convention):
    class Takes(Module):
        def forward(self, images):
            return [1.0] * (1 if convention == "pil" else len(images))

    wrap(Takes("cuda"), score_range=(0, 1), lower_better=False, input=convention)(IMAGES)
    assert sent == []


def test_on_the_cpu_nothing_is_sent():
    here = torch.device("cpu")
    assert devices.sent(IMAGES, here) is IMAGES


def test_bytes_are_pinned_and_the_copy_is_not_waited_for(monkeypatch):
    seen: list[object] = []

    def pin(images):
        seen.append("pinned")
        return images

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(
        torch.Tensor, "to", lambda self, device, non_blocking: seen.append((device, non_blocking))
    )
    cuda = torch.device("cuda:0")
    devices.sent(IMAGES, cuda)
    assert seen == ["pinned", (cuda, True)]


def test_workers_are_dealt_over_all_gpus_of_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert dealt("cuda") == ("cuda:0", "cuda:1", "cuda:2")
    assert dealt("cuda:1") == ("cuda:1",)
    assert dealt("cpu") == ("cpu",)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert dealt("cuda") == ("cuda",)  # which is refused where it is used


def test_scores_of_single_images_come_back_together(monkeypatch):
    """Tensors of the meta device stand for those of a GPU: what reads one alone fails."""
    copied = []

    def tolist(self):
        copied.append(tuple(self.shape))
        return [float(k) for k in range(len(self))]

    monkeypatch.setattr(torch.Tensor, "tolist", tolist)
    found = one_by_one(lambda k: torch.empty(1, 1, device="meta"), range(3))
    assert (found, copied) == ([0.0, 1.0, 2.0], [(3,)])
