"""Universal perturbations: learnt within a budget, stored in a file, applied to any image."""

import json
import signal
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.torch import save

import iqattack
from iqattack.attacks import load_attack
from iqattack.attacks.set_based.universal_ways import ALIKE, GRATINGS, WAYS, learning
from iqattack.constraints import Linf, parse_constraint
from iqattack.directions import (
    Beside,
    Known,
    Perturbation,
    Stroke,
    Tile,
    Universal,
    high_frequencies,
    ordered,
    read_universal,
)
from iqattack.engine import Engine, Failure, Interrupted, QueryLog, image_generator, image_hash
from iqattack.errors import InputError, RunError
from iqattack.images import ImageSet, read_image
from iqattack.models import wrap
from iqattack.objectives import parse_objective
from iqattack.runs import Callbacks, Run, execute, make_universal, verify
from iqattack.runs.how import How
from iqattack.runs.learning import LOG
from iqattack.runs.universal import FEWEST, FILE, PICTURE, Laid, laid

QUERIES = 400


@pytest.fixture
def counted():
    """A linear score that repeats every 8 pixels, and how many images it was asked for."""
    asked = []
    weights = torch.randn(3, 8, 8, generator=torch.Generator().manual_seed(3)).double()

    def score(batch):
        asked.append(len(batch))
        height, width = batch.shape[2:]
        tiled = weights.repeat(1, -(-height // 8), -(-width // 8))[:, :height, :width]
        return 128 + (tiled * (batch.double() - 128)).mean((1, 2, 3))

    return wrap(score, name="tiled", score_range=(100.0, 156.0), lower_better=False), asked, weights


@pytest.fixture
def learn(tmp_path, settings, images, counted):
    def run(
        folder="universal", queries=QUERIES, objective="rank", constraint=None, scorer=None,
        **options,
    ):  # fmt: skip
        changed = settings(
            attack="filter-search", model="tiled", queries=queries, objective=objective
        )
        if constraint is not None:
            changed = changed.model_copy(update={"constraint": constraint})
        return make_universal(tmp_path / folder, changed, images, scorer or counted[0], **options)

    return run


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("queries", [FEWEST * 5, 97, QUERIES])
def test_the_budget_is_hard_and_what_was_learnt_gains(
    learn, counted, tmp_path, images, way, queries
):
    found = learn(way=way, queries=queries)
    assert found.learnt.queries == sum(counted[1]) <= queries
    assert found.learnt.images == tuple(entry.name for entry in images)
    assert read_universal(tmp_path / "universal" / FILE).learnt == found.learnt
    assert found.learnt.up
    assert found.learnt.down
    for known in (found.learnt.up, found.learnt.down):
        assert len(known) <= 8
        together = [pattern.together for pattern in known]
        assert together == sorted(together)
    if queries == QUERIES:
        assert found.learnt.up[0].gain > 0.0


@pytest.mark.parametrize(("way", "share"), [("nes", 0.35), ("evolution", 0.25), ("square", 0.25)])
def test_a_fixed_tile_finds_what_repeats(learn, counted, way, share):
    """The optimum on a linear score is known: the signs of its weights, at the ends of the box."""
    found = learn(
        way=way, queries=3000, objective="up", most=1, minibatch=1, constraint="linf:8"
    )  # fmt: skip
    optimum = 8.0 * float(counted[2].abs().mean()) / 56
    assert share * optimum < found.learnt.up[0].gain <= optimum * 1.01


@pytest.mark.parametrize("objective", ["up", "down"])
def test_one_direction_is_learnt_on_all_images(learn, objective):
    found = learn(objective=objective)
    known = {"up": found.learnt.up, "down": found.learnt.down}
    assert known[objective]
    assert not known["down" if objective == "up" else "up"]


@pytest.mark.parametrize("way", WAYS)
def test_it_goes_on_and_pays_nothing_twice(learn, counted, tmp_path, way):
    learn("whole", way=way)
    paid = sum(counted[1])
    counted[1].clear()
    for share in (0.2, 0.6, 0.97):
        stop = Callbacks(stop=partial(lambda n: sum(counted[1]) > n, share * paid))
        with pytest.raises(Interrupted):
            learn(way=way, resume=share > 0.2, callbacks=stop)
    learn(way=way, resume=True)
    assert sum(counted[1]) == paid
    files = [(tmp_path / folder / name).read_bytes() for name in (FILE, PICTURE)
             for folder in ("whole", "universal")]  # fmt: skip
    assert files[0] == files[1]
    assert files[2] == files[3]


def test_another_one_is_left_alone(learn):
    learn()
    with pytest.raises(RunError, match="already has a universal perturbation; continue with"):
        learn()
    with pytest.raises(RunError, match=r"universal filter.* there, universal nes.* here"):
        learn(way="nes", resume=True)
    with pytest.raises(RunError, match="belongs to other settings"):
        learn(queries=QUERIES + 1, resume=True)


def test_what_cannot_be_learnt_is_refused(learn, images):
    with pytest.raises(InputError, match="unknown way 'filters': did you mean 'filter'"):
        learn(way="filters")
    with pytest.raises(
        InputError, match=f"expected at least {FEWEST * len(images)}, {FEWEST} for each"
    ):
        learn(queries=FEWEST * len(images) - 1)
    for objective in ("farther", "up:0.5", "rank:0.2"):
        with pytest.raises(InputError, match="expected rank, up or down"):
            learn(objective=objective)


def test_an_attack_lays_it_on_and_a_run_verifies(learn, counted, tmp_path, settings, images):
    learn()
    path = tmp_path / "universal" / FILE
    asked = settings(attack=f"universal:file={path},k=3", model="tiled", queries=4)
    run = Run.create(tmp_path / "run", asked, counted[0])
    summary = execute(run, images, counted[0])
    assert summary.attacked == len(images)
    assert all(row.queries <= 4 for row in run.results)
    assert summary.mean_gain > 0.0
    assert verify(run, counted[0]).ok


def test_what_is_applied_is_what_an_attack_scored(learn, counted, tmp_path, settings, images):
    """With one pattern, the attacked image is either the pattern's or the clean one."""
    learn(objective="up")
    path = tmp_path / "universal" / FILE
    asked = settings(
        attack=f"universal:file={path}", model="tiled", queries=2, objective="up", seed=5
    )
    run = Run.create(tmp_path / "run", asked, counted[0])
    execute(run, images, counted[0])
    out = tmp_path / "out"
    laid_on = list(
        iqattack.apply(
            tmp_path / "universal", images, out=out, constraint=asked.constraint, seed=5
        )
    )  # fmt: skip
    names = [item.entry.name for item in laid_on if isinstance(item, Laid)]
    assert names == [entry.name for entry in images]
    gained = [row for row in run.results if row.gain > 0.0]
    assert gained
    for row in gained:
        saved = read_image(run.images / row.png_name).pixels
        assert torch.equal(read_image(out / row.png_name).pixels, saved)


@pytest.mark.parametrize("shape", [(24, 20), (1, 1), (7, 300), (65, 33)])
@pytest.mark.parametrize("box", ["linf:3", "jnd:0.38", "bands:2.5"])
def test_patterns_suit_any_size_and_box(shape, box):
    pixels = torch.randint(256, (3, *shape), generator=torch.Generator().manual_seed(1)).byte()
    constraint = parse_constraint(box)
    region = constraint.around(pixels)
    tile = Tile(torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(2)) * 2 - 1)
    stroke = Stroke(direction="noise", weight=1.0, filter=tuple(np.linspace(-1, 1, 25).tolist()))
    both = replace(tile, filter=stroke.filter, weight=-0.5)
    for pattern in (tile, both, stroke, Stroke(direction="checkerboard 2")):
        rng = image_generator(0, "a.png")
        once, again = (laid(pattern, pixels, constraint, rng, rising=True) for _ in range(2))
        assert torch.equal(once, again)
        assert bool(((once >= region.lower) & (once <= region.upper)).all())


def test_a_tile_is_repeated_and_takes_the_ends_of_the_box():
    pixels = torch.full((3, 5, 7), 100, dtype=torch.uint8)
    pixels[:, 0, 0] = 254
    values = torch.tensor([[[1.0, -1.0, 0.5]]])
    found = laid(Tile(values), pixels, Linf(4), image_generator(0, ""), rising=True).int()
    change = found - pixels
    assert change[0, 0, 0] == 1  # white is near
    assert change[0, 1].tolist() == [4, -4, 2, 4, -4, 2, 4]
    assert torch.equal(change[:, 2], change[:, 3])


def test_a_filter_is_added_to_a_tile():
    """Its field is the tile's signs, weighted, plus what is left of the image beside its mean."""
    pixels = torch.randint(256, (3, 12, 10), generator=torch.Generator().manual_seed(4)).byte()
    values = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(5)) * 2 - 1
    middle = (0.0,) * 12 + (1.0,) + (0.0,) * 12  # the detail itself
    box = Linf(4)
    region = box.around(pixels)
    signs = values.sign().repeat(1, 2, 2)[:, :12, :10]
    detail = high_frequencies(pixels)
    for weight in (-3.0, 0.4, 20.0):
        found = laid(Tile(values, middle, weight), pixels, box, image_generator(0, ""), rising=True)
        field = weight * signs + detail
        expected = torch.where(field > 0, region.upper, region.lower)
        assert torch.equal(found, expected.to(torch.uint8))


def test_a_filter_beside_a_tile_is_kept(tmp_path):
    tile = torch.rand(3, 8, 8) * 2 - 1
    patterns = [Tile(tile, tuple(np.linspace(-1, 1, 25).tolist()), 0.25), Tile(tile)]
    known, tiles = ordered(patterns, np.array([[0.5, 0.1], [0.2, 0.3]]), 8, "up")
    assert list(tiles) == ["up 0", "up 1"]  # safetensors refuses shared memory, though
    assert [item.text(tiles) for item in known] == ["tile of 8×8, filter 5×5", "tile of 8×8"]
    learnt = Universal(
        format=2, version="1", model="m", images=("a.png",), constraint="linf:3", objective="up",
        way="filter", seed=0, queries=9, up=tuple(known),
    )  # fmt: skip
    path = tmp_path / "p.safetensors"
    path.write_bytes(Perturbation(learnt, tiles).to_bytes())
    one, other = read_universal(path).patterns(rising=True)
    assert isinstance(one, Tile)
    assert isinstance(other, Tile)
    assert torch.equal(one.values, tile)
    assert torch.equal(other.values, tile)
    assert (one.filter, one.weight) == (patterns[0].filter, 0.25)
    assert other.filter is None
    # Files without such a tile stay readable for earlier versions.
    plain = Perturbation(learnt.model_copy(update={"format": 1, "up": (known[1],)}), tiles)
    assert b"beside" not in plain.to_bytes()


def test_a_filter_needs_a_tile():
    beside = Beside(filter=(0.0,) * 24 + (1.0,), weight=1.0)
    with pytest.raises(ValidationError, match="a filter beside a tile, but no tile"):
        Known(stroke=Stroke(direction="noise"), beside=beside, gain=0.1, together=0.1)
    with pytest.raises(ValidationError, match="the weight are 0"):
        Beside(filter=(0.0,) * 25, weight=0.0)
    with pytest.raises(ValidationError, match="4 coefficients are no square filter"):
        Beside(filter=(1.0,) * 4, weight=0.0)
    large = Beside(filter=(0.0,) * 24 + (1.0,), weight=1e31)
    with pytest.raises(ValidationError, match="weight beyond"):
        Known(tile="up 0", beside=large, gain=0.1, together=0.1)


def test_a_file_that_is_none_is_refused(tmp_path):
    learnt = Universal(
        version="1", model="m", images=("a.png",), constraint="linf:3", objective="up",
        way="nes", seed=0, queries=9, up=(Known(tile="up 0", gain=0.1, together=0.1),),
    )  # fmt: skip
    good = Perturbation(learnt, {"up 0": torch.zeros(3, 4, 4)}).to_bytes()
    beside = Beside(filter=(0.0,) * 24 + (1.0,), weight=1.0)

    def of(**changed):
        return Perturbation(
            learnt.model_copy(update=changed), {"up 0": torch.zeros(3, 4, 4)}
        ).to_bytes()

    def headed(header):
        text = json.dumps(header).encode()
        return len(text).to_bytes(8, "little") + text

    path = tmp_path / "p.safetensors"
    path.write_bytes(good)
    assert read_universal(path).patterns(rising=True)
    for content, reason in (
        (b"", "no safetensors"),
        (good[:-7], "no safetensors"),
        (save({"up 0": torch.zeros(3, 4, 4)}), "its metadata have no 'iqattack'"),
        (Perturbation(learnt, {}).to_bytes(), "has no tensor 'up 0'"),
        (Perturbation(learnt, {"up 0": torch.zeros(4, 4)}).to_bytes(), "has shape"),
        (Perturbation(learnt, {"up 0": torch.full((3, 4, 4), 2.0)}).to_bytes(), "from −1 to 1"),
        (Perturbation(learnt, {"up 0": torch.full((3, 4, 4), np.nan)}).to_bytes(), "from −1 to 1"),
        (
            Perturbation(learnt, {"up 0": torch.zeros(3, 4, 4).to(torch.float8_e5m2)}).to_bytes(),
            "float8_e5m2; use float32",
        ),
        (save({}, {"iqattack": json.dumps({"format": 9})}), "format"),
        (save({}, {"iqattack": json.dumps({**learnt.model_dump(), "a\x1bb": 9})}), r"a\\x1bb: "),
        (headed({"__metadata__": None}), "its metadata have no"),
        (headed({"x": {"dtype": "F8_E8M0", "shape": [0], "data_offsets": [0, 0]}}), "F8_E8M0"),
        (of(up=()), "has no patterns"),
        (of(up=(Known(tile="up 0", beside=beside, gain=0.1, together=0.1),)), "needs format 2"),
    ):  # fmt: skip
        path.write_bytes(content)
        with pytest.raises(InputError, match=rf"p\.safetensors': .*{reason}.*; expected a file"):
            read_universal(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_universal(tmp_path / "none")
    with pytest.raises(InputError, match="is no file; expected a file that iqattack"):
        load_attack(f"universal:file={tmp_path}")


def test_a_direction_that_was_not_learnt(learn, tmp_path, images, settings, counted):
    learn(objective="up")
    folder = tmp_path / "universal"
    with pytest.raises(InputError, match="has no patterns for down, not 1"):
        list(iqattack.apply(folder, images, out=tmp_path / "out", direction="down"))
    with pytest.raises(InputError, match=r"has patterns 1 to . for up, not 9"):
        list(iqattack.apply(folder, images, out=tmp_path / "out", number=9))
    asked = settings(
        attack=f"universal:file={folder / FILE}", model="tiled", queries=2, objective="down"
    )
    run = Run.create(tmp_path / "run", asked, counted[0])
    with pytest.raises(InputError, match="was learnt for scores that rise"):
        execute(run, images, counted[0])


def test_applying_leaves_out_what_cannot_be_read(learn, tmp_path, images):
    learn()
    folder = tmp_path / "some"
    folder.mkdir()
    for k, side in enumerate((9, 40)):
        Image.new("RGB", (side, side), (90, 120, 40)).save(folder / f"{k}.png")
    (folder / "2.png").write_bytes(b"none")
    out = tmp_path / "out"
    with pytest.raises(InputError, match="was learnt for both directions; choose up or down"):
        list(iqattack.apply(tmp_path / "universal", folder, out=out))
    found = list(iqattack.apply(tmp_path / "universal", folder, out=out, direction="down"))
    assert [isinstance(item, InputError) for item in found] == [False, False, True]
    assert sorted(path.name for path in out.iterdir()) == ["0.png", "1.png"]
    with pytest.raises(RunError, match="is not empty; use another --out"):
        list(iqattack.apply(tmp_path / "universal", folder, out=out, direction="down"))


@pytest.mark.parametrize("way", WAYS)
def test_it_ends_where_the_images_of_a_minibatch_fail(counted, images, way):
    """A model that fails for good on all changes of four images out of five."""
    clean = {image_hash(read_image(entry.path).pixels) for entry in images}
    first = [read_image(entry.path).pixels for entry in images][:4]

    def score(batch):
        for pixels in batch:
            changed = image_hash(pixels) not in clean
            if changed and any(
                pixels.shape == image.shape and (pixels.int() - image.int()).abs().max() < 20
                for image in first
            ):
                raise ValueError("singular")
        return torch.as_tensor(counted[0](batch))

    model = wrap(score, name="tiled", score_range=(100.0, 156.0), lower_better=False)
    for minibatch in (1, 2):
        engine = Engine.in_process(
            model,
            load_attack("filter-search"),
            Linf(3),
            parse_objective("up"),
            queries=600,
            batch=1,
        )
        search = learning(way, 600, minibatch=minibatch)
        items, returned = engine.run_set(images, search, total=600)
        assert sum(isinstance(item, Failure) for item in items) in range(1, 5)
        assert returned.value is not None


@pytest.mark.parametrize("clean", [False, True])
def test_an_image_that_fails_ends_the_search_at_once(learn, counted, images, tmp_path, clean):
    """What was asked counts once the model is repaired; nothing is asked without the image."""
    options = {"queries": 200, "objective": "up", "how": How(batch=1)}
    whole = learn("whole", **options)
    counted[1].clear()
    third = read_image(images.entries[2].path).pixels

    def score(batch):
        for pixels in batch:
            near = (pixels.int() - third.int()).abs().max() < 20
            if near and (clean or sum(counted[1]) >= 100):
                raise ValueError("singular")
        return torch.as_tensor(counted[0](batch))

    model = wrap(score, name="tiled", score_range=(100.0, 156.0), lower_better=False)
    with pytest.raises(
        InputError, match=r"singular; leave it out, .* repair the model and continue with --"
    ):
        learn(scorer=model, **options)
    assert sum(counted[1]) <= (len(images) - 1 if clean else 100 + len(images))
    learn(resume=True, **options)
    assert sum(counted[1]) == whole.learnt.queries
    assert (tmp_path / "universal" / FILE).read_bytes() == (tmp_path / "whole" / FILE).read_bytes()


def test_a_box_that_leaves_no_choice_is_an_error(tmp_path, settings):
    """A single pixel has a handful of versions within the box, far fewer than the budget."""
    Image.new("RGB", (1, 1), (80, 90, 100)).save(tmp_path / "pixel.png")
    model = wrap(
        lambda batch: batch.double().mean((1, 2, 3)),
        name="mean", score_range=(0.0, 255.0), lower_better=False,
    )  # fmt: skip
    asked = settings(attack="filter-search", model="mean", queries=1500, objective="up")
    images = ImageSet.from_spec([tmp_path / "pixel.png"])
    for way in ("filter", "evolution", "square"):
        with pytest.raises(InputError, match="patterns give no new images within linf:3"):
            make_universal(tmp_path / way, asked, images, model, way=way)


def test_one_grating_may_serve_both_directions(learn, tmp_path, monkeypatch):
    def same(_group, _reserve, _minibatch):
        yield from ()
        return [GRATINGS[0]]

    monkeypatch.setitem(WAYS, "same", same)
    learn(way="same")
    found = read_universal(tmp_path / "universal" / FILE)
    for rising in (True, False):
        (tile,) = found.patterns(rising=rising)
        assert isinstance(tile, Tile)
        assert torch.equal(tile.values, GRATINGS[0].values)


def test_batches_change_nothing(learn, tmp_path):
    for batch in (1, 3, 16):
        learn(f"b{batch}", how=How(batch=batch))
    written = [(tmp_path / f"b{batch}" / FILE).read_bytes() for batch in (1, 3, 16)]
    assert all(one == other for one, other in pairwise(written))


# -- ours -----------------------------------------------------------------------------------------


def test_filters_have_the_symmetries_of_a_square():
    kernel = (ALIKE @ np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.1])).reshape(5, 5)
    assert ALIKE.shape == (25, 6)
    for other in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_array_equal(kernel, other)
    np.testing.assert_allclose(ALIKE.T @ ALIKE, np.eye(6), atol=1e-12)


def test_a_model_of_colour_gets_negated_channels(tmp_path, settings, images):
    """Red and blue are to rise, green is to fall: no direction of the bank but a hue does that."""

    def score(batch):
        pattern = torch.where(torch.arange(batch.shape[3]) % 2 == 0, 1.0, -1.0).double()
        signs = torch.tensor([1.0, -1.0, 1.0]).double()[:, None, None]
        return 128 + (signs * pattern * (batch.double() - 128)).mean((1, 2, 3))

    model = wrap(score, name="colour", score_range=(100.0, 156.0), lower_better=False)
    asked = settings(attack="filter-search", model="colour", queries=1200, objective="up")
    found = make_universal(tmp_path / "learnt", asked, images, model)
    best = found.learnt.up[0]
    assert best.gain > 0.9 * 3.0 / 56
    turned = [
        pattern.text({}) for pattern in found.learnt.up if pattern.stroke and pattern.stroke.turned
    ]
    assert any("negated in green" in text or "negated in red and blue" in text for text in turned)


def test_a_grating_of_opponent_colours_is_found(tmp_path, settings, images):
    """Diagonal stripes of red against cyan: no direction of the bank tells colours apart."""

    def score(batch):
        down, across = (torch.arange(side).double() for side in batch.shape[2:])
        wave = torch.cos(2 * torch.pi * (3 * down[:, None] + across) / 8 + 0.3).sign()
        signs = torch.tensor([1.0, -1.0, -1.0]).double()[:, None, None]
        return 128 + (signs * wave * (batch.double() - 128)).mean((1, 2, 3))

    model = wrap(score, name="grating", score_range=(100.0, 156.0), lower_better=False)
    asked = settings(attack="filter-search", model="grating", queries=1500, objective="up")
    found = make_universal(tmp_path / "learnt", asked, images, model)
    best = found.learnt.up[0]
    assert best.text(found.tiles) == "tile of 8×8"
    assert best.gain == pytest.approx(3.0 / 56, rel=0.01)


def test_a_tile_adds_up_gratings(learn, counted):
    """Random weights: the best single grating reaches less of the optimum."""
    best = learn(queries=4000, objective="up", constraint="linf:8").learnt.up[0]
    weights = counted[2]
    optimum = float(weights.abs().mean())
    alone = max(float((weights * tile.values.double()).mean()) for tile in GRATINGS) / optimum
    assert best.tile is not None
    assert alone < 0.3
    assert 0.45 < best.gain / (8.0 * optimum / 56) <= 1.01


def test_patterns_complement_each_other(tmp_path, settings, images):
    """Stripes across raise the scores of two images, stripes down those of the three others."""

    def score(batch):
        across, down = (
            torch.where(torch.arange(side) % 2 == 0, 1.0, -1.0).double() for side in batch.shape[2:]
        )
        one = (across[:, None] * batch.double()).mean((1, 2, 3))
        other = (down * batch.double()).mean((1, 2, 3))
        return 128 + torch.where(batch.double().mean((1, 2, 3)) < 85, one, other)

    model = wrap(score, name="two kinds", score_range=(100.0, 156.0), lower_better=False)
    asked = settings(attack="filter-search", model="two kinds", queries=1500, objective="up")
    known = make_universal(tmp_path / "learnt", asked, images, model).learnt.up
    assert 0.5 * 3.0 / 56 < known[0].gain < 0.65 * 3.0 / 56
    assert known[-1].together > 0.9 * 3.0 / 56


# -- a model behind JPEG --------------------------------------------------------------------------


def coded(image, quality):
    """By Pillow, as anyone would."""
    file = BytesIO()
    Image.fromarray(image.permute(1, 2, 0).numpy()).save(file, "JPEG", quality=quality)
    return torch.from_numpy(np.asarray(Image.open(file)).transpose(2, 0, 1).copy())


def test_behind_jpeg_the_model_sees_jpeg_and_the_log_has_what_was_sent(tmp_path, settings, images):
    """Of the clean images; candidates of a first session are none of those."""
    seen = set()

    def score(batch):
        seen.update(map(image_hash, batch))
        return batch.double().mean((1, 2, 3))

    asked = settings(attack="filter-search", model="m", queries=QUERIES)
    model = wrap(score, name="m", score_range=(0.0, 255.0), lower_better=False)
    found = make_universal(tmp_path / "learnt", asked, images, model, jpeg=30)
    assert found.learnt.jpeg == 30
    assert read_universal(tmp_path / "learnt" / FILE).learnt.jpeg == 30
    clean = [read_image(entry.path).pixels for entry in images]
    assert {image_hash(coded(image, 30)) for image in clean} <= seen
    assert not {image_hash(image) for image in clean} & seen
    log = QueryLog(tmp_path / "learnt" / LOG)
    rows = {entry.name: log.rows(entry.name) for entry in images}
    log.close()
    for entry, image in zip(images, clean, strict=True):
        assert rows[entry.name]["hash"][0] == image_hash(image)
        assert rows[entry.name]["score"][0] == float(coded(image, 30).double().mean())
        assert not set(rows[entry.name]["hash"].tolist()) & seen


def test_another_quality_is_another_perturbation(learn, tmp_path):
    learn(jpeg=75)
    assert "scored after JPEG 75" in (tmp_path / "universal" / "universal.toml").read_text()
    for other, there in ((74, "JPEG 74"), (None, "at a time")):
        with pytest.raises(RunError, match=rf"scored after JPEG 75 there, .*{there} here"):
            learn(jpeg=other, resume=True)
    learn(jpeg=75, resume=True)
    learn("plain")
    content = (tmp_path / "plain" / FILE).read_bytes()
    assert b"jpeg" not in content  # which versions of before could not read
    assert content != (tmp_path / "universal" / FILE).read_bytes()


@pytest.mark.parametrize("quality", [0, 101])
def test_a_quality_that_jpeg_does_not_have_is_refused(learn, tmp_path, quality):
    with pytest.raises(InputError, match=f"jpeg {quality}: expected a quality from 1 to 100"):
        learn(jpeg=quality)
    assert not (tmp_path / "universal").exists()


# -- processes ------------------------------------------------------------------------------------

SLOW_MODEL = """
import os, pathlib, time
from iqattack.engine import image_hash

HERE = pathlib.Path(__file__).parent

def load():
    asked = os.open(HERE / "asked", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def score(images):
        scores = []
        for image in images:
            grey = image.int()
            fine = (grey[:, :, 1:] - grey[:, :, :-1]).abs().sum()
            scores.append(int(3 * fine + grey.sum()) / image.numel())
            time.sleep(0.005 if (HERE / "slow").exists() else 0.0)
            os.write(asked, f"{image_hash(image)}\\n".encode())
        return scores

    score.score_range, score.lower_better = (0.0, 400.0), False
    return score
"""
BATCH = 3


@pytest.fixture
def from_spec(tmp_path, images, photos):
    """Learns by a model of a file, which notes the images that it scores in the file `asked`."""
    (tmp_path / "model.py").write_text(SLOW_MODEL)

    def run(out, **options):
        given = {"constraint": "linf:3", "queries": QUERIES, "batch": BATCH, **options}
        return iqattack.universal(
            str(photos), f"{tmp_path / 'model.py'}:load", out=tmp_path / out, **given
        )

    return run


def written(folder):
    return [(folder / name).read_bytes() for name in (FILE, PICTURE)]


def test_a_kill_loses_what_is_in_flight_and_no_more(from_spec, tmp_path, photos, forked_program):
    from_spec("whole")
    asked, slow = tmp_path / "asked", tmp_path / "slow"
    whole = Counter(asked.read_text().split())
    assert max(whole.values()) == 1
    asked.unlink()
    slow.touch()
    program = (
        "import sys, iqattack; photos, model, out = sys.argv[1:]; iqattack.universal("
        f"photos, model, out=out, constraint='linf:3', queries={QUERIES}, batch={BATCH})"
    )
    killed = forked_program(program, photos, f"{tmp_path / 'model.py'}:load", tmp_path / "out")
    while not asked.exists() or len(asked.read_bytes().split()) < QUERIES // 2:
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    assert killed.wait() == -signal.SIGKILL
    slow.unlink()
    paid = len(asked.read_text().split())
    assert paid < whole.total()
    from_spec("out", resume=True)
    again = Counter(asked.read_text().split())
    assert again.keys() == whole.keys()
    assert (again - whole).total() <= BATCH
    assert written(tmp_path / "out") == written(tmp_path / "whole")


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize("jpeg", [None, 75])
def test_workers_learn_the_same(from_spec, tmp_path, jpeg):
    from_spec("one", jpeg=jpeg, queries=120)
    from_spec("two", jpeg=jpeg, queries=120, workers=2)
    assert written(tmp_path / "one") == written(tmp_path / "two")


@pytest.mark.parametrize("resume", [False, True])
def test_progress_counts_queries_of_the_whole_budget(learn, counted, resume):
    states = []
    watching = Callbacks(progress=states.append)
    if resume:
        stop = Callbacks(stop=lambda: sum(counted[1]) > QUERIES // 2)
        with pytest.raises(Interrupted):
            learn(callbacks=stop)
    found = learn(resume=resume, callbacks=watching)
    assert all(state.pooled and state.budget == QUERIES for state in states)
    spent = [state.spent for state in states]
    assert spent == sorted(spent)
    assert (spent[0] > QUERIES // 2) == resume
    assert spent[-1] == found.learnt.queries
