"""A run that ended early goes on from its log as if nothing had happened."""

from contextlib import nullcontext

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.attacks import ATTACKS as TABLE
from iqattack.attacks import load_attack
from iqattack.engine import Failure, Interrupted, Outcome, QueryLog
from iqattack.errors import RunError
from iqattack.images import ImageEntry, ImageSet, write_png

BUDGET = 25


def lists(task):
    """Lists of random length, with duplicates."""
    known = [task.image]
    while True:
        length = int(torch.randint(0, 6, (), generator=task.rng))
        candidates = []
        for _ in range(length):
            old = known[int(torch.randint(0, len(known), (), generator=task.rng))]
            noise = torch.randint(-2, 3, old.shape, generator=task.rng)
            repeat = torch.rand((), generator=task.rng) < 0.3
            candidates.append(old if repeat else old + noise)
        known += candidates
        yield torch.stack(candidates) if candidates else task.image[None][:0]


def gradients(_spec):
    """The gradient of a synthetic model: pointwise, the same for any image."""
    return lambda images: torch.sin(torch.arange(images.numel()).view_as(images))


ATTACKS = {"lists": lists} | {name: load_attack(name, gradients) for name in TABLE}


@pytest.fixture(scope="module", params=ATTACKS)
def whole(request, kit, images):
    """An attack, and what an uninterrupted run with it gave: items, log rows, hashes asked."""
    attack, log, scorer = ATTACKS[request.param], QueryLog(), kit.Scorer()
    items = kit.attack_all(images, scorer, attack, log=log, queries=BUDGET, batch=2)
    assert all(isinstance(item, Outcome) for item in items.values())
    assert sum(map(len, kit.all_rows(log).values())) == len(scorer.asked)
    return attack, items, kit.all_rows(log), scorer.asked


def cut_log(rows, kept, chunk=2):
    """A log with the first rows of each image only, in chunks."""
    log = QueryLog()
    log.open_tasks(list(rows))
    for name, n in kept.items():
        for first in range(0, min(n, len(rows[name])), chunk):
            log.append({name: (first, rows[name][first : min(first + chunk, n)])})
    return log


@given(
    kept=st.lists(st.integers(0, BUDGET), min_size=5, max_size=5),
    chunk=st.integers(1, 8),
    batch=st.integers(1, 8),
)
@settings(max_examples=5, deadline=None)
def test_a_cut_log_is_replayed_and_completed(kit, images, whole, kept, chunk, batch):
    attack, items, rows, _ = whole
    kept = {name: min(n, len(rows[name])) for name, n in zip(rows, kept, strict=True)}
    log, scorer = cut_log(rows, kept, chunk), kit.Scorer()
    again = kit.attack_all(images, scorer, attack, log=log, queries=BUDGET, batch=batch)
    assert kit.all_rows(log) == rows
    for name, item in items.items():
        assert kit.as_plain(again[name]) == kit.as_plain(item)
    missing = [digest for name in rows for digest, _ in rows[name][kept[name] :]]
    assert sorted(scorer.asked) == sorted(missing)


def test_every_length_of_one_log(kit, images):
    one, log = images.limit(1), QueryLog()
    (item,) = kit.attack_all(one, kit.Scorer(), lists, log=log, queries=BUDGET).values()
    rows = kit.all_rows(log)
    (name,) = rows
    for n in range(BUDGET + 1):
        log, scorer = cut_log(rows, {name: n}), kit.Scorer()
        (again,) = kit.attack_all(one, scorer, lists, log=log, queries=BUDGET).values()
        assert kit.as_plain(again) == kit.as_plain(item)
        assert kit.all_rows(log) == rows
        assert scorer.asked == [digest for digest, _ in rows[name][n:]]


def test_a_finished_image_is_not_asked_again_but_counts_in_the_objective(kit, images, whole):
    attack, items, rows, _ = whole
    log, scorer = cut_log(rows, {name: len(rows[name]) for name in list(rows)[:3]}), kit.Scorer()
    done = list(rows)[:3]
    for name in done:
        log.finish(name, "{}")
    again = kit.attack_all(images, scorer, attack, log=log, queries=BUDGET, batch=3)
    assert set(again) == set(rows) - set(done)
    for name, item in again.items():
        assert kit.as_plain(item) == kit.as_plain(items[name])
    assert kit.all_rows(log) == rows
    assert not list(kit.engine(scorer, attack, log=log, queries=BUDGET).run(images))


HOW, BATCHES = ("stop", "keyboard", "model"), (1, 3, 8)


@pytest.mark.parametrize("how", HOW)
def test_an_interruption_costs_at_most_the_batch_in_flight(kit, images, whole, how):
    """Each attack is interrupted in each way and at each batch size, ways and sizes in turn."""
    attack, items, rows, asked = whole
    batch = BATCHES[(list(ATTACKS.values()).index(attack) + HOW.index(how)) % len(BATCHES)]
    fatal = len(asked) // 2

    def fail(batch):
        if len(scorer.asked) + len(batch) > fatal:
            raise KeyboardInterrupt if how == "keyboard" else ValueError("out of order")

    log = QueryLog()
    scorer = kit.Scorer(before=(lambda _: None) if how == "stop" else fail)
    stop = (lambda: len(scorer.asked) >= fatal) if how == "stop" else (lambda: False)
    ended = {"stop": Interrupted, "keyboard": KeyboardInterrupt}.get(how)
    with pytest.raises(ended) if ended else nullcontext():  # else the images fail, one by one
        kit.attack_all(images, scorer, attack, log=log, queries=BUDGET, batch=batch, stop=stop)
    logged = [digest for image in kit.all_rows(log).values() for digest, _ in image]
    assert sorted(logged) == sorted(scorer.asked)  # whatever was answered is kept
    assert fatal - batch < len(logged) < fatal + batch

    more = kit.Scorer()
    finished = set(log.results())
    again = kit.attack_all(images, more, attack, log=log, queries=BUDGET, batch=batch)
    assert {name: kit.as_plain(item) for name, item in again.items()} == {
        name: kit.as_plain(item) for name, item in items.items() if name not in finished
    }
    assert kit.all_rows(log) == rows
    assert len(scorer.asked) + len(more.asked) == len(asked)


# -- what does not fit ----------------------------------------------------------------------------


def first_difference(kit, images, log, attack, **options):
    with pytest.raises(RunError) as error:
        kit.attack_all(images, kit.Scorer(), attack, log=log, queries=BUDGET, **options)
    return str(error.value)


def test_another_seed_or_attack_does_not_replay(kit, images, whole):
    attack, _, rows, _ = whole

    def log():
        return cut_log(rows, dict.fromkeys(rows, 9))

    asks = r"^\d{3}\.png: query 2 is another image than in the log; .* start again"
    other = ATTACKS["noise"] if attack is not ATTACKS["noise"] else lists
    with pytest.raises(RunError, match=asks):
        kit.attack_all(images, kit.Scorer(), other, log=log(), queries=BUDGET)
    if attack in (ATTACKS["signhunter"], ATTACKS["transfer"], ATTACKS["universal"]):
        return  # draws nothing: any seed is the same search
    with pytest.raises(RunError, match=asks.replace("2", r"\d+")):
        kit.attack_all(images, kit.Scorer(), attack, log=log(), queries=BUDGET, seed=1)


def test_a_changed_image_does_not_replay(kit, images, whole, tmp_path):
    attack, _, rows, _ = whole
    names = list(rows)
    changed = tmp_path / names[1]
    write_png(changed, kit.picture(32, 24, seed=99))
    entries = list(images.entries)
    entries[1] = ImageEntry(names[1], changed)
    log = cut_log(rows, dict.fromkeys(names, 5))
    with pytest.raises(RunError, match=f"^{names[1]}: query 1 is another image"):
        kit.attack_all(ImageSet(tuple(entries)), kit.Scorer(), attack, log=log, queries=BUDGET)


def test_an_attack_that_now_ends_sooner_does_not_replay(kit, images):
    log = QueryLog()
    list(kit.engine(kit.Scorer(), lists, log=log, queries=BUDGET).run(images))

    def shorter(task):
        search = lists(task)
        answer = None
        for _ in range(3):
            answer = yield search.send(answer)

    ended = r"the search ends at query \d+, but the log continues to 25"
    with pytest.raises(RunError, match=ended):
        kit.attack_all(images, kit.Scorer(), shorter, log=log, queries=BUDGET)


def test_the_number_of_threads_changes_nothing(kit, images):
    """The last bits of a sum depend on how many threads share it; here all depends on them."""

    def attack(task):
        values = torch.randn(400_000, generator=task.rng)
        while True:
            total = float(values.sum())
            task.rng.manual_seed(int(total * 2**20))
            values = values.roll(1)
            noise = torch.randint(-3, 4, task.image.shape, generator=task.rng)
            yield (task.image + noise)[None]

    threads, logs = torch.get_num_threads(), []
    try:
        for number in (1, 4):
            torch.set_num_threads(number)
            logs.append(QueryLog())
            kit.attack_all(images, kit.Scorer(), attack, log=logs[-1])
            assert torch.get_num_threads() == number
    finally:
        torch.set_num_threads(threads)
    assert kit.all_rows(logs[0]) == kit.all_rows(logs[1])


def test_repaired_images_turn_no_other_round(kit, tmp_path):
    """They shift the median of `rank`, and an image that has begun must go on as it began."""
    images = kit.write_set(tmp_path, [(24, 32)] * 5)
    attack, log, scorer = load_attack("noise"), QueryLog(), kit.Scorer()
    fresh = kit.attack_all(images, kit.Scorer(), attack)
    lowest = sorted(images, key=lambda entry: fresh[entry.name].score_clean)[:2]
    good = [entry.path.read_bytes() for entry in lowest]
    for entry in lowest:
        entry.path.write_bytes(b"broken")
    first = kit.attack_all(images, kit.Scorer(), attack)
    stop = lambda: len(scorer.asked) >= 30  # noqa: E731 - of 3 · 20
    with pytest.raises(Interrupted):
        kit.attack_all(images, scorer, attack, log=log, stop=stop, batch=3)
    assert not log.results()
    for entry, data in zip(lowest, good, strict=True):
        entry.path.write_bytes(data)
    resumed = kit.attack_all(images, kit.Scorer(), attack, log=log)
    for entry in lowest:
        assert isinstance(first.pop(entry.name), Failure)
        assert isinstance(resumed.pop(entry.name), Outcome)
    assert any(fresh[name].target != first[name].target for name in first)
    for name, item in first.items():
        assert kit.as_plain(resumed[name]) == kit.as_plain(item)
