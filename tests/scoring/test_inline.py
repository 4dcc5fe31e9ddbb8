"""What a call takes, and what is left of one that ran out of memory."""

import gc
import weakref

import pytest
import torch

from iqattack.models import wrap
from iqattack.scoring import InProcess, Request, inline

IMAGE = torch.zeros(3, 8, 8, dtype=torch.uint8)


def test_a_call_takes_until_its_scores_are_on_the_cpu(monkeypatch):
    """A device computes behind our back: only the copy of the scores waits for it."""
    now = [0.0]

    class OnDevice(torch.Tensor):
        def detach(self):
            now[0] += 2.0
            return self.as_subclass(torch.Tensor).detach()

    def score(images):
        now[0] += 0.5
        return torch.ones(len(images)).as_subclass(OnDevice)

    monkeypatch.setattr("iqattack.scoring.inline.time.perf_counter", lambda: now[0])
    model = wrap(score, score_range=(0, 1), lower_better=False)
    assert inline.ask(model, [IMAGE, IMAGE]) == ([1.0, 1.0], 2.5)


@pytest.fixture
def emptied(monkeypatch):
    """How often torch was asked to give back a device's memory."""
    times = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: times.append(1))
    return times


def test_what_a_model_held_when_memory_ran_out_is_freed(emptied):
    activations = []

    def score(images):
        held = torch.zeros(1000)
        activations.append(weakref.ref(held))
        raise torch.OutOfMemoryError("CUDA out of memory")

    model = wrap(score, score_range=(0, 1), lower_better=False)
    gc.disable()
    try:
        error, _ = inline.ask(model, [IMAGE, IMAGE])
        assert isinstance(error, torch.OutOfMemoryError)
        assert activations[0]() is None
        assert emptied == [1]
    finally:
        gc.enable()


def test_on_a_full_device_batches_are_halved_and_the_run_goes_on(emptied):
    room, sizes = 5, []

    def score(images):
        sizes.append(len(images))
        if len(images) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return images.double().mean((1, 2, 3))

    pool = InProcess(wrap(score, score_range=(0, 255), lower_better=False), batch=16)
    pool.submit([Request(f"{k}", 1, torch.full_like(IMAGE, k)) for k in range(16)])
    replies = []
    while pool.pending:
        replies += pool.wait()
    assert {reply.request.name: reply.score for reply in replies if reply.final} == {
        f"{k}": float(k) for k in range(16)
    }
    assert sizes == [16, 8, 8, 4, 4, 4, 4]
    assert len(emptied) == 3
    assert pool.batch == 4
