import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from iqattack.models.builtin import Judge

TRAINING = Path(__file__).resolve().parents[2] / "training"


@pytest.fixture
def train(monkeypatch, stand_ins):
    monkeypatch.syspath_prepend(str(TRAINING))
    import data  # noqa: PLC0415 - from training/
    import train  # noqa: PLC0415

    monkeypatch.setattr(data, "photographs", stand_ins)
    return train


@pytest.mark.slow
def test_training_repeats_itself_and_writes_its_log(train, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "BATCH", 8)
    data = train.random_pictures
    training, validation = data((3, 8), 32, 0), data((13,), 12, 1)
    table, pool = train.ranking_of(training), np.arange(2, 32)
    states = []
    for name in ("one.csv", "two.csv"):
        judge = train.train(train.SEED, training, pool, validation, table, 2, tmp_path / name)
        assert isinstance(judge, Judge)
        states.append(judge.state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name])
    with (tmp_path / "one.csv").open() as file:
        rows = list(csv.reader(file))
    assert [row[:2] for row in rows] == [["1", "1"], ["1", "2"]]
    assert float(rows[1][3]) > 0


def test_auxiliary_targets(train):
    pictures = train.random_pictures((3,), 10, 0)
    targets = train.auxiliary_targets(pictures, train.ranking_of(pictures)).numpy()
    assert targets.shape == (10, 14)
    for row, steps in zip(targets, pictures.steps, strict=True):
        assert np.count_nonzero(row[:11]) == len(steps)
    assert ((targets >= 0) & (targets <= 1)).all()
