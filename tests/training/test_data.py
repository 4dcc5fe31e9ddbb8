from pathlib import Path

import numpy as np
import pytest
import torch

from iqattack.models.builtin import Energies

TRAINING = Path(__file__).resolve().parents[2] / "training"


@pytest.fixture
def data(monkeypatch, stand_ins):
    monkeypatch.syspath_prepend(str(TRAINING))
    import data  # noqa: PLC0415 - from training/

    monkeypatch.setattr(data, "photographs", stand_ins)
    return data


def test_the_split_is_by_content(data):
    parts = [set(fold) for fold in (*data.FOLDS, data.TEST)]
    assert set.union(*parts) == set(range(1, 25))
    assert sum(map(len, parts)) == 24  # no content in two of them
    assert set.union(*parts[:-1]) == set(data.LEARNING)


def test_pictures_follow_from_the_seed(data):
    once, again, other = (data.random_pictures((3, 8), 6, seed) for seed in (0, 0, 1))
    assert torch.equal(once.local, again.local)
    assert torch.equal(once.overall, again.overall)
    assert np.array_equal(once.measures, again.measures)
    assert not torch.equal(once.local, other.local)
    assert once.content.tolist() == [3, 8] * 3
    cells = data.SIDE // 8 - 1
    assert once.local.shape == (6, 82, cells, cells)
    assert once.local.isfinite().all()


def test_what_training_sees_is_what_the_model_sees(data):
    graded = data.graded_pictures((3,), 0, crop=192)
    network, seen = Energies(), graded.seen()
    for k in (0, 70):
        local, overall = network(torch.from_numpy(graded.pictures[k])[None].float())
        torch.testing.assert_close(seen.local[k].float(), local[0], atol=0.01, rtol=0.01)
        torch.testing.assert_close(seen.overall[k], overall[0], atol=1e-3, rtol=1e-3)


def test_a_graded_set_has_every_kind_and_level(data):
    graded = data.graded_pictures((3,), 0, crop=192)
    single = {steps[0] for steps in graded.steps if len(steps) == 1}
    assert len(single) == 55
    assert sum(not steps for steps in graded.steps) == len(data.SIZES)
    mixtures = [steps for steps in graded.steps if len(steps) == 2]
    assert len(mixtures) == 11 * len(data.SIZES)
    assert all(first[0] != second[0] for first, second in mixtures)


def test_the_ranking_leaves_the_clean_out(data):
    pictures = data.random_pictures((3,), 60, 0)
    table = data.ranking_of(pictures)
    clean = [k for k, steps in enumerate(pictures.steps) if not steps]
    assert clean
    assert (pictures.mos(table)[clean] == 100).all()
    assert (np.diff(table, axis=0) >= 0).all()
