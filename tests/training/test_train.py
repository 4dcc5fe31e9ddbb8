import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from iqattack.models.builtin import BuiltinNetwork

TRAINING = Path(__file__).resolve().parents[2] / "training"


@pytest.fixture
def train(monkeypatch):
    monkeypatch.syspath_prepend(str(TRAINING))
    import train  # noqa: PLC0415 - from training/

    return train


def test_training_begins_with_blocks_that_change_nothing(train):
    network, maps = train.fresh_network(), torch.rand(2, 64, 9, 9)
    unbiased = network.blocks[1](maps) - network.blocks[1].conv2.bias[:, None, None]
    torch.testing.assert_close(unbiased, maps)


@pytest.mark.slow
def test_training_repeats_itself_and_writes_its_log(train, shared, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "BATCH", 8)
    data = train.random_pictures
    training, validation = data((3, 8), 32, 0), data((13,), 12, 1)
    table = train.ranking_of(training)
    states = []
    for name in ("one.csv", "two.csv"):
        network = train.train(training, validation, table, 2, tmp_path / name)
        assert isinstance(network, BuiltinNetwork)
        states.append(network.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name])
    with (tmp_path / "one.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert float(rows[1]["loss"]) > 0


def test_what_only_training_is_told(train, shared):
    pictures = train.random_pictures((3,), 10, 0)
    told = train.told(pictures, train.ranking_of(pictures)).numpy()
    assert told.shape == (10, 15)
    for row, steps in zip(told, pictures.steps, strict=True):
        assert np.count_nonzero(row[:11]) == len(steps)
    assert ((told >= 0) & (told <= 1)).all()
