from dataclasses import replace

import pytest
import torch

from iqattack.attacks import Answer, load_attack
from iqattack.attacks.score_based.sparse_rs import ALPHA_OVER, allowed, frame, moved, patch, pixels
from iqattack.constraints import L0


@pytest.fixture
def sparse_task(make_task):
    """A task on a grey image of which k pixels may differ, by any amount."""

    def build(height, width, k, queries=100, seed=0):
        image = torch.full((3, height, width), 100.0)
        task = make_task(image, radius=255.0, queries=queries, reach=1e6, seed=seed)
        return replace(task, project=lambda candidates: L0(k).around(image).project(candidates))

    return build


@pytest.mark.parametrize("kind", ["pixels", "patch", "frame"])
@pytest.mark.parametrize(
    ("height", "width", "k"), [(12, 9, 20), (1, 30, 4), (9, 9, 81), (3, 3, 1), (2, 40, 76)]
)
def test_no_more_pixels_differ_than_may(sparse_task, play, kind, height, width, k) -> None:
    task = sparse_task(height, width, k)
    assert allowed(task) == k
    w = torch.randn(task.image.shape, generator=torch.Generator().manual_seed(1))
    played = play(load_attack(f"sparse-rs:kind={kind}")(task), task, lambda x: float((w * x).sum()))
    for image in played.images:
        differs = (image != task.image).any(dim=0)
        assert 0 < differs.sum() <= k
        if kind == "patch":
            rows, columns = torch.nonzero(differs).T
            assert (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1) <= k


@pytest.mark.parametrize("kind", ["pixels", "patch", "frame"])
def test_channels_change_alike_where_grey(sparse_task, play, kind) -> None:
    for grey, alike in (("", True), (",grey=no", False)):
        task = sparse_task(12, 9, 60)
        search = load_attack(f"sparse-rs:kind={kind}{grey}")(task)
        played = play(search, task, lambda x: float(x[0].mean()))
        assert all(torch.equal(z, z[:1].expand_as(z)) is alike for z in played.candidates)


def test_in_a_box_all_pixels_may_differ_but_those_that_cannot(make_task) -> None:
    task = make_task(torch.full((3, 6, 7), 100.0))
    task.lower8[:, 0], task.upper8[:, 0] = 100, 100
    assert allowed(task) == 5 * 7


def test_sets_are_as_large_as_they_can_be(sparse_task) -> None:
    task = sparse_task(20, 30, 10)
    assert pixels(task, 10).sum() == 10
    assert patch(task, 10).sum() == 9
    assert frame(task, 96).sum() == 96  # of width 1
    assert frame(task, 183).sum() == 96
    assert frame(task, 184).sum() == 184  # of width 2
    assert frame(task, 600).all()
    assert frame(task, 95).sum() == 95  # too few for a frame


def test_on_a_linear_model_it_finds_the_heaviest_pixels(sparse_task, play) -> None:
    """The optimum: the k pixels with the largest gain at the better end of each channel.

    All but a few channels: a heavy pixel that entered with a light one wrong may stay.
    """
    k, size = 20, 12
    task = sparse_task(size, size, k, queries=8000)
    w = torch.randn(task.image.shape, generator=torch.Generator().manual_seed(2)) ** 3
    ends = torch.maximum(w * (255.0 - 100.0), w * -100.0)
    optimum = float(ends.sum(dim=0).flatten().topk(k).values.sum())
    gain = lambda x: float((w * (x - task.image)).sum())  # noqa: E731
    played = play(load_attack("sparse-rs:grey=no")(task), task, gain)
    assert max(played.gains) >= 0.95 * optimum


def test_on_a_quadratic_model_it_finds_the_pixels_that_are_off(sparse_task, play) -> None:
    """−‖x − target‖²; only pixels that enter M get a colour, so one that is half right may stay."""
    task = sparse_task(4, 4, 2, queries=3000)
    target = torch.full((3, 4, 4), 100.0)
    target[:, 1, 2], target[:, 3, 0] = 255.0, 0.0
    distance = lambda x: float((x - target).square().sum())  # noqa: E731
    played = play(load_attack("sparse-rs")(task), task, lambda x: -distance(x))
    best = played.images[max(range(len(played.gains)), key=played.gains.__getitem__)]
    assert torch.equal((best != 100.0).any(dim=0), (target != 100.0).any(dim=0))
    assert distance(best) < distance(task.image)


def test_fewer_pixels_are_chosen_anew_as_it_goes_on(sparse_task, play) -> None:
    k = 100
    task = sparse_task(20, 20, k, queries=1000)
    played = play(load_attack("sparse-rs")(task), task, lambda x: -1.0)
    first = played.images[0]

    def anew(image):
        return int(((first == 100.0).all(dim=0) & (image != 100.0).any(dim=0)).sum())

    assert anew(played.images[1]) == 30 / ALPHA_OVER[0]
    assert anew(played.images[-1]) == round(30 / ALPHA_OVER[-1])


@pytest.mark.parametrize("kind", ["pixels", "patch", "frame"])
def test_proposals_that_cost_nothing_may_be_more_than_the_budget(sparse_task, kind) -> None:
    """The engine answers what was asked before from memory."""
    task = sparse_task(4, 4, 4, queries=20)
    search = load_attack(f"sparse-rs:kind={kind}")(task)
    proposals = [next(search)]
    for _ in range(100):
        answer = Answer(proposals[-1], torch.zeros(1, dtype=torch.float64), left=1)
        proposals.append(search.send(answer))
    assert len({proposal.numpy().tobytes() for proposal in proposals}) > 1


def test_a_patch_moves_less_and_less_and_stays_in_the_image(sparse_task) -> None:
    task = sparse_task(20, 30, 16)
    moves = {1.0: [], 0.1: [], 0.0: []}
    for farthest, found in moves.items():
        for _ in range(200):
            M = patch(task, 16)
            shift = moved(M, farthest, task.rng)
            assert M.roll(shift, (0, 1)).any(1).sum() == 4  # not round the border
            assert torch.nonzero(M.roll(shift, (0, 1)))[0].tolist() == [
                int(x) + s for x, s in zip(torch.nonzero(M)[0], shift, strict=True)
            ]
            found.append(shift)
    down, across = (max(abs(s[axis]) for s in moves[0.1]) for axis in (0, 1))
    assert (down, across) == (2, 3)
    assert max(abs(s[1]) for s in moves[1.0]) > 15
    assert set(moves[0.0]) == {(0, 0)}
