import textwrap

import pytest
import torch

from iqattack.errors import InputError
from iqattack.models import Traits, gradient_of, load_model, score_checked
from iqattack.models.callable import UserModel

IMAGES = torch.full((2, 3, 8, 8), 51, dtype=torch.uint8)

MODELS = """
    import helper_beside_it

    class Brightness:
        name = "brightness"
        score_range = (0, 255)
        lower_better = True
        min_size = 4

        def __init__(self, device="none"):
            self.device = device

        def __call__(self, images):
            return images.float().mean((1, 2, 3))

    def make(device):
        return Brightness(device)

    def keywords(**options):
        return Brightness(options["device"])

    def bare():
        return lambda images: [0.5] * len(images)

    def not_a_model():
        return 3

    def raises():
        raise FileNotFoundError("weights.pth is not here")

    def declares_range():
        def score(images):
            return [1.0] * len(images)
        score.score_range = (5, 1)
        return score

    def declares_direction():
        def score(images):
            return [1.0] * len(images)
        score.lower_better = "yes"
        return score

    def declares_size():
        def score(images):
            return [1.0] * len(images)
        score.min_size = 0
        return score

    number = 3
"""


@pytest.fixture
def file(tmp_path):
    (tmp_path / "helper_beside_it.py").write_text("")
    path = tmp_path / "my_model.py"
    path.write_text(textwrap.dedent(MODELS))
    return path


@pytest.mark.parametrize("factory", ["make", "keywords", "Brightness"])
def test_factory_in_a_file(file, factory):
    model = load_model(f"{file}:{factory}", device="cpu")
    assert torch.as_tensor(model(IMAGES)).tolist() == [51, 51]
    assert model.name == "brightness"
    assert (model.score_range, model.lower_better, model.min_size) == ((0.0, 255.0), True, 4)
    assert isinstance(model.function, UserModel)
    assert vars(model.function.function)["device"] == "cpu"


def test_factory_in_a_module(tmp_path, monkeypatch):
    package = tmp_path / "my_package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "models.py").write_text("def make():\n    return lambda images: [2] * len(images)\n")
    monkeypatch.chdir(tmp_path)
    spec = "my_package.models:make"
    model = load_model(spec, score_range=(0, 4), lower_better=False)
    assert torch.as_tensor(model(IMAGES)).tolist() == [2, 2]
    assert model.name == spec


def test_what_is_given_overrides_what_is_declared(file):
    model = load_model(f"{file}:make", score_range=(0, 100), lower_better=False)
    assert (model.score_range, model.lower_better) == ((0.0, 100.0), False)


def test_unknown_range_and_direction(file):
    with pytest.raises(InputError, match=r"'my_model.py:bare' does not.*--score-range LO,HI"):
        load_model(f"{file}:bare")
    with pytest.raises(InputError, match=r"direction.*--lower-better or --no-lower-better"):
        load_model(f"{file}:bare", score_range=(0, 1))
    model = load_model(f"{file}:bare", score_range=(0, 1), lower_better=False)
    assert model.name == "my_model.py:bare"
    assert torch.as_tensor(model(IMAGES)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        ("mak", r"unknown factory in '.*my_model.py' 'mak': did you mean 'make'\? available:"),
        ("number", r"my_model.py:number' is int; expected a function that returns the model"),
        (
            "not_a_model",
            r"my_model.py:not_a_model' returned int, which cannot be called; expected a function",
        ),
        (
            "raises",
            r"raises' failed to create the model: FileNotFoundError: weights.pth is not here",
        ),
        ("declares_range", r"score range \(5, 1\): expected two finite numbers, the lower first"),
        ("declares_direction", r"lower_better 'yes': expected True or False"),
        ("declares_size", r"min_size 0: expected pixels, at least 1"),
    ],
)
def test_factories_that_cannot_be_used(file, factory, message):
    with pytest.raises(InputError, match=message) as caught:
        load_model(f"{file}:{factory}")
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"model file '.*absent.py': no such file; expected FILE"):
        load_model(f"{tmp_path}/absent.py:make")


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import absent_library", "ModuleNotFoundError: No module named 'absent_library'"),
        ("def (", "SyntaxError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
    ],
)
def test_file_that_does_not_import(tmp_path, source, error):
    path = tmp_path / "broken.py"
    path.write_text(source)
    with pytest.raises(InputError, match=f"broken.py' cannot be imported: {error}"):
        load_model(f"{path}:make")


def test_empty_file(tmp_path):
    path = tmp_path / "empty.py"
    path.write_text("")
    with pytest.raises(InputError, match="has neither 'make' nor anything else that is callable"):
        load_model(f"{path}:make")


def test_module_that_does_not_exist():
    with pytest.raises(
        InputError, match=r"'absent_package.models' cannot be imported: ModuleNotFound"
    ):
        load_model("absent_package.models:make")


MISTAKES = """
import torch

def score(images):
    return images.double().mean((1, 2, 3))

class Net(torch.nn.Module):
    def forward(self, images):
        return images.double().mean((1, 2, 3))

net = Net()
number = 5
"""


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("score", "cannot be called without arguments (missing a required argument: 'images')"),
        (
            "net",
            "is the model itself (Net); expected a function that returns the model: def load()",
        ),
        ("number", "is int; expected a function that returns the model (iqattack models template"),
    ],
)
def test_the_model_itself_in_place_of_a_factory(tmp_path, name, message):
    (tmp_path / "m.py").write_text(MISTAKES)
    with pytest.raises(InputError) as raised:
        load_model(f"{tmp_path / 'm.py'}:{name}")
    assert message in str(raised.value)
    assert load_model(f"{tmp_path / 'm.py'}:Net", score_range=(0, 255), lower_better=False)


def test_files_are_relative_to_the_one_that_names_them(tmp_path, monkeypatch):
    (tmp_path / "m.py").write_text(MISTAKES + "score.files = ['w.bin']\nload = lambda: score\n")
    monkeypatch.chdir("/")
    model = load_model(f"{tmp_path / 'm.py'}:load", score_range=(0, 255), lower_better=False)
    assert model.traits.files == (tmp_path / "m.py", tmp_path / "w.bin")


WRAPPED = """
import iqattack, torch

class Net(torch.nn.Module):
    def forward(self, x):
        return x.float().mean((1, 2, 3)) * 2

def load():
    return iqattack.wrap(
        Net(), name="net", score_range=(0, 2), lower_better=True, min_size=8, input="float01"
    )

def limited():
    return iqattack.wrap(Net(), score_range=(0, 2), lower_better=True, timeout=5.0)

def bare():
    return Net()
"""


@pytest.fixture
def wrapped(tmp_path):
    (tmp_path / "wrapped.py").write_text(WRAPPED)
    return tmp_path / "wrapped.py"


@pytest.mark.parametrize(
    ("given", "expected"), [(None, 2.0), ("float01", 2.0), ("float255", 510.0), ("bgr", 2.0)]
)
def test_a_factory_that_wraps_and_an_input_beside_it(wrapped, given, expected):
    model = load_model(f"{wrapped}:load", input=given)
    images = torch.full((2, 3, 8, 8), 255, dtype=torch.uint8)
    assert score_checked(model, images).tolist() == pytest.approx([expected] * 2)
    assert (model.name, model.score_range, model.lower_better) == ("net", (0.0, 2.0), True)
    assert model.min_size == 8
    assert Traits.of(model).files == (wrapped,)


def test_gradients_of_a_factory_that_wraps(wrapped):
    for factory, scale in (("load", 2 / 255), ("bare", 2.0)):
        model = load_model(f"{wrapped}:{factory}", score_range=(0, 2), lower_better=True)
        gradient = gradient_of(model)(torch.full((1, 3, 8, 8), 100.0))
        assert torch.allclose(gradient, torch.full((1, 3, 8, 8), scale / 192))


def test_an_input_beside_a_model_that_was_loaded_with_a_time_limit(wrapped):
    with pytest.raises(InputError, match=r"to which --input float01 cannot be added; pass"):
        load_model(f"{wrapped}:limited", input="float01")
    assert load_model(f"{wrapped}:limited").score_range == (0.0, 2.0)
