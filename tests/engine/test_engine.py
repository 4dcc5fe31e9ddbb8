"""Many images at once: batches, what a bad one does to the others, what is reported on the way."""

import hashlib
import math
import os
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from iqattack.attacks import ATTACKS as TABLE
from iqattack.attacks import load_attack
from iqattack.constraints import parse_floor
from iqattack.engine import Failure, Outcome, QueryLog, image_generator, image_hash
from iqattack.errors import InputError
from iqattack.images import ImageSet, read_image, write_png
from iqattack.models import load_model
from iqattack.scoring import NO_RETRY

TINY = Path(__file__).parents[1] / "tiny_network.py"


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


def plain(kit, items):
    return {name: kit.as_plain(item) for name, item in items.items()}


# -- batches --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize(
    ("constraint", "batches"), [("linf:3", (1, 3, None)), ("jnd:0.38", (1, 7))]
)
def test_the_batch_size_changes_nothing(kit, images, name, constraint, batches):
    seen = []
    for batch in batches:
        log, scorer = QueryLog(), kit.Scorer()
        items = kit.attack_all(
            images, scorer, ATTACKS[name], log=log, queries=30, batch=batch, constraint=constraint
        )
        assert batch is None or max(scorer.batches) <= batch
        assert not scorer.repeats
        seen.append((plain(kit, items), kit.all_rows(log)))
    assert any(item.gain > 0 for item in items.values())
    assert all(each == seen[0] for each in seen[1:])


@pytest.mark.slow
def test_the_batch_size_changes_nothing_with_a_network(kit, sample_folder):
    model = load_model(f"{TINY}:OneByOne")
    images = ImageSet.from_folder(sample_folder).limit(3)
    seen = []
    for batch in (1, 3, 7, None):
        log = QueryLog()
        items = kit.attack_all(
            images, model, ATTACKS["score-boundary"], log=log, queries=25, batch=batch
        )
        seen.append((plain(kit, items), kit.all_rows(log)))
    assert all(each == seen[0] for each in seen[1:])


def test_neither_order_nor_company_changes_an_image(kit, images):
    options = {"objective": "up", "queries": 20, "batch": 4}
    together = kit.attack_all(images, kit.Scorer(), lists, **options)
    backwards = kit.attack_all(ImageSet(images.entries[::-1]), kit.Scorer(), lists, **options)
    assert plain(kit, backwards) == plain(kit, together)
    for entry in images:
        alone = kit.attack_all(ImageSet((entry,)), kit.Scorer(), lists, **options)
        assert plain(kit, alone)[entry.name] == plain(kit, together)[entry.name]


def test_another_seed_is_another_search(kit, images):
    first, again, other = (
        plain(kit, kit.attack_all(images, kit.Scorer(), lists, seed=seed)) for seed in (3, 3, 4)
    )
    assert first == again
    assert all(first[name] != other[name] for name in first)


@pytest.mark.parametrize("sizes", [[(24, 32), (32, 24)] * 8, [(24, 32), *[(32, 24)] * 3] * 4])
def test_batches_are_filled_across_images_whose_sizes_alternate(kit, tmp_path, sizes):
    images = kit.write_set(tmp_path, sizes)
    batches = []
    scorer = kit.Scorer(before=lambda batch: batches.append(len(batch)))
    clean = []

    def progress(state):
        if state.stage == "clean":
            clean[:] = batches

    kit.attack_all(images, scorer, load_attack("noise"), queries=61, batch=4, progress=progress)
    searching = batches[len(clean) :]
    assert sum(searching) == 16 * 60
    before_the_last = searching[: 3 * len(searching) // 4]  # of which there may be too few
    # Images are read beside the search, so that on a loaded machine some come late.
    assert before_the_last.count(4) >= 0.8 * len(before_the_last)


# -- one bad image among good ones ----------------------------------------------------------------


@pytest.fixture
def mixed(kit, images, tmp_path):
    """The pictures with a truncated and a small one among them."""
    for entry in images:
        (tmp_path / entry.name).write_bytes(entry.path.read_bytes())
    data = (tmp_path / "001.png").read_bytes()
    (tmp_path / "0011-truncated.png").write_bytes(data[: len(data) // 2])
    write_png(tmp_path / "0021-small.png", kit.picture(8, 40, seed=9))
    return ImageSet.from_folder(tmp_path)


@pytest.mark.parametrize("batch", [1, 4])
def test_bad_images_fail_and_the_others_do_not_notice(kit, images, mixed, batch):
    options = {"objective": "up", "queries": 20, "batch": batch}
    good = kit.attack_all(images, kit.Scorer(), lists, **options)
    items = kit.attack_all(mixed, kit.Scorer(), lists, **options)
    truncated, small = items.pop("0011-truncated.png"), items.pop("0021-small.png")
    assert isinstance(truncated, Failure)
    assert "0011-truncated.png: is damaged or truncated" in truncated.reason
    assert isinstance(small, Failure)
    assert "0021-small.png: 40×8 pixels, integers takes at least 16×16" in small.reason
    assert truncated.queries == small.queries == 0
    assert {name: each[1:] for name, each in plain(kit, items).items()} == {
        name: each[1:] for name, each in plain(kit, good).items()
    }  # all but the path


@pytest.mark.parametrize("batch", [1, 4])
def test_an_attack_that_cannot_take_an_image_fails_that_image(kit, images, batch):
    """As with gradients of a substitute that takes larger images only, asked for later on."""

    def attack(task):
        yield (task.image + 1.0)[None]
        if task.image.shape[1:] == (28, 28):
            raise InputError("28×28 pixels, the substitute takes at least 32×32")
        yield (task.image + 2.0)[None]

    items = kit.attack_all(images, kit.Scorer(), attack, queries=20, batch=batch)
    failed = items.pop(images[2].name)
    assert isinstance(failed, Failure)
    assert failed.reason == f"{images[2].path}: 28×28 pixels, the substitute takes at least 32×32"
    assert failed.queries == 2
    assert {outcome.queries for outcome in items.values()} == {3}


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("batch", [1, 3])
def test_a_clean_score_that_is_no_number(kit, images, score, batch):
    bad = images[1]
    scorer = kit.Scorer({image_hash(read_image(bad.path).pixels): score})
    options = {"objective": "up", "queries": 15, "batch": batch}
    log = QueryLog()
    items = kit.attack_all(images, scorer, lists, log=log, **options)
    good = kit.attack_all(images, kit.Scorer(), lists, **options)
    failure = items.pop(bad.name)
    good.pop(bad.name)
    assert isinstance(failure, Failure)
    assert failure.reason == (
        f"{bad.path}: integers gave it the score {score}, expected a finite number"
    )
    assert failure.queries == 1
    assert plain(kit, items) == plain(kit, good)
    silent = kit.Scorer()
    again = kit.attack_all(images, silent, lists, log=log, **options)
    assert again == {bad.name: failure}  # from the log
    assert silent.asked == []


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("batch", [1, 3, 8])
def test_a_candidate_without_a_score_is_a_query_that_gains_nothing(kit, images, score, batch):
    bad, reported = images[2], []
    options = {"objective": "up", "queries": 15, "batch": batch}
    log = QueryLog()
    good = kit.attack_all(images, kit.Scorer(), lists, log=log, **options)
    fifth, ninth = (int(log.rows(bad.name)["hash"][k]) for k in (4, 8))
    log, scorer = QueryLog(), kit.Scorer({fifth: score, ninth: score})
    run = {**options, "note": lambda *note: reported.append(note)}
    items = kit.attack_all(images, scorer, lists, log=log, **run)
    found = items.pop(bad.name)
    expected = good.pop(bad.name)
    assert plain(kit, items) == plain(kit, good)
    assert found.queries == len(log.rows(bad.name)) == expected.queries
    assert math.isfinite(found.score_adv)
    assert image_hash(found.adversarial) not in (fifth, ninth)
    assert reported == [
        (
            bad.name,
            f"the model's score of query 5 is {score}, expected a finite number; such a query "
            "counts, with no gain",
        )
    ]


@pytest.mark.parametrize("batch", [1, 3])
def test_a_search_with_a_candidate_without_a_score_replays(kit, images, batch):
    log = QueryLog()
    options = {"objective": "up", "queries": 15, "batch": batch}
    kit.attack_all(images, kit.Scorer(), lists, log=log, **options)
    bad = {int(log.rows(entry.name)["hash"][6]): math.nan for entry in images}
    log = QueryLog()
    whole = kit.attack_all(images, kit.Scorer(bad), lists, log=log, **options)
    again = QueryLog()
    again.open_tasks(log.images())
    again.keep_directions(log.directions())
    again.append({name: (0, log.rows(name)[:9].tolist()) for name in log.images()})
    scorer = kit.Scorer(bad)
    assert plain(kit, kit.attack_all(images, scorer, lists, log=again, **options)) == plain(
        kit, whole
    )
    assert len(scorer.asked) == sum(item.queries - 9 for item in whole.values())


def test_an_attack_is_told_a_finite_gain_where_there_is_no_score(kit, images):
    gains = []

    def attack(task):
        answer = yield torch.stack([task.image + 1.0, task.image + 2.0])
        gains.append(answer.gain.tolist())

    entry = images[0]
    second = image_hash((read_image(entry.path).pixels.float() + 2.0).byte())
    kit.attack_all(
        images.limit(1), kit.Scorer({second: math.nan}), attack, objective="up", queries=3
    )
    assert gains[0][1] == -1.0 < gains[0][0]


def test_an_image_that_disappears_after_its_clean_score(kit, mixed):
    gone = mixed[0]

    def remove(batch):
        if len(scorer.asked) == 2:
            gone.path.unlink()

    scorer = kit.Scorer(before=remove)
    items = kit.attack_all(mixed, scorer, lists, batch=1)
    assert items[gone.name] == Failure(
        gone, f"{gone.path}: no such image; check the path", queries=1
    )
    assert sum(isinstance(item, Outcome) for item in items.values()) == 4


def test_a_floor_that_an_image_is_too_small_for_names_the_image(kit, tmp_path):
    images = kit.write_set(tmp_path, [(10, 30), (30, 30)])
    scorer = kit.Scorer()
    scorer.min_size = 1
    items = kit.attack_all(images, scorer, lists, floor=parse_floor("ssim:0.9"))
    assert isinstance(items["001.png"], Outcome)
    assert items["000.png"].reason.startswith(f"{images[0].path}: floor 'ssim:0.9': a picture of")


# -- a bad model ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda images: 1 / 0, "'bad' failed to score images: ZeroDivisionError"),
        (lambda images: torch.zeros(len(images), 2), r"'bad' returned shape \(1, 2\) for 1 image;"),
        (lambda images: "high", "'bad' returned str that is not numbers for 1 image;"),
    ],
)
def test_a_model_that_does_not_answer_as_it_should(kit, images, answer, message):
    scorer_class: Any = kit.Scorer

    class Bad(scorer_class):
        name = "bad"

        def __call__(self, batch):
            if len(self.asked) < len(images):
                return super().__call__(batch)
            return answer(batch)

    log = QueryLog()
    items = kit.attack_all(images, Bad(), lists, log=log, batch=2)
    assert all(isinstance(item, Failure) for item in items.values())
    assert all(re.search(message, item.reason) for item in items.values())
    assert [len(rows) for rows in kit.all_rows(log).values()] == [1] * len(images)


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_a_candidate_that_the_model_fails_on_fails_its_image(kit, images, batch):
    """And no other; what was scored before it is in the log, and it fails again after a resume."""
    bad = images[2]
    options = {"objective": "up", "queries": 15, "batch": batch}
    log = QueryLog()
    good = kit.attack_all(images, kit.Scorer(), lists, log=log, **options)
    fifth = int(log.rows(bad.name)["hash"][4])

    def singular(batch):
        if fifth in map(image_hash, batch):
            raise ValueError("singular matrix")

    log, scorer = QueryLog(), kit.Scorer(before=singular)
    items = kit.attack_all(images, scorer, lists, log=log, **options)
    failure = items.pop(bad.name)
    good.pop(bad.name)
    assert failure == Failure(
        bad,
        f"{bad.path}: model 'integers' failed to score images: ValueError: singular matrix",
        queries=4,
    )
    assert plain(kit, items) == plain(kit, good)
    assert len(log.rows(bad.name)) == 4
    again = kit.attack_all(images, kit.Scorer(before=singular), lists, log=log, **options)
    assert again == {bad.name: failure}
    healed = kit.attack_all(images, kit.Scorer(), lists, log=log, **options)
    assert healed[bad.name].queries == 15


@pytest.mark.parametrize("batch", [1, 4])
def test_a_clean_image_that_the_model_fails_on(kit, images, batch):
    first = image_hash(read_image(images[0].path).pixels)

    def small(batch):
        if first in map(image_hash, batch):
            raise AssertionError("too small")

    items = kit.attack_all(images, kit.Scorer(before=small), lists, batch=batch)
    assert isinstance(items.pop(images[0].name), Failure)
    assert all(isinstance(item, Outcome) for item in items.values())


@pytest.mark.parametrize("batch", [None, 4])
def test_a_model_that_takes_one_image_at_a_time(kit, images, batch):
    def one(batch):
        if len(batch) > 1:
            raise AssertionError(f"only one image at a time, got {len(batch)}")

    scorer = kit.Scorer(before=one)
    items = kit.attack_all(images, scorer, lists, queries=20, batch=batch)
    assert plain(kit, items) == plain(kit, kit.attack_all(images, kit.Scorer(), lists, queries=20))
    assert set(scorer.batches) == {1}


def test_a_model_that_breaks_fails_the_images_in_progress(kit, images):
    """No scores are lost: another session continues once the model works again."""
    asked = []

    def broken(batch):
        asked.append(len(batch))
        if len(asked) > 12:
            raise ValueError("gone")

    log = QueryLog()
    items = kit.attack_all(images, kit.Scorer(before=broken), lists, log=log, batch=1)
    assert all("ValueError: gone" in item.reason for item in items.values())
    assert sum(item.queries for item in items.values()) == 12
    assert set(log.failures()) == set(items)
    assert sum(log.attempts().values()) == len(asked) - 12
    whole = kit.attack_all(images, kit.Scorer(), lists, log=log, batch=1)
    assert plain(kit, whole) == plain(kit, kit.attack_all(images, kit.Scorer(), lists))
    assert not log.failures()


@pytest.mark.parametrize(("error", "asked"), [(ValueError, 32), (ConnectionError, 3)])
def test_a_model_that_scores_nothing_ends_the_run(kit, tmp_path, error, asked):
    images = kit.write_set(tmp_path, [(24, 32)] * 40)
    names = []

    def broken(batch):
        names.append(image_hash(batch[0]))
        raise error("nothing there")

    with pytest.raises(InputError, match=rf"the last of {asked} images on which the model failed"):
        kit.attack_all(images, kit.Scorer(before=broken), lists, batch=1, retry=NO_RETRY)
    assert asked <= len(names) <= asked + 4
    assert len(set(names)) == len(names)


def test_images_at_the_start_that_the_model_refuses_do_not_end_the_run(kit, tmp_path):
    """Whatever their number: a clip may fade in for long."""
    images = kit.write_set(tmp_path, [(24, 32)] * 80)
    good = {image_hash(read_image(entry.path).pixels) for entry in images.entries[60:]}

    def refuse(batch):
        if not good.issuperset(map(image_hash, batch)):
            raise AssertionError("black")

    items = kit.attack_all(images, kit.Scorer(before=refuse), lists, objective="up", queries=1)
    assert sum(isinstance(item, Outcome) for item in items.values()) == 20


@pytest.mark.parametrize(
    ("score_range", "said"),
    [
        ((0.0, 100.0), []),
        ((60.0, 100.0), ["its clean score ", " of 4 more"]),
    ],
)
def test_clean_scores_outside_the_range_are_told(kit, images, score_range, said):
    scorer, reported = kit.Scorer(), []
    scorer.score_range = score_range
    kit.attack_all(
        images, scorer, lists, objective="down", queries=2, note=lambda *note: reported.append(note)
    )
    assert len(reported) == bool(said)
    assert all(part in reported[0][1] for part in said)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"queries": 0}, "queries 0: expected at least 1, for the clean image"),
        ({"batch": 0}, "batch size 0: expected at least 1"),
    ],
)
def test_options_that_make_no_sense(kit, options, message):
    with pytest.raises(InputError, match=message):
        kit.engine(kit.Scorer(), lists, **options)


# -- what is reported -----------------------------------------------------------------------------


def test_progress_counts_what_the_model_scored(kit, images):
    states = []
    scorer = kit.Scorer(before=lambda batch: None)

    def progress(state):
        assert state.queries == len(scorer.asked)
        states.append(state)

    outcomes = kit.attack_all(images, scorer, lists, queries=20, batch=3, progress=progress)
    last = states[-1]
    assert (last.stage, last.done, last.images) == ("attack", 5, 5)
    assert last.queries == last.spent == last.budget == 100
    assert last.gain == pytest.approx(sum(item.gain for item in outcomes.values()) / 5)
    assert all(a.spent <= b.spent for a, b in pairwise(states))
    assert all(a.done <= b.done for a, b in pairwise(states) if a.stage == b.stage)
    assert [max(s.done for s in states if s.stage == stage) for stage in ("clean", "attack")] == [
        5,
        5,
    ]


def test_progress_of_a_resumed_run_tells_old_queries_from_new(kit, images):
    log, states = QueryLog(), []
    searches = kit.engine(kit.Scorer(), lists, log=log, queries=20).run(images)
    finished = next(searches)
    log.finish(finished.entry.name, "{}")
    old = sum(map(len, kit.all_rows(log).values()))
    outcomes = kit.attack_all(
        images, kit.Scorer(), lists, log=log, queries=20, progress=states.append
    )
    assert len(outcomes) == 4
    last = states[-1]
    assert (last.done, last.queries, last.spent) == (5, 100 - old, 100)
    gains = [finished.gain, *(item.gain for item in outcomes.values())]
    assert last.gain == pytest.approx(sum(gains) / 5)


def test_what_was_converted_is_told_once(kit, tmp_path):
    images = kit.write_set(tmp_path, [(24, 24), (24, 24)])
    Image.open(images[0].path).convert("L").save(images[0].path)
    notes, log = [], QueryLog()
    for _ in range(2):
        kit.attack_all(
            images,
            kit.Scorer(),
            lists,
            log=log,
            note=lambda name, phrase: notes.append((name, phrase)),
        )
    assert notes == [("000.png", "grey converted to RGB")]


# -- randomness -----------------------------------------------------------------------------------


def test_the_generator_of_an_image_depends_on_seed_and_name_alone():
    def draw(seed, name):
        return torch.rand(8, generator=image_generator(seed, name)).tolist()

    first = draw(1, "a.png")
    torch.manual_seed(os.getpid())
    assert draw(1, "a.png") == first
    different = [draw(1, "b.png"), draw(2, "a.png"), draw(-1, "a.png"), draw(11, "\na.png")]
    assert first not in different
    assert len({tuple(values) for values in different}) == len(different)
    digest = hashlib.sha256(b"1\na.png").digest()
    seed = int.from_bytes(digest[:8], "little", signed=True)
    expected = torch.rand(8, generator=torch.Generator().manual_seed(seed)).tolist()
    assert first == expected


@pytest.mark.parametrize("error", [MemoryError, torch.OutOfMemoryError])
@pytest.mark.parametrize("most", [1, 3])
def test_short_of_memory_it_asks_for_fewer_at_once(kit, images, error, most):
    def refuse(batch):
        if len(batch) > most:
            raise error

    attack = load_attack("noise")
    usual = kit.attack_all(images, kit.Scorer(), attack, batch=8)
    scorer = kit.Scorer(before=refuse)
    frugal = kit.attack_all(images, scorer, attack, batch=8)
    assert [kit.as_plain(usual[n]) for n in usual] == [kit.as_plain(frugal[n]) for n in usual]
    assert max(scorer.batches) <= most
    assert not scorer.repeats


def test_an_image_that_is_too_large_for_the_memory_fails_alone(kit, images):
    def refuse(batch):
        if batch.shape[-1] == 28:
            raise torch.OutOfMemoryError

    items = kit.attack_all(images, kit.Scorer(before=refuse), load_attack("noise"))
    failure = items.pop(images[2].name)
    assert "'integers': out of memory on one image of 28×28 pixels; use smaller" in failure.reason
    assert all(isinstance(item, Outcome) for item in items.values())
