import pytest
import torch

from iqattack.errors import InputError
from iqattack.models import load_model, model_kinds
from iqattack.models.cnniqa import CnniqaNetwork


def test_builtin():
    model = load_model("builtin")
    assert (model.name, model.score_range, model.lower_better) == ("builtin", (0.0, 100.0), False)
    assert model.min_size == 64
    assert len(model(torch.zeros(2, 3, 64, 70, dtype=torch.uint8))) == 2
    with pytest.raises(InputError, match="device 'abacus' cannot be used"):
        load_model("builtin", device="abacus")


def test_cnniqa(tmp_path):
    path = tmp_path / "some:weights.pth"
    torch.save(CnniqaNetwork().state_dict(), path)
    model = load_model(f"cnniqa:{path}")
    assert (model.name, model.lower_better, model.min_size) == ("cnniqa:some:weights", True, 33)
    with pytest.raises(InputError, match="64×32 pixels is too small; expected at least 33×33"):
        model(torch.zeros(1, 3, 32, 64, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("buildin", r"^unknown model 'buildin': did you mean 'builtin'\? available: .*cnniqa, "),
        ("cnniq:weights.pth", r"^unknown model 'cnniq': did you mean 'cnniqa'\?"),
        ("", "^unknown model '': available:"),
        ("builtin:", "^model 'builtin:': expected builtin alone"),
        ("cnniqa", "^model 'cnniqa': expected cnniqa:WEIGHTS"),
        ("pyiqa", "^model 'pyiqa': expected pyiqa:NAME"),
        ("my_model.py", "^model 'my_model.py': expected FILE.py:factory"),
    ],
)
def test_specs_that_name_no_model(spec, message):
    with pytest.raises(InputError, match=message):
        load_model(spec)


@pytest.mark.parametrize("score_range", [(100, 0), (5, 5), (0, float("nan"))])
def test_empty_range(score_range):
    with pytest.raises(InputError, match=r"model 'builtin': score range .*the lower first"):
        load_model("builtin", score_range=score_range)


def test_every_kind_is_described_on_one_line():
    for form, description in model_kinds():
        assert form
        assert description
        assert "\n" not in description
