import json
import sqlite3

import numpy as np
import pytest
import torch

from iqattack.errors import RunError
from iqattack.images import read_image, write_png
from iqattack.models import wrap
from iqattack.runs import Run, execute, verify


@pytest.fixture
def run(tmp_path, settings, brightness, images):
    with Run.create(tmp_path / "run", settings(), brightness) as made:
        execute(made, images, brightness)
    return made


def problems(run, brightness):
    return [str(difference) for difference in verify(run, brightness).differences]


def test_an_honest_run_passes(run, brightness):
    seen = []
    result = verify(run, brightness, progress=lambda *state: seen.append(state))
    assert result.ok
    assert (result.checked, result.failed, result.pending) == (5, 0, 0)
    assert seen == [(k, 5) for k in range(1, 6)]


def test_a_changed_png_is_found(run, brightness):
    path = run.images / "1.png"
    pixels = read_image(path).pixels
    pixels[0, 0, 0] ^= 64
    write_png(path, pixels)
    found = problems(run, brightness)
    assert all(line.startswith("1.png: ") for line in found)
    for what in (
        "attacked score is",
        "leaves the constraint linf:3",
        "linf is",
        "not among the scored images",
    ):
        assert any(what in line for line in found)


def test_a_changed_clean_image_is_found(run, brightness, photos):
    pixels = read_image(photos / "3.png").pixels
    pixels[0, 0, 0] ^= 1
    write_png(photos / "3.png", pixels)
    assert any(line.startswith("3.png: clean score is") for line in problems(run, brightness))


def test_a_changed_hash_is_found(run, brightness):
    told_before = run.results[3]
    changed = told_before.model_copy(update={"sha256": "0" * 64}).model_dump_json()
    with sqlite3.connect(run.folder / "log.sqlite") as db:
        db.execute("UPDATE result SET json = ? WHERE json = ?",
                   (changed, told_before.model_dump_json()))  # fmt: skip
    (line, _) = problems(run, brightness)
    assert line.startswith(f"3.png: the clean image's SHA-256 is {told_before.sha256}, reported 00")


@pytest.mark.parametrize("name", ["0.png", "4.png"])
def test_a_missing_or_broken_file_is_found(run, brightness, name):
    (run.images / name).unlink()
    assert any("no such image" in line for line in problems(run, brightness))
    (run.images / name).write_bytes(b"PNG")
    assert any("is not a readable image" in line for line in problems(run, brightness))


def test_a_changed_score_in_the_table_is_found(run, brightness):
    path = run.folder / "results.csv"
    score = repr(run.results[2].score_adv)
    path.write_text(path.read_text().replace(score, "99.5"))
    assert problems(run, brightness) == [
        f"2.png: score_adv is 99.5 in results.csv, {score} in the log",
    ]
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:2] + lines[3:]) + "9.png" + "," * 18 + "\n")
    found = problems(run, brightness)
    assert any(line.startswith("1.png: no row in") for line in found)
    assert "9.png: has a row in results.csv, but no result in the log" in found


def test_a_row_that_is_there_twice_is_found(run, brightness):
    path = run.folder / "results.csv"
    path.write_text(path.read_text() + path.read_text().splitlines()[2] + "\n")
    assert problems(run, brightness) == ["1.png: has 2 rows in results.csv, expected one"]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('"mean_gain": 0', '"mean_gain": 1', "scores.mean_gain is 1.0"),
        ('"attacked": 5,\n  "un', '"attacked": 4,\n  "un', "attacked is 4, computed 5"),
        ('"n": 5,', "", "scores.n is None, computed 5"),
        ("{", "[", "cannot be read"),
    ],
)
def test_a_changed_summary_is_found(run, brightness, old, new, expected):
    path = run.folder / "summary.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    (line,) = problems(run, brightness)
    assert line.startswith(f"summary.json: {expected}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the column image"),
        ("a;b\n", "lacks the column image"),
        ("{header}0.png,24\n", "rows that are too short"),
        ("{header}0.png,,,,,,,,many,0,,,,,,,,noise,failed: x\n", "queries is many in results.csv"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_table_that_another_program_broke_is_one_line(run, brightness, text, message):
    path = run.folder / "results.csv"
    header = path.read_text().splitlines(keepends=True)[0]
    path.write_text(text.format(header=header), errors="surrogateescape")
    found = problems(run, brightness)
    assert any(message in line and "results.csv" in line for line in found)
    assert all("\n" not in line for line in found)
    run.summary()  # does not need it


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("score_adv", 99.5, "attacked score is"),
        ("score_clean", 99.5, "clean score is"),
        ("gain", 0.9, "gain is"),
        ("queries", 11, "12 queries in the log, reported 11"),
        ("rms", 0.1, "rms is"),
        ("width", 99, "reported 99×20"),
    ],
)
def test_a_changed_result_in_the_log_is_found(run, brightness, column, value, message):
    with sqlite3.connect(run.folder / "log.sqlite") as log:
        (text,) = log.execute("SELECT json FROM result WHERE task = 1").fetchone()
        changed = json.dumps({**json.loads(text), column: value})
        log.execute("UPDATE result SET json = ? WHERE task = 1", (changed,))
    assert any(line.startswith("0.png: ") and message in line for line in problems(run, brightness))


def test_a_score_may_differ_within_the_tolerance(run):
    def noisy(batch):
        return batch.double().mean((1, 2, 3)) + 0.01

    scorer = wrap(noisy, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    assert len(verify(run, scorer).differences) == 10
    assert verify(run, scorer, tolerance=1e-4).ok
    assert verify(run, scorer, tolerance=0.1).ok


def test_each_image_is_scored_alone(run, brightness):
    """As some models take no more, and in memory there may be no room for two."""

    def one(batch):
        assert len(batch) == 1
        return brightness(batch)

    scorer = wrap(one, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    assert verify(run, scorer).ok


def test_noise_of_the_model_is_called_so(run):
    rng = np.random.default_rng(0)

    def noisy(batch):
        return batch.double().mean((1, 2, 3)) + torch.tensor(rng.normal(0.0, 1.0, len(batch)))

    scorer = wrap(noisy, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    lines = [str(difference) for difference in verify(run, scorer).differences]
    assert (
        sum(line.endswith("and the best of many scores is optimistically biased") for line in lines)
        == 10
    )


def test_another_model_is_refused(run):
    scorer = wrap(lambda batch: [0.0], name="other", score_range=(0.0, 255.0), lower_better=False)
    with pytest.raises(RunError, match="its model's name is brightness, not other"):
        verify(run, scorer)


def test_the_floor_is_checked(tmp_path, settings, brightness, images):
    asked = settings(floor="ssim:0.9", constraint="linf:20")
    with Run.create(tmp_path / "floored", asked, brightness) as run:
        execute(run, images, brightness)
    assert verify(run, brightness).ok
    toml = (run.folder / "run.toml").read_text()
    (run.folder / "run.toml").write_text(toml.replace("ssim:0.9", "ssim:0.995"))
    found = problems(Run.open(run.folder), brightness)
    assert any("lies below the floor ssim:0.995" in line for line in found)
