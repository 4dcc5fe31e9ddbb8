"""Who scores, and in which order replies come, changes nothing."""

import random
import threading
import time

import numpy as np
import pytest
import torch

import iqattack
from iqattack.attacks import ATTACKS as TABLE
from iqattack.attacks import load_attack
from iqattack.engine import QueryLog
from iqattack.images import ImageSet
from iqattack.scoring import Executor, Threads

pytestmark = pytest.mark.usefixtures("few_resamples", "forked_workers")

BUDGET = 25


def lists(task):
    """Lists of 1 to 5 candidates; one in three repeats its neighbour."""
    while True:
        n = int(torch.randint(1, 6, (), generator=task.rng))
        noise = torch.randint(-3, 4, (n, *task.image.shape), generator=task.rng)
        noise[2::3] = noise[1::3][: len(noise[2::3])]
        yield task.image + noise


def gradients(_spec):
    """The gradient of a synthetic model: pointwise, the same for any image."""
    return lambda images: torch.sin(torch.arange(images.numel()).view_as(images))


ATTACKS = {"lists": lists} | {name: load_attack(name, gradients) for name in TABLE}


class Backwards:
    """An executor that runs what waits in a random order, the latest first more often."""

    def __init__(self, seed):
        self._chance = random.Random(seed)
        self._waiting = []

    def submit(self, function, *arguments):
        future = Later(self)
        self._waiting.append((future, function, arguments))
        if len(self._waiting) >= 4:
            self.run()
        else:
            # Nobody else may be to come.
            threading.Timer(0.0005, self.run).start()
        return future

    def run(self):
        waiting, self._waiting = self._waiting, []
        self._chance.shuffle(waiting)
        for future, function, arguments in waiting:
            future.finish(function(*arguments))


class Later:
    """A future that is no `concurrent.futures.Future`."""

    def __init__(self, executor):
        self._done, self._callbacks, self._lock = False, [], threading.Lock()

    def result(self):
        assert self._done
        return self._value

    def add_done_callback(self, function):
        with self._lock:
            if not self._done:
                self._callbacks.append(function)
                return
        function(self)

    def finish(self, value):
        with self._lock:
            self._value, self._done = value, True
        for function in self._callbacks:
            function(self)


# By seed: sizes of batches, and pools. Each attack meets all of them.
KINDS = [(3, "threads", "executor"), (None, "threads of pairs", "executor")]


@pytest.fixture(params=range(len(KINDS)))
def seed(request):
    return request.param


@pytest.fixture(params=ATTACKS)
def name(request):
    return request.param


def test_neither_batches_nor_the_order_of_replies_change_anything(kit, images, name, seed):
    chance = random.Random(seed)

    def delayed(batch):
        time.sleep(chance.choice((0.0, 0.0, 0.0005, 0.002)))

    def pool(kind, scorer):
        match kind:
            case "threads":
                return Threads(scorer, 3)
            case "threads of pairs":
                return Threads(scorer, 2, batch=2)
            case "executor":
                return Executor(scorer, Backwards(seed), 4)
        return None

    seen = {}
    for kind in (1, *KINDS[seed]):
        log, scorer = QueryLog(), kit.Scorer()
        if isinstance(kind, str):
            scorer.before = delayed
        own = pool(kind, scorer)
        items = kit.attack_all(
            images,
            scorer,
            ATTACKS[name],
            log=log,
            queries=BUDGET,
            seed=seed,
            batch=kind if isinstance(kind, int) else None,
            pool=own,
        )
        if own is not None:
            own.close()
        assert not scorer.repeats
        assert len(scorer.asked) == sum(map(len, kit.all_rows(log).values()))
        seen[kind] = ({n: kit.as_plain(item) for n, item in items.items()}, kit.all_rows(log))
    for found in seen.values():
        assert found == seen[1]


MODEL = """
import torch

class Fine:
    name, score_range, lower_better, min_size = "fine", (0.0, 400.0), False, 8

    def __call__(self, images):
        grey = images.to(torch.int64)
        across = (grey[..., 1:] - grey[..., :-1]).abs().sum((1, 2, 3))
        return (3 * across + grey.sum((1, 2, 3))).double() / images[0].numel()

    def differentiable(self, images):
        return (images * torch.arange(images.shape[-1])).mean((1, 2, 3))

def load():
    return Fine()
"""


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(kit, tmp_path, workers):
    """All attacks, half of them at each number; seeds differ, too."""
    (tmp_path / "images").mkdir()
    images = kit.write_set(tmp_path / "images", [(24, 32), (32, 24), (28, 28), (24, 32), (20, 20)])
    (tmp_path / "model.py").write_text(MODEL)
    assert isinstance(images, ImageSet)
    model = f"{tmp_path / 'model.py'}:load"
    for attack in sorted(TABLE)[workers // 2 :: 2]:
        runs = []
        options = f":substitute={model}" if attack == "transfer" else ""
        for number in (None, workers):
            out = tmp_path / f"{attack}-{number}"
            iqattack.attack(
                images,
                model,
                out=out,
                attack=attack + options,
                constraint="linf:4",
                queries=BUDGET,
                seed=workers // 2,
                workers=number,
            )
            runs.append(content(out))
        assert runs[0] == runs[1], attack


def content(out):
    """All of a run that does not say when it was."""
    with QueryLog(out / "log.sqlite", read_only=True) as log:
        rows = {name: log.rows(name).tolist() for name in log.images()}
        assert not log.attempts()
        assert all(not log.early(name) for name in rows)
    assert all(np.isfinite([score for _, score in found]).all() for found in rows.values())
    pictures = {path.name: path.read_bytes() for path in (out / "adversarial").iterdir()}
    return rows, pictures, (out / "results.csv").read_text()
