"""The script for a machine with a GPU, run here on a CPU with a tiny network."""

import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
import gpu  # noqa: E402 - beside these
from iqattack.engine import Progress  # noqa: E402
from iqattack.engine.log import ROW  # noqa: E402
from iqattack.evaluation import evaluate_scores  # noqa: E402


def test_without_a_gpu_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 0
    assert capsys.readouterr().out == "skipped: no GPU\n"


def test_the_whole_path_on_a_cpu(capsys, tmp_path, monkeypatch):
    few = partial(evaluate_scores, resamples=20)  # intervals have tests of their own
    monkeypatch.setattr("iqattack.runs.summary.evaluate_scores", few)
    page = tmp_path / "gpu.md"
    options = ["--cpu", "--quick", "--workers", "0", "--attacks", "square", "--out", str(page)]
    assert gpu.main(options) == 0
    assert "one image a call, 0 workers: equal logs." in capsys.readouterr().out
    (row,) = (line for line in page.read_text().splitlines() if line.startswith("| square"))
    _, workers, batch, rate, ratio = (cell.strip(" *") for cell in row.strip("|").split("|"))
    assert workers == "0"
    assert int(batch) >= 1
    assert float(rate) > 0
    assert float(ratio) > 0


def test_the_network_has_the_size_of_resnet_50():
    """25,557,032 parameters with 1,000 classes, of which the last layer has 2,049,000."""
    with torch.device("meta"):
        network = gpu.residual_50()
        assert network(torch.empty(1, 3, 224, 224)).shape == (1, 1)
    weights = sum(weight.numel() for weight in network.parameters())
    assert weights == 25_557_032 - 2_049_000 + 2_049


def test_scores_of_random_weights_are_spread_and_repeat():
    images = gpu.pictures(8, 64)
    scores = gpu.tiny()(gpu._normal(images))
    assert scores.std() > 5
    assert torch.equal(scores, gpu.tiny()(gpu._normal(images)))


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr("gpu.time.perf_counter", lambda: now[0])
    monkeypatch.setattr("gpu.time.monotonic", lambda: now[0])
    return now


def watched(clock, rates, size=gpu.FULL):
    """Replies of a run that has one rate after the other, a second each."""
    watch, queries = gpu.Steady(size, until=1e9), 50
    watch.progress(Progress("clean", 0, 9, queries, 0, 0, 9, 0.0, 1, 0.0))
    for rate in rates:
        for _ in range(10):
            clock[0] += 0.1
            queries += rate // 10
            watch.progress(Progress("attack", 0, 9, queries, 0, 0, 9, 0.0, 16, 0.0))
            if watch.stop():
                return watch
    return watch


def test_a_rate_is_timed_once_it_is_steady(clock):
    watch = watched(clock, [10 * k for k in range(1, 21)] + [1000] * 60)
    assert watch.done
    assert watch.rate == pytest.approx(1000, rel=0.02)


def test_a_rate_that_never_is_steady_is_timed_all_the_same(clock):
    watch = watched(clock, [100, 100, 100, 900, 900, 900] * 12)
    assert watch.done
    assert 300 < watch.rate < 700


def test_a_run_that_ends_early_has_no_rate(clock):
    assert np.isnan(watched(clock, [100] * 3).rate)


def test_logs_are_compared_by_their_bytes():
    def log(*pairs):
        return {"a": np.array(list(pairs), dtype=ROW)}

    one = log((1, 10.0), (2, 20.0))
    assert gpu.same_scores([one, log((1, 10.0), (2, 20.0))]) == (True, 0.0)
    # Another score of the second picture, and so another third one.
    assert gpu.same_scores([one, log((1, 10.0), (2, 20.5), (3, 1.0))]) == (False, 0.5)


def test_shares_are_of_all_workers(tmp_path):
    for k, network in enumerate((6.0, 2.0)):
        parts = {"wall": 10.0, "asking": 8.0, "network": network, "transfer": 1.0}
        (tmp_path / f"{k}.json").write_text(json.dumps(parts | {"candidates": 5.0}))
    found = list(gpu.shares(tmp_path).values())
    assert found == pytest.approx([0.4, 0.1, 0.3, 0.2, 0.5])
