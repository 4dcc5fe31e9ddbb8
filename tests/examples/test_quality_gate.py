"""The CI example, run here as it would be there: a model that withstands, and one that does not."""

import shlex
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml
from PIL import Image

from iqattack.auditing import read_policy
from iqattack.cli import main
from iqattack.evaluation import evaluate_scores

EXAMPLES = Path(__file__).parents[2] / "examples"
MODEL = """
def load():
    def score(images):
        exact = images.long().flatten(1)
        bright = exact.sum(1).double() / exact.shape[1]
        return {score}

    score.score_range, score.lower_better = (0.0, 255.0), False
    return score
"""
# Brightness moves by a few grey levels; far away from a threshold, a step by all of the range.
SCORES = {0: "bright", 1: "255.0 * (bright > 127.5).double()"}


@pytest.fixture(autouse=True)
def _few_resamples(few_resamples, monkeypatch):
    few = partial(evaluate_scores, resamples=20)
    monkeypatch.setattr("iqattack.auditing.from_runs.evaluate_scores", few)
    monkeypatch.setattr("iqattack.auditing.from_runs.RESAMPLES", 20)


@pytest.mark.parametrize("status", [0, 1])
def test_the_workflow_passes_and_fails(tmp_path, monkeypatch, capsys, status) -> None:
    steps = yaml.safe_load((EXAMPLES / "quality_gate.yml").read_text())["jobs"]["audit"]["steps"]
    (command,) = (s["run"] for s in steps if s.get("run", "").startswith("iqattack "))
    (tmp_path / "my_model.py").write_text(MODEL.format(score=SCORES[status]))
    (tmp_path / "policy.toml").write_text((EXAMPLES / "policy.toml").read_text())
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(6):
        pixels = rng.integers(78, 178, (32, 32, 3), dtype=np.int64) + (k % 2)
        pixels += round(127.5 + (-1) ** k * 0.4 - pixels.mean()) if status else 12 * (k - 3)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "photos" / f"{k}.png")
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)[1:]) == status, capsys.readouterr().err[-2000:]
    junit = ElementTree.parse(tmp_path / "audit" / "junit.xml").getroot()
    rules = read_policy(EXAMPLES / "policy.toml").rules
    assert int(junit.get("tests")) == len(rules) + 1  # the audit itself
    assert bool(int(junit.get("failures"))) == bool(status)
    summary = (tmp_path / "audit" / "summary.md").read_text()
    assert ("does not hold" in summary) == bool(status)
