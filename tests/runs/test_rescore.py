import json
import math
import shutil
import sqlite3
import threading
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.integrate import quad
from scipy.stats import norm

import iqattack
from iqattack.errors import InputError, RunError
from iqattack.models import Model, defend, fresh
from iqattack.models.base import Traits
from iqattack.reporting.measures import main_measures
from iqattack.runs import ModelRecord, Result, Run, rescored_rows
from iqattack.runs.rescored import Rescored, Scores, rescoring_of

QUERIES = 12


class Noisy:
    """A constant score with Gaussian noise of one point of the range, or brightness with noise."""

    def __init__(self, seed=0, sigma=1.0, brightness=0.0):
        self.rng = np.random.default_rng(seed)
        self.sigma, self.brightness = sigma, brightness
        self.calls, self.sizes, self.end_after, self.fails = 0, set(), math.inf, False
        self.lock = threading.Lock()

    def __call__(self, images):
        with self.lock:
            if self.calls >= self.end_after:
                if self.fails:
                    raise RuntimeError("out of order")
                raise KeyboardInterrupt
            self.calls += 1
            self.sizes.add(len(images))
            mean = 50.0 + self.brightness * images.double().mean((1, 2, 3)).numpy()
            return torch.from_numpy(mean + self.sigma * self.rng.normal(size=len(images)))

    @property
    def model(self):
        return Model(self, "noisy", (0.0, 100.0), False)


@pytest.fixture
def many(tmp_path):
    folder = tmp_path / "many"
    folder.mkdir()
    rng = np.random.default_rng(1)
    for k in range(40):
        pixels = rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:02}.png")
    return folder


@pytest.fixture
def attacked(photos, tmp_path):
    def make(noisy, images=photos, **options):
        given: dict[str, Any] = {
            "attack": "noise",
            "constraint": "linf:3",
            "queries": QUERIES,
            "check": False,
        }
        return iqattack.attack(images, noisy.model, out=tmp_path / "run", **(given | options))

    return make


def most_of(n):
    """Expected largest of n standard normal numbers."""
    return quad(lambda x: x * n * norm.pdf(x) * norm.cdf(x) ** (n - 1), -8, 8)[0]


def test_the_bias_of_the_best_of_many_noisy_scores_is_removed(attacked, many):
    noisy = Noisy()
    run = attacked(noisy, many, objective="up")
    reported = np.mean([result.gain for result in run.results])
    # Each best score is the largest of QUERIES, that of the clean image among them, less this one.
    expected = most_of(QUERIES) / 100.0
    assert reported == pytest.approx(expected, abs=4 * 0.012 / math.sqrt(40))
    found = iqattack.rescore(run.folder, noisy.model, times=30)
    assert found.images == 40
    assert found.times == 30
    assert found.gain == pytest.approx(reported)
    assert found.error == pytest.approx(math.sqrt(2 / 30) / 100 / math.sqrt(40), rel=0.2)
    assert abs(found.gain_fresh) < 4 * found.error
    assert found.bias == pytest.approx(expected, abs=4 * 0.012 / math.sqrt(40))
    low, high = found.intervals["bias"]
    assert low < found.bias < high


def test_a_true_gain_stays(attacked, photos):
    noisy = Noisy(sigma=0.2, brightness=0.1)
    run = attacked(noisy, objective="up", attack="square", queries=60)
    iqattack.rescore(run.folder, noisy.model, times=40)
    for row, result in zip(rescored_rows(run), run.results, strict=True):
        from_disk = [
            np.asarray(Image.open(path), dtype=np.float64).mean()
            for path in (result.path, run.images / result.png_name)
        ]
        true = 0.1 * (from_disk[1] - from_disk[0]) / 100.0
        assert row.gain_fresh == pytest.approx(true, abs=4 * row.error)
        assert row.error == pytest.approx(0.2 * math.sqrt(2 / 40) / 100, rel=0.6)
        assert row.gain_fresh != row.gain


def test_a_deterministic_model_has_no_bias(attacked):
    exact = Noisy(sigma=0.0, brightness=0.1)
    run = attacked(exact)
    found = iqattack.rescore(run.folder, exact.model, times=2)
    assert found.bias == pytest.approx(0.0, abs=1e-12)
    assert found.error == 0.0
    assert found.gain_fresh == pytest.approx(np.mean([result.gain for result in run.results]))


def test_each_picture_is_asked_alone_and_so_often_and_no_more(attacked):
    noisy = Noisy()
    run = attacked(noisy)
    changed = sum(result.gain > 0 for result in run.results)
    before = noisy.calls
    noisy.sizes.clear()
    first = iqattack.rescore(run.folder, noisy.model, times=3)
    assert noisy.calls - before == first.queries == 6 * changed
    assert noisy.sizes == {1}
    assert iqattack.rescore(run.folder, noisy.model, times=3) == first
    more = iqattack.rescore(run.folder, noisy.model, times=5)
    assert noisy.calls - before == more.queries == 10 * changed


def test_an_image_that_was_not_changed_needs_no_scores(attacked):
    still = Noisy(sigma=0.0)
    run = attacked(still)
    before = still.calls
    with pytest.raises(InputError, match="nothing to report"):
        iqattack.rescore(run.folder, still.model, times=4)
    assert still.calls == before


def kept_scores(run):
    with run.open_log() as log:
        return {image: Scores.read(log, image) for image in log.images()}


@pytest.mark.parametrize("after", [1, 7, 13])
@pytest.mark.parametrize("how", ["stopped", "killed", "failed"])
def test_it_goes_on_where_it_was_interrupted(how, after, attacked):
    noisy = Noisy()
    run = attacked(noisy)
    calls = noisy.calls
    wanted = 6 * sum(result.gain > 0 for result in run.results)
    if how == "stopped":
        notify = iqattack.Callbacks(stop=lambda: noisy.calls >= calls + after)
        with pytest.raises(iqattack.api.Interrupted):
            iqattack.rescore(run.folder, noisy.model, times=3, callbacks=notify)
    else:
        noisy.end_after, noisy.fails = calls + after, how == "failed"
        with pytest.raises(InputError if noisy.fails else KeyboardInterrupt) as raised:
            iqattack.rescore(run.folder, noisy.model, times=3)
        if noisy.fails:
            assert "repeat the command to continue" in str(raised.value)
        noisy.end_after = math.inf
    assert noisy.calls == calls + after
    there = {image: scores for image, scores in kept_scores(run).items() if scores is not None}
    assert sum(len(s.clean) + len(s.attacked) for s in there.values()) == after
    assert iqattack.verify(run.folder, Noisy(sigma=0).model, tolerance=0.1).ok
    found = iqattack.rescore(run.folder, noisy.model, times=3)
    assert noisy.calls == calls + wanted
    assert found.queries == wanted + (how == "failed")  # the one that had no answer was sent, too
    for image, scores in ((i, s) for i, s in kept_scores(run).items() if s is not None):
        assert len(scores.clean) == len(scores.attacked) == 3
        if image in there:
            assert scores.clean[: len(there[image].clean)] == there[image].clean


def test_the_run_itself_stays_as_it_was(attacked, photos):
    noisy = Noisy()
    run = attacked(noisy)
    table = (run.folder / "results.csv").read_bytes()
    with run.open_log() as log:
        rows = {name: log.rows(name).tobytes() for name in log.images()}
        sent = log.sent()
    found = iqattack.rescore(run.folder, noisy.model, times=2)
    assert (run.folder / "results.csv").read_bytes() == table
    with run.open_log() as log:
        assert {name: log.rows(name).tobytes() for name in log.images()} == rows
        assert log.sent() == sent + found.queries
    before = noisy.calls
    again = attacked(noisy, resume=True)  # nothing is left to do
    assert noisy.calls == before
    assert again.summary().rescored == found
    assert json.loads((run.folder / "summary.json").read_text())["rescored"]["images"] == 5
    assert iqattack.evaluate(run.folder).rescored == found
    assert found.text in iqattack.evaluate(run.folder).findings
    rows = {row.label: row for row in main_measures(iqattack.evaluate(run.folder))}
    assert rows["mean gain of fresh scores"].value == found.gain_fresh
    assert rows["selection bias of the mean gain"].interval == found.intervals["bias"]


def test_a_ceiling_of_requests_holds(attacked):
    noisy = Noisy()
    run = attacked(noisy)
    with pytest.raises(iqattack.api.CeilingReached) as raised:
        iqattack.rescore(run.folder, noisy.model, times=3, max_requests=70)
    assert "repeat the command with a higher limit" in str(raised.value)
    assert "--resume" not in str(raised.value)
    with run.open_log() as log:
        assert log.sent() <= 70
    assert noisy.calls <= 70


def test_its_sentence_has_the_digits_and_the_images_that_were_scored():
    given: dict[str, Any] = {"times": 4, "score_clean_fresh": 1.0, "score_adv_fresh": 1.1}
    rows = [Rescored(image=f"{k}.png", gain=0.0012, gain_fresh=0.0004, error=0.0002, **given)
            for k in range(3)]  # fmt: skip
    still = Rescored(image="s.png", times=0, score_clean_fresh=None, score_adv_fresh=None,
                     gain=0.0, gain_fresh=0.0, error=0.0)  # fmt: skip
    found = rescoring_of(rows, 24, intervals=False)
    assert (found.images, found.scored) == (3, 3)
    assert found.text.startswith("fresh scores of 3 images, 4 or more of each picture, put")
    assert "at 0.00040 ± 0.00012 of the range, instead of the reported 0.0012" in found.text
    assert "0.00080 of that is selection bias" in found.text
    found = rescoring_of([*rows, still], 24, intervals=False)
    assert (found.images, found.scored) == (4, 3)
    assert "of 3 images, 4 or more of each picture (1 more was left unchanged), put" in found.text
    assert "at 0.00030 ±" in found.text


def test_random_defences_draw_anew_each_time(photos, brightness, tmp_path):
    model = defend(brightness, "noise:20")
    run = iqattack.attack(
        photos, model, attack="noise", constraint="linf:3", queries=30, out=tmp_path / "run"
    )
    found = iqattack.rescore(run.folder, model, times=4)
    for scores in kept_scores(run).values():
        assert len(set(scores.clean)) == len(set(scores.attacked)) == 4
    assert found.error > 0
    assert found.bias > 0
    first = kept_scores(run)
    iqattack.rescore(run.folder, model, times=6)
    for image, scores in kept_scores(run).items():
        assert scores.clean[:4] == first[image].clean
        assert len(set(scores.clean)) == 6
    assert iqattack.verify(run.folder, model).ok
    steady = defend(brightness, "jpeg:75")
    assert fresh(steady) is steady
    assert fresh(brightness) is brightness


def test_fresh_choices_are_never_those_of_the_search(brightness):
    model = defend(brightness, "noise:20", key=7)
    image = torch.full((1, 3, 12, 12), 100, dtype=torch.uint8)

    def score(model):
        return float(torch.as_tensor(model(image)))

    again = fresh(model)
    keyed = [score(defend(brightness, "noise:20", key=k)) for k in range(8, 12)]
    assert [score(again) for _ in keyed] == keyed
    assert score(model) not in keyed


def test_scores_that_are_not_finite_are_left_out():
    result = result_with(gain=0.5)
    digest = "0" * 16
    scores = Scores(
        clean_hash=digest, attacked_hash=digest, clean=(1.0, math.nan, 3.0), attacked=(4, 6, 5)
    )
    row = Rescored.of(result, scores, record())
    assert (row.times, row.score_clean_fresh, row.score_adv_fresh) == (2, 2.0, 5.0)
    assert row.gain_fresh == pytest.approx(0.3)
    assert row.error == pytest.approx(math.sqrt(2 / 2 + 1 / 3) / 10)
    assert (
        Rescored.of(result, scores.model_copy(update={"clean": (1.0, math.inf)}), record()) is None
    )


def result_with(**values):
    given: dict[str, Any] = {
        "image": "a", "queries": 3, "attack": "x", "status": "ok", "path": "/a", "linf": 3.0,
        "direction": "up",
    }  # fmt: skip
    return Result(**given | values)


def record():
    return ModelRecord(name="m", score_range=(0.0, 10.0), lower_better=False)


# -- bad input ------------------------------------------------------------------------------------


def changed(run, statement, *values):
    with closing(sqlite3.connect(run.folder / "log.sqlite")) as log:
        log.execute(statement, values)
        log.commit()


def test_verify_sees_what_was_changed(attacked):
    noisy = Noisy()
    run = attacked(noisy)
    iqattack.rescore(run.folder, noisy.model, times=2)
    steady = Noisy(sigma=0).model

    def differences():
        return [str(d) for d in iqattack.verify(run.folder, steady, tolerance=0.1).differences]

    assert differences() == []
    notes = iqattack.verify(run.folder, steady, tolerance=0.1).notes
    assert "fresh scores are noisy, and were not repeated" in notes
    table = run.folder / "rescored.csv"
    text = table.read_text()
    table.write_text(text.replace("\n0.png,2", "\n0.png,3"))
    assert differences() == [
        "rescored.csv: differs from the log; delete it: 'iqattack rescore' writes it again"
    ]
    table.write_text(text)
    summary = run.folder / "summary.json"
    whole = summary.read_text()
    found = json.loads(whole)
    found["rescored"]["gain_fresh"] += 0.1
    summary.write_text(json.dumps(found))
    assert any("rescored.gain_fresh is" in line for line in differences())
    summary.write_text(whole)
    name = next(image for image, scores in kept_scores(run).items() if scores)
    scores = kept_scores(run)[name].model_copy(update={"attacked_hash": "f" * 16})
    update = "UPDATE kept SET json = ? WHERE name = ?"
    changed(run, update, scores.model_dump_json(), f"rescored {name}")
    assert f"{name}: its fresh scores belong to other pictures" in differences()
    changed(run, update, "{}", f"rescored {name}")
    assert any("has invalid fresh scores" in line for line in differences())


def test_what_cannot_be_rescored(attacked, brightness, photos, tmp_path):
    noisy = Noisy()
    run = attacked(noisy)
    before = noisy.calls

    def says(part, model=None, error=RunError, **options):
        with pytest.raises(error) as raised:
            iqattack.rescore(run.folder, model or noisy.model, **({"times": 2} | options))
        assert part in str(raised.value)
        assert "\n" not in str(raised.value)

    for times in (-1, 0, 1, 10_001):
        says(f"times {times}: expected 2 to 10,000", times=times, error=InputError)
    says("its model's name is noisy, not brightness", brightness)
    changed_png = next(run.images / r.png_name for r in run.results if r.gain > 0)
    kept = changed_png.read_bytes()
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(changed_png)
    says("is not the one that was scored", error=InputError)
    changed_png.write_bytes(kept)
    with Run.writing(run.folder):
        says("another process is writing this run")
    shutil.copytree(run.folder, tmp_path / "copy")
    shutil.rmtree(run.folder)
    says("no such run")
    assert noisy.calls == before


def test_other_contents_of_the_models_file(photos, tmp_path, monkeypatch):
    file = tmp_path / "weights"
    file.write_text("1")
    noisy = Noisy()
    model = Model(noisy, "noisy", (0.0, 100.0), False, traits=Traits(files=(file,)))
    run = iqattack.attack(
        photos, model, attack="noise", constraint="linf:3", queries=4, out=tmp_path / "run"
    )
    file.write_text("2")
    with pytest.raises(RunError, match="has changed since the run began"):
        iqattack.rescore(run.folder, model, times=2)


def test_the_verdict_on_a_stochastic_model_has_the_fresh_gain(attacked):
    noisy = Noisy(sigma=0.02, brightness=0.3)
    run = attacked(noisy, check=True, queries=30, attack="square", constraint="linf:30")
    doubts = run.summary().verdict.doubts
    assert "noise" in doubts
    assert "fresh scores" not in run.summary().verdict.text
    found = iqattack.rescore(run.folder, noisy.model, times=5)
    text = iqattack.evaluate(run.folder).verdict.text
    assert "by fresh scores, the mean gain is" in text
    number = text.partition("by fresh scores, the mean gain is ")[2].partition(" %")[0]
    assert float(number.replace("−", "-")) == pytest.approx(100 * found.gain_fresh, abs=0.006)
    page = iqattack.report(run.folder).read_text()
    assert "by fresh scores, the mean gain is" in page
    assert "selection bias of the mean gain" in page
