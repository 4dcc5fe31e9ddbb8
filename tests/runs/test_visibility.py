import csv
import io
import json
import shutil
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import iqattack
from iqattack.cli.tables import show_summary
from iqattack.errors import InputError
from iqattack.images import read_image
from iqattack.perception import ColorVideoVdp, Flip
from iqattack.runs import Meter, Result, measured, visibility


@pytest.fixture(scope="module")
def pyiqa():
    return pytest.importorskip("pyiqa", reason="pyiqa is not installed: the extra 'pyiqa'")


@pytest.fixture
def run(tmp_path):
    """Three attacked images of 64×48 pixels."""
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        pixels = rng.integers(20 + 30 * k, 90 + 30 * k, (48, 64, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "photos" / f"{k}.png")
    model = iqattack.wrap(
        lambda batch: batch.double().mean((1, 2, 3)),
        name="brightness",
        score_range=(0.0, 255.0),
        lower_better=False,
    )
    return iqattack.attack(
        tmp_path / "photos",
        model,
        out=tmp_path / "run",
        attack="noise",
        constraint="linf:3",
        queries=5,
    )


def test_metrics_are_those_of_pyiqa(run, pyiqa, tmp_path):
    """GMSD needs no weights; lpips and dists are metrics like it."""
    found = iqattack.evaluate(run, metrics=["gmsd"]).full_reference["gmsd"]
    metric = pyiqa.create_metric("gmsd", device="cpu")
    expected = []
    for result in run.results:
        pair = [
            read_image(path).pixels[None].float() / 255
            for path in (run.images / result.png_name, tmp_path / "photos" / result.image)
        ]
        expected.append(float(metric(*pair)))
    assert found.value == pytest.approx(np.mean(expected))
    assert 0.0 < found.interval[0] <= found.value <= found.interval[1]
    assert "gmsd" in iqattack.evaluate(run, metrics=["gmsd"]).model_dump_json()
    assert iqattack.evaluate(run).full_reference == {}


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["gmds"], "unknown pyiqa metric 'gmds': did you mean 'gmsd'"),
        (["brisque"], "'brisque' takes no reference image; expected a full-reference metric"),
    ],
)
def test_metrics_that_are_none(run, pyiqa, metrics, message):
    with pytest.raises(InputError, match=message):
        iqattack.evaluate(run, metrics=metrics)


def test_a_metric_that_fails_says_on_what(run, pyiqa, monkeypatch):
    def fail(*_):
        raise ValueError("too small")

    monkeypatch.setattr(torch, "as_tensor", fail)
    with pytest.raises(InputError, match=r"'gmsd' failed on an image of 64×48: .*too small"):
        iqattack.evaluate(run, metrics=["gmsd"])


def test_they_need_the_images_of_the_run(run, pyiqa, tmp_path):
    with pytest.raises(InputError, match="leave out queries"):
        iqattack.evaluate(run, queries=3, metrics=["gmsd"])
    path = tmp_path / "photos" / "1.png"
    path.write_bytes((tmp_path / "photos" / "2.png").read_bytes())
    with pytest.raises(InputError, match=r"1\.png: is not the image that was attacked"):
        iqattack.evaluate(run, metrics=["gmsd"])


class Calls(list):
    """What measured an image."""

    def __call__(self, done, images):
        self.append((done, images))


@pytest.fixture
def seen(run):
    """The content of visibility.json, and a function that writes a forged version of it."""
    path = run.folder / "visibility.json"

    def write(**changes):
        held = json.loads(path.read_text())
        held["measured"][0]["images"]["1.png"] |= changes
        path.write_text(json.dumps(held))

    return path, write


@pytest.fixture
def packages():
    if None in map(find_spec, ("pycvvdp", "flip_evaluator")):
        pytest.skip("not installed: the extra 'visibility'")


@pytest.fixture
def without(monkeypatch):
    """As if the packages were not installed."""

    def none(meter, kind):
        meter.missing = "JOD needs the package 'cvvdp': pip install 'iqattack[visibility]'"

    monkeypatch.setattr(Meter, "_made", none)
    monkeypatch.setattr(visibility, "_installed", dict)


def evaluated(run, **options):
    """What is seen in the run as it lies there, and how many images were measured for it."""
    calls = Calls()
    reported = iqattack.Callbacks(measured=calls)
    return seen_by(iqattack.evaluate(run.folder, callbacks=reported, **options)), len(calls)


def seen_by(summary):
    return summary.means, summary.visibility


def test_an_attack_measures_once(packages, run, tmp_path, seen):
    summary = run.summary()
    metric, flip = ColorVideoVdp(), Flip()
    values = []
    for result in run.results:
        clean, attacked = (
            read_image(path).pixels
            for path in (tmp_path / "photos" / result.image, run.images / result.png_name)
        )
        values.append((metric.jod(clean, attacked).item(), flip.mean(clean, attacked).item()))
    jods, flips = zip(*values, strict=True)
    means = summary.means
    assert (means.jod, means.jod_least, means.jod_images) == (np.mean(jods), min(jods), 3)
    assert means.jod_below == np.mean(np.array(jods) < 9.5)
    assert means.flip == pytest.approx(np.mean(flips))
    assert (summary.visibility.display, summary.visibility.distance) == ("standard_fhd", 0.6)
    assert summary.visibility.versions.keys() == {"cvvdp", "flip-evaluator"}
    assert evaluated(run) == (seen_by(summary), 0)
    rows = list(csv.DictReader((run.folder / "results.csv").open()))
    assert [(float(row["jod"]), float(row["flip"])) for row in rows] == values
    assert iqattack.verify(run, run_model()).differences == ()


def run_model():
    return iqattack.wrap(
        lambda batch: batch.double().mean((1, 2, 3)),
        name="brightness",
        score_range=(0.0, 255.0),
        lower_better=False,
    )


def test_another_display_is_measured_anew_and_kept_beside(packages, run):
    (means, how), calls = evaluated(run, display="standard_4k", distance=1.5)
    assert calls == 3
    assert (how.display, how.distance) == ("standard_4k", 1.5)
    assert means.flip < run.summary().means.flip
    assert evaluated(run, display="standard_4k", distance=1.5) == ((means, how), 0)
    assert evaluated(run) == (seen_by(run.summary()), 0)


@pytest.mark.parametrize(
    "changes", [{"jod": 10.0}, {"clean": "0" * 64}, {"jod": 11.0}, {"flip": None}]
)
def test_what_somebody_else_wrote_is_not_believed(packages, run, seen, changes):
    seen[1](**changes)
    assert evaluated(run) == (seen_by(run.summary()), 3)
    assert evaluated(run)[1] == 0


def test_a_picture_that_was_not_scored_has_no_value(packages, run):
    (run.images / "1.png").write_bytes((run.images / "2.png").read_bytes())
    (means, _), calls = evaluated(run)
    assert (means.jod_images, calls) == (2, 1)
    found = [d.what for d in iqattack.verify(run, run_model()).differences if d.image == "1.png"]
    assert any("jod is" in what and "in results.csv" in what for what in found)


def test_other_versions_measure_anew(packages, run, monkeypatch):
    monkeypatch.setattr(visibility, "version", lambda name: "0.0")
    (_, how), calls = evaluated(run)
    assert calls == 3
    assert set(how.versions.values()) == {"0.0"}


def test_a_folder_that_cannot_be_written_is_measured(packages, run, seen, monkeypatch):
    seen[0].unlink()

    def full(path, text):
        raise InputError("cannot be written")

    monkeypatch.setattr(visibility, "write_text", full)
    assert evaluated(run) == (seen_by(run.summary()), 3)
    assert not seen[0].exists()


def test_measuring_can_be_stopped_and_gone_on_with(packages, run, seen):
    seen[0].unlink()
    calls = Calls()
    results, found = measured(run, run.results, progress=calls, stop=lambda: len(calls) == 1)
    assert [result.jod is not None for result in results] == [True, False, False]
    assert found is not None
    assert evaluated(run) == (seen_by(run.summary()), 2)


def test_without_the_packages(run, seen, without):
    """Stored values are available; for others, an error says how to compute them."""
    assert evaluated(run) == (seen_by(run.summary()), 0)
    seen[0].unlink()
    summary = iqattack.evaluate(run.folder)
    assert (summary.means.jod, summary.means.flip, summary.visibility) == (None, None, None)
    assert "by SSIM" in summary.verdict.text
    with pytest.raises(InputError, match=r"pip install 'iqattack\[visibility\]'"):
        iqattack.evaluate(run.folder, distance=1.0)
    said = io.StringIO()
    show_summary(summary, run.folder, Console(file=said, width=200))
    assert "note: visibility (JOD, FLIP) was not measured in full: JOD needs the package" in (
        said.getvalue()
    )
    (note,) = (n for n in iqattack.verify(run, run_model()).notes if "JOD" in n)
    assert note.startswith("JOD and FLIP were not checked, or only one of them: JOD needs")


def test_a_smaller_budget_has_no_pictures(run):
    summary = iqattack.evaluate(run, queries=3)
    assert (summary.means.jod, summary.visibility) == (None, None)
    with pytest.raises(InputError, match="leave out queries"):
        iqattack.evaluate(run, queries=3, display="standard_fhd")
    with pytest.raises(InputError, match="leave out queries"):
        iqattack.compare(run, run, queries=3, distance=1.0)


def test_a_comparison_has_it(packages, run, tmp_path):
    shutil.copytree(run.folder, tmp_path / "copy")
    first, second = iqattack.compare(run, tmp_path / "copy").rows
    means = run.summary().means
    assert (first.jod.value, first.jod_least) == (means.jod, means.jod_least)
    assert first.jod == second.jod
    assert iqattack.compare(run, tmp_path / "copy", queries=3).rows[0].jod is None


def test_a_result_in_the_log_has_none(run):
    """A log from another user may be forged."""
    text = json.loads(run.results[0].model_dump_json()) | {"jod": 10.0}
    assert "jod" not in json.loads(run.results[0].model_dump_json())
    assert Result.read("0.png", json.dumps(text)).jod is None


def test_verify_measures_again(packages, run):
    """What results.csv and summary.json say of it, in numbers that would pass alone."""
    path = run.folder / "results.csv"
    row = next(csv.DictReader(path.open()))
    path.write_text(path.read_text().replace(row["jod"], "9.5", 1))
    said = [str(difference) for difference in iqattack.verify(run, run_model()).differences]
    assert f"0.png: jod is {row['jod']}, 9.5 in results.csv" in said
    assert any(line.startswith("summary.json: means.jod is ") for line in said)
    path.write_text(path.read_text().replace("9.5,", f"{row['jod']},", 1))
    summary = run.folder / "summary.json"
    summary.write_text(summary.read_text().replace("standard_fhd", "standard_4k"))
    (line,) = map(str, iqattack.verify(run, run_model()).differences)
    assert line == ("summary.json: visibility.display is 'standard_4k', computed 'standard_fhd'")
