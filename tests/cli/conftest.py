import textwrap
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from iqattack.cli import main
from iqattack.evaluation import evaluate_scores

MODEL = """
    import os
    import time
    import torch

    class Brightness:
        name, score_range, lower_better, min_size = "brightness", (0.0, 255.0), False, 12

        def __call__(self, images):
            time.sleep(float(os.environ.get("SLOW", 0)))
            return images.double().mean((1, 2, 3))

    def load():
        return Brightness()

    def undeclared():
        return lambda images: images.double().mean((1, 2, 3)) - 200

    def broken(score):
        def model(images):
            return score(len(images))
        model.score_range, model.lower_better = (0.0, 1.0), False
        return model

    def nan():
        return broken(lambda n: [float("nan")] * n)

    def infinite():
        return broken(lambda n: [float("inf")] * n)

    def misshapen():
        return broken(lambda n: torch.zeros(n + 1))
"""


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """Intervals take longer than everything else here, and have tests of their own."""
    few = partial(evaluate_scores, resamples=20)
    monkeypatch.setattr("iqattack.runs.summary.evaluate_scores", few)


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """A working folder with photos/, four images of 24×20 pixels, and the model file model.py."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for k in range(4):
        pixels = rng.integers(20 + 30 * k, 60 + 30 * k, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"photos/{k}.png")
    Path("model.py").write_text(textwrap.dedent(MODEL))
    return tmp_path


class Said:
    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def error(self) -> str:
        """The one line on standard error that is an error."""
        lines = [line for line in self.err.splitlines() if not line.startswith("{")]
        assert len(lines) == 1, lines
        return lines[0]


@pytest.fixture
def iqattack(work, capsys) -> Callable[..., Said]:
    def run(*args: str) -> Said:
        capsys.readouterr()
        status = main(args)
        captured = capsys.readouterr()
        return Said(status, captured.out, captured.err)

    return run


@pytest.fixture
def attack(iqattack) -> Callable[..., Said]:
    """`iqattack attack photos` of a few queries; options that are given go before those."""

    def run(*args: str, images: str = "photos", model: str = "model.py:load") -> Said:
        common = {"--model": model, "--attack": "noise", "--constraint": "linf:3"}
        common |= {"--queries": "6", "--out": "run"}
        given = [part for pair in common.items() if pair[0] not in args for part in pair]
        return iqattack("attack", images, *given, *args)

    return run
