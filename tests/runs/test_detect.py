import csv
import json
import math
import shutil
import sqlite3
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import iqattack
from iqattack.detection import parse_detector
from iqattack.errors import InputError, RunError
from iqattack.images import read_image
from iqattack.runs import Run
from iqattack.runs.cells import from_cell
from iqattack.runs.detect import Replay, _attack_of, detect, median_of


@pytest.fixture
def large(tmp_path):
    """Three images with more windows than a detector keeps."""
    folder = tmp_path / "large"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        pixels = rng.integers(60 * k, 60 * k + 120, (64, 72, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


@pytest.fixture
def attacked(large, brightness, tmp_path):
    def make(attack="square", name="run", images=large, **given):
        options: dict[str, Any] = {"queries": 40, "constraint": "linf:3"} | given
        return iqattack.attack(images, brightness, attack=attack, out=tmp_path / name, **options)

    return make


def kept(seen, number, image):
    seen.append((number, image.clone()))


def asked(run):
    """Number and pixels of every query of each image, replayed."""
    found = {}
    replay = Replay(run, _attack_of(run, None, trust=False))
    with run.open_log() as log:
        for result in run.results:
            seen = found.setdefault(result.image, [])
            replay(log, result, partial(kept, seen))
    return found


@pytest.mark.parametrize("attack", ["square", "nes", "filter-search", "score-boundary", "noise"])
def test_a_replay_asks_for_every_query_of_the_log_and_no_other(attack, attacked, brightness):
    run = attacked(attack)
    before = {p.name: p.read_bytes() for p in run.folder.iterdir() if p.is_file()}
    for result in run.results:
        queries = asked(run)[result.image]
        assert [k for k, _ in queries] == list(range(result.queries))
        with run.open_log() as log:
            scores = log.rows(result.image)["score"]
        again = brightness(torch.stack([image for _, image in queries]))
        assert np.asarray(again, dtype=np.float64).tolist() == scores.tolist()
    assert {p.name: p.read_bytes() for p in run.folder.iterdir() if p.is_file()} == before


@pytest.mark.parametrize(
    "options",
    [
        {"floor": "ssim:0.9", "queries": 30},
        {"objective": "rank:0.01", "attack": "surfree"},
        {"constraint": "l0:20"},
        {"check": False},
        {"queries": 7},
        {"queries": 1},
    ],
    ids=str,
)
def test_settings_of_all_kinds_replay(options, attacked):
    run = attacked(**options)
    counts = {image: len(queries) for image, queries in asked(run).items()}
    assert counts == {result.image: result.queries for result in run.results}


def test_detections_are_those_of_the_detector_fed_by_hand(attacked):
    run = attacked()
    found = detect(run)
    replayed = asked(run)
    clean = {r.image: read_image(r.path).pixels for r in run.results}
    detector = parse_detector("blacklight").open()
    flags = {name: [detector.flags(image)] for name, image in clean.items()}
    for name, queries in replayed.items():
        for _, image in queries[1:]:
            if not torch.equal(image, clean[name]):
                flags[name].append(detector.flags(image))
    for row in found.images:
        assert row.queries == len(flags[row.image])
        assert row.flagged == sum(flags[row.image])
        assert row.first == flags[row.image].index(True) + 1
        assert 0 <= row.gain_before <= row.gain
    every = [flag for row in flags.values() for flag in row]
    assert found.flagged == pytest.approx(np.mean(every))
    assert found.false_positives == 0.0
    assert found.never.value == 0.0
    assert found.left_out == 0


def test_a_search_that_stays_near_its_image_is_blocked_at_once(attacked):
    """A query within the quantisation of a dim image is the image itself."""
    run = attacked("noise", constraint="linf:1")
    rows = detect(run, "blacklight:quantisation=255").images
    assert [row.first for row in rows] == [None] * 3  # of one level each: one window
    # Clean images in which no value is at a threshold of the quantisation.
    assert {row.first for row in detect(run).images} <= {2, 3}


def test_accounts(attacked):
    run = attacked(queries=30)
    one, two, many = (detect(run, accounts=n) for n in (1, 2, 10**6))
    alone = detect(run, accounts="image")
    assert many.flagged == 0.0
    assert many.never.value == 1.0
    assert many.first.value is None
    assert many.gain_before == many.gain
    assert all(a.first <= b.first for a, b in zip(one.images, two.images, strict=True))
    # The images have nothing in common, so that to share a state adds nothing.
    assert alone.images == one.images


def test_benign_near_duplicates_are_false_positives(attacked, large):
    shutil.copy(large / "0.png", large / "3.png")
    found = detect(attacked(queries=8))
    assert found.false_positives == 0.25
    assert [row.first for row in found.images][3] == 1  # the clean image itself
    assert found.images[3].gain_before == 0.0


def test_the_last_images_of_a_run_under_way_are_left_out(attacked, brightness, large, tmp_path):
    Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(large / "small.png")
    run = attacked()
    assert detect(run).left_out == sum(r.failed for r in run.results)


def test_a_run_that_was_killed_and_resumed_is_the_same(attacked, tmp_path):
    whole = detect(attacked(queries=40))
    calls = iter(range(25))
    stop = iqattack.Callbacks(stop=lambda: next(calls, None) is None)
    with pytest.raises(iqattack.api.Interrupted):
        attacked(name="cut", queries=40, callbacks=stop)
    run = attacked(name="cut", queries=40, resume=True)
    assert detect(run).images == whole.images


def test_medians_with_images_that_are_never_detected():
    assert median_of([3.0] * 5).model_dump() == {"value": 3, "interval": (3, 3)}
    assert median_of([math.inf] * 4).model_dump() == {"value": None, "interval": (None, None)}
    some = median_of([2.0] * 5 + [math.inf] * 5)
    assert some.value == 2
    assert some.interval == (2, None)


# -- what cannot be replayed ----------------------------------------------------------------------


def says(part, run, *args, error=RunError, **options):
    with pytest.raises(error) as raised:
        detect(run, *args, **options)
    assert part in str(raised.value)
    assert "\n" not in str(raised.value)


def test_bad_values(attacked):
    run = attacked(queries=4)
    says("unknown detector 'x'", run, "x", error=InputError)
    for accounts in (0, -1, 1.5, "each", 10**7):
        says(f"accounts {accounts}: expected", run, accounts=accounts, error=InputError)


def test_another_image_or_another_log(attacked, large):
    run = attacked(queries=10)
    for change in ("UPDATE chunk SET rows = zeroblob(LENGTH(rows))", "DELETE FROM chunk"):
        copy = run.folder.with_name("copy")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run.folder, copy)
        with closing(sqlite3.connect(copy / "log.sqlite")) as log:
            log.execute(change)
            log.commit()
        with pytest.raises(RunError):
            detect(Run.open(copy))
    Image.fromarray(np.full((64, 72, 3), 7, np.uint8)).save(large / "1.png")
    says("is not the image that was attacked", run)


def test_another_attack_than_that_of_the_run(attacked, large, tmp_path):
    code = "import torch\ndef search(task):\n    while True:\n        yield task.image + {}\n"
    file = tmp_path / "mine.py"
    body = "torch.randint(-3, 4, (1, *task.image.shape), generator=task.rng)"
    file.write_text(code.format(body))
    run = attacked(f"{file}:search", queries=12)
    assert len(asked(run)["0.png"]) == 12
    file.write_text(code.format(body.replace("-3, 4", "-2, 3")))
    says("has changed since the run", run)


def test_an_attack_that_is_code_of_somebody_else(attacked, tmp_path):
    file, ran = tmp_path / "theirs.py", tmp_path / "ran"
    file.write_text(
        f"def search(task):\n    open({str(ran)!r}, 'w').close()\n    yield task.image[None] + 1\n"
    )
    run = attacked(f"{file}:search", queries=9)
    toml = run.folder / "run.toml"
    toml.write_text(toml.read_text().replace("seed = 0", "seed = 0\n"))
    ran.unlink()
    says("is code, and this user did not begin the run", Run.open(run.folder))
    assert not ran.exists()
    assert detect(Run.open(run.folder), trust=True).images
    assert ran.exists()


def test_an_attack_given_as_a_function_is_given_again(attacked):
    def search(task):
        while True:
            yield task.image + torch.randint(-2, 3, (1, *task.image.shape), generator=task.rng)

    run = attacked(search, queries=9)
    says("iqattack.detect(run, attack=function)", run)
    assert {row.queries for row in iqattack.detect(run, attack=search).images} == {9}

    def other(task):
        yield task.image[None] + 1

    says("query", run, attack=other)


def test_gradients_are_in_no_log(attacked, large, tmp_path):
    run = iqattack.attack(
        large, "builtin", attack="pgd", constraint="linf:3", queries=6, out=tmp_path / "white"
    )
    says("uses the model's gradients, which the log does not have", run)


def test_an_objective_of_the_set(attacked):
    run = attacked("noise", objective="srocc", budget_total=30)
    says(
        "its images were attacked together (noise, pooled), so their searches cannot be replayed "
        "one by one; give a run of an attack on single images",
        run,
    )


def test_the_rows_as_a_file_and_as_json(attacked, tmp_path):
    run = attacked(queries=12)
    found = iqattack.detect(run.folder, out=tmp_path / "rows.csv")
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0] == "image,queries,first,flagged,gain,gain_before"
    assert len(lines) == 4
    assert json.loads(found.model_dump_json())["first"]["value"] == found.first.value
    with pytest.raises(InputError, match="--out"):
        iqattack.detect(run, out=tmp_path / "no" / "rows.csv")


def test_no_name_is_a_formula_in_the_rows(attacked, large, tmp_path):
    first = min(large.iterdir())
    first.rename(large / "=HYPERLINK(1).png")
    found = iqattack.detect(attacked(queries=4), out=tmp_path / "rows.csv")
    with (tmp_path / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert "'=HYPERLINK(1).png" in [row["image"] for row in rows]
    assert [from_cell(row["image"]) for row in rows] == [row.image for row in found.images]
    assert [int(row["queries"]) for row in rows] == [row.queries for row in found.images]
    assert [float(row["gain"]) for row in rows] == [row.gain for row in found.images]


@pytest.mark.parametrize("attack", ["square", "nes", "filter-search"])
def test_the_built_in_model_on_real_pictures(attack, sample_folder, tmp_path):
    model = iqattack.load_model("builtin")
    run = iqattack.attack(
        sample_folder, model, attack=attack, queries=45, limit=2, out=tmp_path / "run",
        batch=7, constraint="linf:3",
    )  # fmt: skip
    replayed = asked(run)
    with run.open_log() as log:
        for result in run.results:
            pixels = torch.stack([image for _, image in replayed[result.image]])
            scores = log.rows(result.image)["score"]
            assert len(pixels) == len(scores) == result.queries
            assert np.allclose(torch.as_tensor(model(pixels)).numpy(), scores, atol=1e-3)
    found = detect(run)
    assert found.false_positives == 0.0
    assert all(row.first is None or row.first >= 2 for row in found.images)


@pytest.mark.parametrize("how", [{"concurrency": 3}, {"batch": 1}, {"batch": 16}], ids=str)
def test_how_a_run_was_carried_out_plays_no_part(how, attacked):
    assert detect(attacked(**how)).images == detect(attacked(name="plain")).images
