"""What the engine does for every attack: budget, box, rounding, floor, the best image."""

import math
from dataclasses import dataclass
from itertools import count

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from iqattack.attacks import lifting
from iqattack.constraints import parse_constraint, parse_floor
from iqattack.engine import image_hash
from iqattack.images import ImageSet, read_image
from iqattack.perception import ssim


@pytest.fixture(scope="module")
def one(images):
    """A set of one picture."""
    return images.limit(1)


def variant(image, number):
    """Picture `number` in the neighbourhood of another: 0 is the same, and no two are equal."""
    changed = image.clone()
    if number:
        changed.view(-1)[number * 37 % image.numel()] += (-1) ** number * (1 + number % 3)
    return changed


@dataclass
class Follow:
    """An attack that yields lists of variants as planned, and keeps the answers."""

    plan: list

    def __call__(self, task):
        self.answers = []
        for step, numbers in enumerate(self.plan):
            jitter = 0.4 * (-1) ** step  # that rounding takes away
            candidates = [variant(task.image, number) + jitter for number in numbers]
            empty = task.image.new_empty((0, *task.image.shape))
            answer = yield torch.stack(candidates) if candidates else empty
            self.answers.append(answer)


def asked_of_model(plan, queries):
    """The variants that the model has to score: new ones in order, until the budget is spent."""
    asked = [0]
    for number in (number for numbers in plan for number in numbers):
        if number not in asked:
            if len(asked) == queries:
                break
            asked.append(number)
    return asked


PLANS = st.lists(st.lists(st.integers(0, 30), max_size=6), max_size=12)


@given(PLANS, st.integers(1, 40), st.sampled_from([1, 2, 5, 8, None]))
@settings(max_examples=25, deadline=None)
def test_budget_and_duplicates(kit, images, plan, queries, batch):
    images = images.limit(3)
    scorer = kit.Scorer()
    outcomes = kit.attack_all(images, scorer, Follow(plan), queries=queries, batch=batch)
    expected = asked_of_model(plan, queries)
    assert not scorer.repeats
    assert len(expected) <= queries
    for entry in images:
        clean = read_image(entry.path).pixels
        wanted = [variant(clean, number) for number in expected]
        hashes = [image_hash(image) for image in wanted]
        assert [digest for digest in scorer.asked if digest in hashes] == hashes
        outcome = outcomes[entry.name]
        assert outcome.queries == len(expected)
        scores = [scorer.score(image) for image in wanted]
        gains = [outcome.target.gain(score) for score in scores]
        best = max(range(len(gains)), key=gains.__getitem__)  # the first one, as the clean one is
        assert outcome.gain == gains[best]
        assert outcome.score_clean == scores[0]
        assert outcome.score_adv == scores[best] == scorer.score(outcome.adversarial)
        assert torch.equal(outcome.adversarial, wanted[best])
        assert torch.equal(outcome.clean, clean)
    assert len(scorer.asked) == len(images) * len(expected)


def test_a_budget_of_one_scores_the_clean_image(kit, images):
    scorer = kit.Scorer()
    outcomes = kit.attack_all(images, scorer, Follow([[1, 2, 3]]), queries=1)
    assert len(scorer.asked) == len(images)
    for outcome in outcomes.values():
        assert (outcome.queries, outcome.gain) == (1, 0.0)
        assert torch.equal(outcome.adversarial, outcome.clean)


def test_answers_tell_what_was_scored(kit, one):
    scorer, attack = kit.Scorer(), Follow([[1, 2, 1, 0], [], [2, 3]])
    kit.attack_all(one, scorer, attack, queries=20, objective="down")
    clean = read_image(one[0].path).pixels
    for numbers, answer in zip(attack.plan, attack.answers, strict=True):
        wanted = [variant(clean, number) for number in numbers]
        assert answer.images.dtype == torch.float32
        assert answer.gain.dtype == torch.float64
        assert answer.images.shape == (len(numbers), *clean.shape)
        assert all(torch.equal(a, b.float()) for a, b in zip(answer.images, wanted, strict=True))
        moved = [(scorer.score(clean) - scorer.score(image)) / 100 for image in wanted]
        assert answer.gain.tolist() == moved


def test_the_task_tells_box_budget_and_reach(kit, one):
    seen = []

    def attack(task):
        seen.append((task, task.project(task.image[None] + 300)[0]))
        yield from ()

    kit.attack_all(one, kit.Scorer(), attack, queries=20, constraint="jnd:0.38", objective="up:0.2")
    ((task, projected),) = seen
    clean = read_image(one[0].path).pixels
    region = parse_constraint("jnd:0.38").around(clean.float())
    assert torch.equal(task.image, clean.float())
    assert torch.equal(task.lower, region.lower)
    assert torch.equal(task.upper, region.upper)
    assert task.queries == 19  # the clean image was one
    assert task.reach == pytest.approx(1 - kit.Scorer().score(clean) / 100)
    assert task.boundary.gain == pytest.approx(0.2 * task.reach)
    assert torch.equal(projected, region.upper)


# -- the box, 8 bits, the floor -------------------------------------------------------------------


def wild(task):
    """Candidates far out, between levels, infinite and not even numbers."""
    for scale in (0.7, 5.0, 1e9):
        noise = scale * torch.randn((4, *task.image.shape), generator=task.rng)
        noise[1, :, ::2] = math.inf
        noise[2, :, :, ::3] = -math.inf
        noise[3, 0] = math.nan
        yield task.image + noise
    whole = torch.randint(0, 256, (4, *task.image.shape), generator=task.rng, dtype=torch.uint8)
    untouched = whole.clone()
    yield whole
    assert torch.equal(whole, untouched)


@pytest.mark.parametrize("constraint", ["linf:1", "linf:2.5", "linf:255", "jnd:0.38", "jnd:2"])
def test_only_8_bit_images_in_the_box_are_scored(kit, images, constraint):
    seen = []
    scorer = kit.Scorer(before=lambda batch: seen.extend(batch.clone()))
    outcomes = kit.attack_all(images, scorer, wild, constraint=constraint, batch=3)
    boxes = {}
    for outcome in outcomes.values():
        region = parse_constraint(constraint).around(outcome.clean.float())
        boxes[outcome.entry.name] = region.lower, region.upper
        assert bool(
            (outcome.adversarial >= region.lower).all()
            & (outcome.adversarial <= region.upper).all()
        )
    assert len(seen) == sum(outcome.queries for outcome in outcomes.values())
    for image in seen:
        assert image.dtype == torch.uint8
        assert any(
            lower.shape == image.shape and bool(((image >= lower) & (image <= upper)).all())
            for lower, upper in boxes.values()
        )


def test_only_images_over_the_floor_are_scored(kit, one):
    seen = []
    scorer = kit.Scorer(before=lambda batch: seen.extend(batch.clone()))
    floor = parse_floor("ssim:0.95")
    (outcome,) = kit.attack_all(one, scorer, wild, constraint="linf:30", floor=floor).values()
    similarities = [float(ssim(outcome.clean, image)) for image in seen]
    assert outcome.queries == len(seen) > 5
    assert min(similarities) >= 0.95
    assert min(similarities) < 0.97  # the floor was met, not stayed away from
    assert any(torch.equal(outcome.adversarial, image) for image in seen)


# -- the best image -------------------------------------------------------------------------------


def push(kit, image, share, levels):
    """Move a share of the pixels along the model's own weights."""
    signs = kit.weights(image.shape).sign()
    return image + levels * signs * (torch.rand(image.shape[-2:]) < share)


@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(-3, 3)), min_size=1, max_size=12),
    st.sampled_from(["up:0.2", "down:0.2"]),
    st.integers(0, 1000),
)
@settings(max_examples=30, deadline=None)
def test_with_a_boundary_the_least_different_image_that_crosses_is_kept(
    kit, one, steps, objective, seed
):
    torch.manual_seed(seed)
    clean = read_image(one[0].path).pixels.float()
    candidates = torch.stack([push(kit, clean, share, levels) for share, levels in steps])

    def attack(task):
        for half in candidates.chunk(2):  # noqa: UP028 - answers cannot be sent to a tuple
            yield half

    scorer = kit.Scorer()
    (outcome,) = kit.attack_all(one, scorer, attack, objective=objective).values()
    target = outcome.target
    gains = [target.gain(scorer.score(image)) for image in candidates]
    lengths = [float((image - clean).double().square().sum()) for image in candidates]
    crossing = [n for n, gain in enumerate(gains) if gain >= 0.2 * target.reach]
    if crossing:
        best = min(crossing, key=lengths.__getitem__)
    else:
        best = max(range(len(gains)), key=gains.__getitem__)
    if crossing or gains[best] > 0:
        assert torch.equal(outcome.adversarial.float(), candidates[best])
        assert outcome.gain == gains[best]
    else:
        assert torch.equal(outcome.adversarial.float(), clean)
        assert outcome.gain == 0.0


def test_both_sides_of_a_boundary_occur(kit, one):
    # Else the property above would be about nothing.
    clean = read_image(one[0].path).pixels.float()
    scorer = kit.Scorer()
    gains = [scorer.score(push(kit, clean, 1.0, n)) - scorer.score(clean) for n in range(4)]
    reach = 100 - scorer.score(clean)
    assert gains[1] < 0.9 * reach
    assert gains[3] > 0.2 * reach


@pytest.mark.parametrize(("score", "objective"), [(100.0, "up"), (130.0, "up"), (-2.0, "down")])
def test_a_score_at_the_end_of_its_range_is_left_alone(kit, one, score, objective):
    clean = read_image(one[0].path).pixels
    scorer = kit.Scorer({image_hash(clean): score})
    (outcome,) = kit.attack_all(one, scorer, Follow([[1, 2]]), objective=objective).values()
    assert len(scorer.asked) == outcome.queries == 1
    assert (outcome.gain, outcome.score_adv) == (0.0, score)
    assert torch.equal(outcome.adversarial, clean)


# -- how searches end -----------------------------------------------------------------------------


@pytest.mark.parametrize(("objective", "queries"), [("up", 3), ("up:1", 6)])
def test_a_search_ends_where_nothing_is_left_to_gain(kit, one, objective, queries):
    """At the end of the range, unless a boundary is there to be crossed by less change."""
    clean = read_image(one[0].path).pixels
    scorer = kit.Scorer({image_hash(variant(clean, 2)): 100.0})
    plan = Follow([[1, 2], [3, 4], [5]])
    (outcome,) = kit.attack_all(one, scorer, plan, objective=objective).values()
    assert len(scorer.asked) == outcome.queries == queries
    assert outcome.score_adv == 100.0


def test_an_attack_may_end_by_itself(kit, images):
    scorer = kit.Scorer()
    outcomes = kit.attack_all(images, scorer, Follow([[1], [2, 3]]), queries=1000)
    assert {outcome.queries for outcome in outcomes.values()} == {4}


def test_the_stages_that_an_attack_tells_are_kept(kit, images):
    """The clean image is query 1; an image that is known already costs no query."""

    def attack(task):
        task.stage("one")
        yield torch.stack([variant(task.image, number) for number in (1, 2)])
        yield variant(task.image, 2)[None]
        task.stage("two")
        yield variant(task.image, 3)[None]

    outcomes = kit.attack_all(images, kit.Scorer(), attack, queries=50)
    assert {outcome.stages for outcome in outcomes.values()} == {((2, "one"), (4, "two"))}


@pytest.fixture
def free_answers(monkeypatch):
    """Fewer, for speed."""
    monkeypatch.setattr(lifting, "FREE_ANSWERS", 40)
    return 40


@pytest.mark.parametrize("numbers", [[], [0], [1, 1, 0]])
def test_an_attack_that_asks_nothing_new_is_ended(kit, one, free_answers, numbers):
    yields = count()

    def attack(task):
        for _ in yields:
            yield torch.stack([task.image, *(variant(task.image, n) for n in numbers)])[1:]

    scorer = kit.Scorer()
    (outcome,) = kit.attack_all(one, scorer, attack, queries=50).values()
    assert len(scorer.asked) == outcome.queries == len({0, *numbers})
    assert free_answers <= next(yields) <= free_answers + 3


def test_free_answers_do_not_add_up_over_a_search(kit, one, free_answers):
    def attack(task):
        for number in count():
            for _ in range(free_answers // 4):
                yield variant(task.image, number)[None]

    (outcome,) = kit.attack_all(one, kit.Scorer(), attack, queries=10).values()
    assert outcome.queries == 10


def test_a_search_is_closed_when_its_budget_is_spent(kit, one):
    closed = []

    def attack(task):
        try:
            yield from Follow([[n] for n in range(100)])(task)
        finally:
            closed.append(True)

    kit.attack_all(one, kit.Scorer(), attack, queries=5)
    assert closed == [True]


def test_an_attack_cannot_change_the_best_image_afterwards(kit, one):
    def attack(task):
        answer = yield push(kit, task.image, 1.0, 3)[None]
        answer.images.zero_()

    scorer = kit.Scorer()
    (outcome,) = kit.attack_all(ImageSet(one.entries), scorer, attack, objective="up").values()
    assert outcome.score_adv == scorer.score(outcome.adversarial) > outcome.score_clean
