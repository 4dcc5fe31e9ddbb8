import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iqattack
from iqattack.errors import InputError, IqattackError, RunError
from iqattack.evaluation import evaluate_scores


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """Intervals take longer than everything else here, and have tests of their own."""
    few = partial(evaluate_scores, resamples=20)
    monkeypatch.setattr("iqattack.runs.summary.evaluate_scores", few)


@pytest.fixture
def images(tmp_path):
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for k in range(4):
        pixels = rng.integers(30 * k, 40 + 30 * k, (16, 16, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"photos/{k}.png")
    return iqattack.ImageSet.from_folder(tmp_path / "photos")


@pytest.fixture
def darkness():
    """A plain function as a model of which low scores are good."""

    def score(batch):
        return (255.0 - batch.double().mean((1, 2, 3))).tolist()

    return iqattack.wrap(score, name="darkness", score_range=(0, 255), lower_better=True)


def test_a_line_per_step(tmp_path, images, darkness):
    run = iqattack.attack(
        images, darkness, attack="noise", constraint="linf:4", queries=20, out=tmp_path / "run"
    )
    assert [row.image for row in run.results] == ["0.png", "1.png", "2.png", "3.png"]
    # Bright images are good here and lose; dark ones gain.
    assert [row.direction for row in run.results] == ["up", "up", "down", "down"]
    summary = iqattack.evaluate(run)
    assert summary.mean_gain == pytest.approx(np.mean([row.gain for row in run.results]))
    assert summary.means.queries == 20
    assert iqattack.verify(run, darkness).ok
    again = iqattack.open_run(tmp_path / "run")
    assert again.results == run.results
    assert iqattack.evaluate(again).scores.intervals == summary.scores.intervals


@pytest.mark.parametrize("lower_better", [False, True])
def test_scores_are_held_against_quality(tmp_path, images, darkness, lower_better):
    """Opinions that agree with the model, as MOS and as DMOS: the clean correlation is 1."""
    column, sign = ("dmos", -1) if lower_better else ("mos", 1)
    rows = [f"{k}.png,{sign * k}" for k in range(4)]
    (tmp_path / "mos.csv").write_text("\n".join([f"image,{column}", *rows]))
    run = iqattack.attack(
        str(tmp_path / "photos"),
        darkness,
        attack="noise",
        constraint="linf:4",
        queries=5,
        mos=tmp_path / "mos.csv",
        out=tmp_path / "run",
    )
    assert [row.mos for row in run.results] == [sign * k for k in range(4)]
    assert iqattack.evaluate(run).scores.clean_mos.srocc == 1.0


def test_a_spec_is_loaded_again_to_verify(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (72, 80, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    run = iqattack.attack(
        tmp_path / "a.png", "builtin", attack="noise", queries=4, out=tmp_path / "run"
    )
    assert iqattack.verify(run).ok


def test_a_wrapped_function_cannot_be_loaded_again(tmp_path, images, darkness):
    run = iqattack.attack(images, darkness, attack="noise", queries=3, out=tmp_path / "run")
    with pytest.raises(InputError, match="unknown model 'darkness'"):
        iqattack.verify(run)


def test_a_spec_that_declares_nothing_is_verified_with_what_the_run_knows(tmp_path, images):
    (tmp_path / "m.py").write_text("def load():\n    return lambda x: x.double().mean((1, 2, 3))\n")
    spec = f"{tmp_path / 'm.py'}:load"
    model = iqattack.load_model(spec, score_range=(0, 255), lower_better=False)
    run = iqattack.attack(images, model, attack="noise", queries=3, out=tmp_path / "run")
    assert iqattack.verify(run, spec).ok


MODEL = """
def load():
    f = lambda x: x.double().mean((1, 2, 3))
    f.score_range = (0, {top})
    return f
"""


def test_a_run_knows_its_model_from_any_folder(tmp_path, images, monkeypatch):
    """And not another file of the same name; one that changed is reported."""
    for name, top in (("here", 255), ("there", 300)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "m.py").write_text(MODEL.format(top=top))
    monkeypatch.chdir(tmp_path / "here")
    images = iqattack.ImageSet.from_folder(images.entries[0].path.parent.absolute())
    options = {"attack": "noise", "queries": 3, "lower_better": False, "out": tmp_path / "run"}
    run = iqattack.attack(images, "m.py:load", **options)
    monkeypatch.chdir(tmp_path / "there")
    assert iqattack.verify(tmp_path / "run").ok
    changed = tmp_path / "here" / "m.py"
    changed.write_text(MODEL.format(top=255) + "# and nothing else\n")
    with pytest.raises(RunError, match=rf"its model has changed: {changed}, SHA-256 .* was not"):
        iqattack.verify(run)
    line = f"model: {changed} has changed since the run began"
    assert [str(d) for d in iqattack.verify(run, f"{changed}:load").differences] == [line]
    accepted = iqattack.verify(run, accept_changed_model=True)
    assert (accepted.ok, accepted.notes) == (True, (line.removeprefix("model: "),))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"queries": 30.5}, r"^queries 30\.5: Input should be a valid integer"),
        ({"seed": "one"}, "^seed 'one': Input should be a valid integer"),
    ],
)
def test_a_value_of_another_type_is_one_line(tmp_path, images, darkness, given, message):
    with pytest.raises(InputError, match=message):
        iqattack.attack(images, darkness, out=tmp_path / "run", **given)


def test_pixels_are_no_images(tmp_path, darkness):
    pixels = [np.zeros((8, 8, 3), np.uint8)]
    with pytest.raises(InputError, match="images: contains ndarray, expected paths"):
        iqattack.attack(pixels, darkness, out=tmp_path / "run")  # type: ignore[arg-type]


def test_a_model_that_is_none_is_refused(tmp_path, images, darkness):
    with pytest.raises(InputError, match=r"has no name; expected a spec or a loaded model, such"):
        iqattack.attack(images, lambda batch: [0.0], out=tmp_path / "run")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'darkness' is loaded already: give score_range to"):
        iqattack.attack(images, darkness, score_range=(0, 1), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_verifying_stops_when_asked(tmp_path, images, darkness):
    run = iqattack.attack(images, darkness, attack="noise", queries=3, out=tmp_path / "run")
    with pytest.raises(IqattackError, match="stopped; 1 of 4 images verified"):
        iqattack.verify(run, darkness, callbacks=iqattack.Callbacks(stop=lambda: True))


def test_import_is_quick():
    code = "import sys, iqattack, iqattack.cli; print('torch' in sys.modules, dir(iqattack))"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(__file__).parents[1] / "src")},
    ).stdout
    assert out.startswith("False")
    assert "load_model" in out
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = iqattack.nothing


@pytest.mark.usefixtures("forked_workers")
def test_a_run_goes_on_with_a_model_that_moved_and_from_another_folder(
    tmp_path, images, monkeypatch
):
    """The same bytes in another place are the same model; others are not."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "m.py").write_text(MODEL.format(top=255))
    monkeypatch.chdir(tmp_path / "a")
    photos = "../" + images.entries[0].path.parent.name
    options = {"attack": "noise", "queries": 25, "lower_better": False, "out": tmp_path / "run"}
    with pytest.raises(iqattack.api.CeilingReached):
        iqattack.attack(photos, "m.py:load", max_requests=40, **options)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    photos = images.entries[0].path.parent.name
    run = iqattack.attack(photos, "b/m.py:load", resume=True, workers=2, **options)
    assert {row.queries for row in run.results} == {25}
    assert iqattack.verify(run, "b/m.py:load").ok
    (tmp_path / "b" / "m.py").write_text(MODEL.format(top=255) + "# more")
    with pytest.raises(RunError, match=r"the model's file .*/m\.py has other contents here than"):
        iqattack.attack(photos, "b/m.py:load", resume=True, **options)
    (tmp_path / "b" / "other.py").write_text(MODEL.format(top=255))
    with pytest.raises(RunError, match=r"belongs to other settings: model"):
        iqattack.attack(photos, "b/other.py:load", resume=True, **options)


def test_verify_asks_again_what_failed_for_a_time(tmp_path, images, darkness):
    run = iqattack.attack(images, darkness, attack="noise", queries=3, out=tmp_path / "run")
    calls = []

    def busy(batch):
        calls.append(len(batch))
        if len(calls) % 2:
            raise iqattack.TransientError("busy")
        return darkness.function.function(batch)

    like = {name: getattr(darkness, name) for name in ("name", "score_range", "lower_better")}
    model = iqattack.wrap(busy, **like)
    retry = iqattack.Retry(2, first_s=0.001)
    assert iqattack.verify(run, model, retry=retry).ok
    with pytest.raises(InputError, match="busy"):
        iqattack.verify(run, model, retry=iqattack.Retry(0))


def test_a_run_is_found_from_another_working_folder(tmp_path, images, darkness, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = iqattack.attack(images, darkness, queries=3, attack="noise", out="run")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert iqattack.verify(run, darkness).ok
    assert iqattack.report(run) == tmp_path / "run" / "report" / "index.html"
    assert iqattack.rescore(run, darkness, times=2).times == 2
    assert iqattack.evaluate(run).rescored is not None
    assert not any(Path().iterdir())


def test_a_batch_below_one_is_refused(tmp_path, images, darkness):
    with pytest.raises(InputError, match="batch size 0: expected at least 1"):
        iqattack.attack(images, darkness, batch=0, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
