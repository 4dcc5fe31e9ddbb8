"""A model whose scores are exact in any batch, pictures for it, and a way to run the engine."""

from collections import Counter
from functools import cache

import numpy as np
import pytest
import torch

from iqattack.constraints import parse_constraint
from iqattack.engine import Engine, Outcome, QueryLog, image_hash
from iqattack.images import ImageSet, write_png
from iqattack.objectives import parse_objective

SIZES = ((24, 32), (32, 24), (28, 28), (24, 32), (32, 24))


@cache
def weights(shape):
    """-3 to 3, mixed well."""
    return (torch.arange(shape.numel(), dtype=torch.int32).reshape(shape) * 7919) % 7 - 3


class IntegerScorer:
    """50 + a weighted sum of pixels, in integers until the last division: the same in any batch.

    asked: the hash of every image that it scored, in order; batches: how many at a time.
    answers: raw scores by hash that go before the sum.
    before: is called with each batch, ahead of scoring it.
    """

    name = "integers"
    score_range = (0.0, 100.0)
    lower_better = False
    min_size = 16

    def __init__(self, answers=None, before=lambda images: None):
        self.answers = answers or {}
        self.before = before
        self.asked = []
        self.batches = []

    def score(self, image):
        return 50.0 + int((image.int() * weights(image.shape)).sum()) * 20 / image.numel()

    def __call__(self, images):
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
            raise TypeError(f"{images.dtype} {tuple(images.shape)}")
        self.before(images)
        hashes = [image_hash(image) for image in images]
        self.asked += hashes
        self.batches.append(len(images))
        scores = [
            self.answers.get(digest, self.score(image))
            for digest, image in zip(hashes, images, strict=True)
        ]
        return torch.tensor(scores, dtype=torch.float64)

    @property
    def repeats(self):
        return {digest: n for digest, n in Counter(self.asked).items() if n > 1}


def picture(height, width, seed):
    """A smooth random picture with some grain, grey levels 16 to 239."""
    rng = np.random.default_rng(seed)
    coarse = torch.tensor(rng.uniform(40, 215, (1, 3, 5, 5)), dtype=torch.float32)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic")[0]
    grain = torch.tensor(rng.normal(0, 6, (3, height, width)), dtype=torch.float32)
    return (smooth + grain).clamp(16, 239).round().to(torch.uint8)


def write_set(folder, sizes, first_seed=0):
    for number, (height, width) in enumerate(sizes):
        write_png(folder / f"{number:03}.png", picture(height, width, first_seed + number))
    return ImageSet.from_folder(folder)


def engine(
    scorer, attack, *, constraint="linf:3", objective="rank", queries=20, batch=None, **options
):
    return Engine.in_process(
        scorer,
        attack,
        parse_constraint(constraint),
        parse_objective(objective),
        queries=queries,
        batch=batch,
        **options,
    )


def attack_all(images, scorer, attack, *, log=None, **options):
    """Outcomes and failures by name; outcomes are finished in the log, as a run does."""
    log = QueryLog() if log is None else log
    items = {}
    for item in engine(scorer, attack, log=log, **options).run(images):
        items[item.entry.name] = item
        if isinstance(item, Outcome):
            log.finish(item.entry.name, "{}")
    return items


def as_plain(item):
    """Everything of an outcome or failure in a form that compares equal bit for bit."""
    if not isinstance(item, Outcome):
        return item
    return (
        item.entry,
        item.target,
        item.adversarial.shape,
        item.adversarial.numpy().tobytes(),
        item.score_adv.hex(),
        item.gain.hex(),
        item.queries,
    )


def all_rows(log):
    return {name: log.rows(name).tolist() for name in log.images()}


@pytest.fixture(scope="session")
def kit():
    """The helpers above under one name; session-wide, so that hypothesis may use it."""

    class Kit:
        Scorer = IntegerScorer
        weights = staticmethod(weights)
        picture = staticmethod(picture)
        write_set = staticmethod(write_set)
        engine = staticmethod(engine)
        attack_all = staticmethod(attack_all)
        as_plain = staticmethod(as_plain)
        all_rows = staticmethod(all_rows)

    return Kit


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Five pictures in three sizes."""
    return write_set(tmp_path_factory.mktemp("pictures"), SIZES)
