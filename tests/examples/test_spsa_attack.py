"""The example of an attack of one's own, as a user runs it."""

from pathlib import Path

import pytest
import torch

from iqattack.attacks import load_attack
from iqattack.cli import main
from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Outcome
from iqattack.images import ImageSet, write_png
from iqattack.models import wrap
from iqattack.objectives import parse_objective

EXAMPLE = Path(__file__).parents[2] / "examples" / "spsa_attack.py"


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    chance = torch.Generator().manual_seed(0)
    for number in range(3):
        pixels = torch.randint(60, 200, (3, 64, 64), generator=chance).byte()
        write_png(tmp_path / "photos" / f"{number}.png", pixels)
    return tmp_path / "photos"


def test_the_command_runs_it(photos, tmp_path, capsys):
    out = str(tmp_path / "run")
    command = ["attack", str(photos), "--model", "builtin", "--constraint", "linf:3"]
    command += ["--attack", f"{EXAMPLE}:spsa:samples=4", "--queries", "40", "--out", out]
    assert main(command) == 0
    assert main(["verify", out]) == 0
    assert "3 images checked: all as reported" in capsys.readouterr().out
    assert main(["attacks", f"{EXAMPLE}:spsa"]) == 0
    assert "Uesato" in capsys.readouterr().out


def test_on_a_linear_model_it_comes_to_the_corner_of_the_box(photos):
    """The optimum of a linear score is the sign of its weights; in few dimensions it is found."""
    weights = torch.zeros(3, 64, 64)
    weights[:, ::32, ::32] = torch.tensor([1.0, -2.0, 3.0])[:, None, None]

    def score(images):
        return 0.5 + (images.float() * weights).sum((1, 2, 3)).double() / 1e5

    model = wrap(score, name="linear", score_range=(0, 1), lower_better=False)
    images = ImageSet.from_folder(photos)
    engine = Engine.in_process(
        model,
        load_attack(f"{EXAMPLE}:spsa:samples=16"),
        parse_constraint("linf:3"),
        parse_objective("up"),
        queries=400,
    )
    best = 3 * float(weights.abs().sum()) / 1e5
    for outcome in engine.run(images):
        if isinstance(outcome, Outcome):
            gained = outcome.score_adv - outcome.score_clean
            assert gained > 0.8 * best  # of 12 signs, one or the other is in doubt
