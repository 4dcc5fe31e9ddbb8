"""A pool whose model sees images after JPEG, while whoever asks keeps those from before."""

from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from iqattack.errors import InputError
from iqattack.models import wrap
from iqattack.scoring import InProcess, Recompressed, Request, Retry, Threads
from iqattack.scoring.recompressed import recompressed


def request(seed, number=1, size=(40, 32)):
    noise = torch.Generator().manual_seed(seed)
    return Request("a.png", number, torch.randint(256, (3, *size), generator=noise).byte())


def coded(image, quality):
    """By Pillow, as anyone would."""
    file = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1).copy())


class Recorder:
    """Keeps what it scored; fails once for each of so many first calls."""

    def __init__(self, failures=0):
        self.seen, self.failures = [], failures
        self.model = wrap(self.score, name="mean", score_range=(0.0, 255.0), lower_better=False)

    def score(self, batch):
        if self.failures:
            self.failures -= 1
            raise TimeoutError("later")
        self.seen += [image.clone() for image in batch]
        return batch.double().mean((1, 2, 3))


def all_replies(pool):
    replies = []
    while pool.pending:
        replies += pool.wait()
    return replies


@pytest.mark.parametrize("quality", [1, 75, 100])
@pytest.mark.parametrize("size", [(40, 32), (1, 1), (17, 9)])
def test_the_round_trip_is_pillows_with_its_defaults(quality, size):
    image = request(0, size=size).image
    before = image.clone()
    found = recompressed(image, quality)
    assert torch.equal(found, coded(image, quality))
    assert (found.dtype, found.shape) == (torch.uint8, image.shape)
    assert torch.equal(image, before)


@pytest.mark.parametrize("backend", ["in process", "threads"])
def test_the_model_sees_jpeg_and_replies_are_about_what_was_asked(backend):
    recorder = Recorder()
    inner = InProcess(recorder.model) if backend == "in process" else Threads(recorder.model, 2)
    pool = Recompressed(inner, 75)
    asked = [request(k, k) for k in range(3)]
    for one in asked:
        pool.submit([one])
    assert pool.pending == 3
    replies = all_replies(pool)
    pool.close()
    assert {id(reply.request) for reply in replies} == {id(one) for one in asked}
    for reply in replies:
        assert reply.score == float(coded(reply.request.image, 75).double().mean())
    wanted = [coded(one.image, 75) for one in asked]
    assert all(any(torch.equal(image, one) for one in wanted) for image in recorder.seen)
    assert len(recorder.seen) == 3


def test_a_failure_that_passes_is_about_what_was_asked_too():
    recorder = Recorder(failures=1)
    pool = Recompressed(InProcess(recorder.model, retry=Retry(2, 0.001, 0.002)), 60)
    asked = request(4)
    pool.submit([asked])
    replies = all_replies(pool)
    assert [(reply.request, reply.final) for reply in replies] == [(asked, False), (asked, True)]
    assert torch.equal(recorder.seen[0], coded(asked.image, 60))


def test_what_is_forgotten_is_not_replied_to():
    pool = Recompressed(InProcess(Recorder().model), 60)
    pool.submit([request(1)])
    pool.forget()
    assert pool.pending == 0
    pool.submit([again := request(2)])
    assert [reply.request for reply in all_replies(pool)] == [again]


@pytest.mark.parametrize("quality", [0, 101, -5])
def test_a_quality_that_jpeg_does_not_have(quality):
    with pytest.raises(InputError, match=rf"jpeg {quality}: expected a quality from 1 to 100.*lea"):
        Recompressed(InProcess(Recorder().model), quality)
