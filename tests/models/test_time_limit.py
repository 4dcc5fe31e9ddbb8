"""`--timeout` for models that know no time limit."""

import gc
import pickle
import threading
import time

import pytest
import torch

import iqattack
from iqattack.errors import InputError, TransientError
from iqattack.images import ImageSet, write_png
from iqattack.models import TimeLimited, gradient_of, load_model, wrap

pytestmark = pytest.mark.usefixtures("few_resamples")

IMAGES = torch.zeros(2, 3, 8, 8, dtype=torch.uint8)


@pytest.fixture
def photos(tmp_path):
    chance = torch.Generator().manual_seed(0)
    (tmp_path / "photos").mkdir()
    for number in range(4):
        pixels = torch.randint(100, 156, (3, 24, 24), generator=chance).byte()
        write_png(tmp_path / "photos" / f"{number}.png", pixels)
    return ImageSet.from_folder(tmp_path / "photos")


def test_what_is_in_time_is_passed_on():
    limited = TimeLimited(lambda images: images.double().mean((1, 2, 3)), 60)
    assert torch.as_tensor(limited(IMAGES)).tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="no"):
        TimeLimited(raising(ValueError, "no"), 60)(IMAGES)
    with pytest.raises(TimeoutError, match="the model's own"):
        TimeLimited(raising(TimeoutError, "the model's own"), 60)(IMAGES)


def raising(kind, message):
    def function(_):
        raise kind(message)

    return function


def test_a_call_that_hangs_is_left_alone_and_the_next_one_works():
    hangs, over = threading.Event(), threading.Event()

    def score(images):
        if not hangs.is_set():
            hangs.set()
            over.wait(60)
        return [1.0] * len(images)

    limited = TimeLimited(score, 0.2)
    with pytest.raises(TransientError, match=r"^no answer within 0\.2 s; raise --timeout if"):
        limited(IMAGES)
    assert limited(IMAGES) == [1.0, 1.0]
    over.set()
    for _ in range(100):  # the one that hung ends, the other waits for more
        if sum(thread.name == "iqattack-model" for thread in threading.enumerate()) <= 1:
            break
        gc.collect()  # those of other tests, which errors refer to
        time.sleep(0.05)
    else:
        raise AssertionError("a thread was left behind")


def test_a_run_goes_on_after_a_model_that_hung(tmp_path, photos):
    over, calls = threading.Event(), []

    def score(images):
        calls.append(len(images))
        if len(calls) == 3:
            over.wait(60)
        return images.double().mean((1, 2, 3))

    model = wrap(score, name="hangs", score_range=(0, 255), lower_better=False, timeout=0.5)
    run = iqattack.attack(
        photos,
        model,
        attack="noise",
        queries=10,
        out=tmp_path / "run",
        retry=iqattack.Retry(3, first_s=0.01),
    )
    over.set()
    assert not any(row.failed for row in run.results)
    # Of those sent, those of the call that hung have no score.
    assert sum(row.attempts for row in run.results) >= calls[2]
    assert sum(calls) == sum(row.queries + row.attempts for row in run.results)


def test_a_model_by_its_spec_and_its_gradients(tmp_path):
    model = load_model("builtin", timeout=60)
    assert isinstance(model.function, TimeLimited)
    images = torch.randint(256, (2, 3, 64, 64), dtype=torch.uint8)
    found, wanted = model(images), load_model("builtin")(images)
    assert torch.equal(torch.as_tensor(found), torch.as_tensor(wanted))
    assert gradient_of(model)(images.float()).shape == images.shape
    with pytest.raises(AttributeError):
        TimeLimited(len, 1.0).differentiable  # noqa: B018
    copy = pickle.loads(pickle.dumps(TimeLimited(len, 2.0)))
    assert (copy.function, copy.seconds) == (len, 2.0)


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
def test_no_time_limit(seconds):
    with pytest.raises(InputError, match="expected seconds, more than 0"):
        load_model("builtin", timeout=seconds)
