import shutil
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import iqattack
from iqattack.defences import Purifier, parse_defence
from iqattack.errors import InputError, RunError
from iqattack.evaluation import bootstrap_interval, mean_gain, srocc
from iqattack.images import read_image
from iqattack.models import Model, defend
from iqattack.perception import ssim
from iqattack.runs import behind

MODEL = """
def load():
    def score(images):
        return images.double().mean((1, 2, 3))

    score.score_range, score.lower_better = (0.0, 255.0), False
    return score
"""


class Counting:
    def __init__(self, scorer):
        self.scorer, self.images = scorer, 0

    def __call__(self, images):
        self.images += len(images)
        return self.scorer(images)


@pytest.fixture
def model(brightness):
    return Model(Counting(brightness), "brightness", (0.0, 255.0), False)


@pytest.fixture
def attacked(photos, model, tmp_path):
    def make(name="run", defence=None, **options):
        given: dict[str, Any] = {
            "attack": "square",
            "constraint": "linf:3",
            "queries": 30,
            "objective": "up",
        }
        return iqattack.attack(
            photos, model, out=tmp_path / name, defence=defence, **(given | options)
        )

    return make


def pictures(run):
    return {
        r.image: (read_image(r.path).pixels, read_image(run.images / r.png_name).pixels)
        for r in run.results
    }


def test_what_the_pictures_gain_behind_a_purifier(attacked, model):
    run = attacked()
    before = model.function.images
    found = iqattack.defended(run, "bits:3", model)
    assert model.function.images - before == found.queries == 10  # two an image
    hidden = defend(model, "bits:3")
    for row, (clean, adversarial) in zip(found.images, pictures(run).values(), strict=True):
        scores = torch.as_tensor(hidden(torch.stack([clean, adversarial]))).tolist()
        assert row.score_clean_defended == scores[0]
        assert row.gain_not_adaptive == pytest.approx((scores[1] - scores[0]) / 255.0, abs=1e-12)
        purifier = parse_defence("bits:3").defences[0]
        assert isinstance(purifier, Purifier)
        seen = [
            torch.from_numpy(purifier.purified(it.permute(1, 2, 0).contiguous().numpy()))
            for it in (clean, adversarial)
        ]
        seen = [it.round().clamp(0, 255).to(torch.uint8).permute(2, 0, 1) for it in seen]
        assert row.ssim_clean_defended == pytest.approx(float(ssim(clean, seen[0])))
        assert row.ssim_defended == pytest.approx(float(ssim(*seen)))
    gains = [row.gain for row in found.images]
    assert found.gain.value == pytest.approx(np.mean(gains))
    assert found.left_not_adaptive.value == pytest.approx(
        found.gain_not_adaptive.value / found.gain.value
    )
    assert (found.gain_adaptive, found.left_adaptive, found.srocc_mos) == (None, None, None)


def test_a_defence_that_does_nothing_leaves_everything(attacked, model):
    run = attacked()
    found = iqattack.defended(run, "bits:8", model)
    assert found.left_not_adaptive.value == pytest.approx(1.0)
    assert found.left_not_adaptive.interval == pytest.approx((1.0, 1.0))
    assert found.clean_distance.value == 0.0
    assert found.srocc_clean == pytest.approx(1.0)
    assert found.ssim_clean_defended == pytest.approx(1.0)
    assert found.ssim_defended == pytest.approx(found.ssim)


def test_beside_an_adaptive_run(attacked, model):
    run, other = attacked(), attacked("adaptive", "bits:3")
    before = model.function.images
    found = iqattack.defended(run, "bits:3", model, adaptive=other)
    assert model.function.images - before == found.queries == 15
    reported = [result.gain for result in other.results]
    assert [row.gain_adaptive for row in found.images] == pytest.approx(reported)
    assert [row.gain_adaptive_reported for row in found.images] == reported
    assert found.left_adaptive.value == pytest.approx(np.mean(reported) / found.gain.value)


def test_the_worst_of_both_image_by_image(attacked, model):
    """A long run beside an adaptive one of which some pictures gain more and some less."""
    run, other = attacked(), attacked("adaptive", "bits:3")
    found = iqattack.defended(run, "bits:3", model, adaptive=other)
    most = [max(row.gain_not_adaptive, row.gain_adaptive) for row in found.images]
    assert found.gain_worst.value == pytest.approx(np.mean(most))
    assert found.gain_worst.interval == bootstrap_interval(mean_gain, np.array(most))
    assert found.left_worst.value == pytest.approx(np.mean(most) / found.gain.value)
    alone = iqattack.defended(run, "bits:3", model)
    assert (alone.gain_worst, alone.left_worst, alone.note) == (None, None, None)


def test_an_adaptive_attack_that_gains_less_is_said_to_have_failed(attacked, model, monkeypatch):
    run, other = attacked(), attacked("adaptive", "bits:3")
    judged, adaptive = behind._gain, {result.image: result for result in other.results}

    def weaker(which, result, before, after):
        gain = judged(which, result, before, after)
        return -0.5 if result == adaptive[result.image] else gain

    monkeypatch.setattr(behind, "_gain", weaker)
    found = iqattack.defended(run, "bits:3", model, adaptive=other)
    assert found.gain_worst == found.gain_not_adaptive
    assert "the adaptive attack gains −0.500, less than " in found.note
    assert "judge it by the worst of both" in found.note
    monkeypatch.undo()
    same = iqattack.defended(run, "bits:8", model, adaptive=attacked("same", "bits:8"))
    assert same.gain_adaptive == same.gain_not_adaptive
    assert same.note is None


@pytest.mark.parametrize(
    ("defence", "alone", "beside"),
    [("bits:3", 2, 3), ("round:10", 1, 2), ("score-noise:2", 1, 2), ("bits:3+round:10", 3, 4),
     ("noise:20", 2 * 3 + 1, 3 * 3 + 1), ("noise:20+round:10", 2 * 3 + 1, 3 * 3 + 1)],
)  # fmt: skip
def test_queries_of_an_image(attacked, model, defence, alone, beside):
    run, other = attacked(queries=5), attacked("adaptive", defence, queries=5)
    for expected, given in ((alone, None), (beside, other)):
        before = model.function.images
        found = iqattack.defended(run, defence, model, adaptive=given, keys=3)
        assert model.function.images - before == found.queries == 5 * expected


def test_behind_a_random_defence_other_draws_judge(attacked, model):
    run, other = attacked(), attacked("adaptive", "noise:20")
    before = model.function.images
    found = iqattack.defended(run, "noise:20", model, adaptive=other, keys=3)
    assert model.function.images - before == found.queries == 5 * (1 + 3 * 3)
    judged = [defend(model, "noise:20", key=key) for key in (1, 2, 3)]
    both = zip(found.images, pictures(run).values(), pictures(other).values(), strict=True)
    for row, first, second in both:
        for (clean, picture), gain in ((first, row.gain_not_adaptive), (second, row.gain_adaptive)):
            pair = torch.stack([clean, picture])
            moved = [float(torch.as_tensor(judge(pair)).diff()) for judge in judged]
            assert gain == pytest.approx(np.mean(moved) / 255.0, abs=1e-12)
    # The adaptive run kept pictures for the draws that they had.
    assert found.gain_adaptive.value < found.gain_adaptive_reported.value


def test_a_defence_that_tells_other_scores_is_judged_by_the_model(attacked, model):
    run, other = attacked(), attacked("adaptive", "round:10")
    found = iqattack.defended(run, "round:10", model, adaptive=other)
    assert [row.gain_not_adaptive for row in found.images] == [r.gain for r in run.results]
    assert found.clean_distance.value > 0.0
    for row, (clean, picture) in zip(found.images, pictures(other).values(), strict=True):
        moved = float(model(picture[None]) - model(clean[None])) / 255.0
        assert row.gain_adaptive == pytest.approx(moved, abs=1e-12)
    assert found.queries == 10
    assert found.ssim_clean_defended == 1.0


def test_what_it_costs_in_agreement_with_opinion(photos, attacked, model, tmp_path):
    table = tmp_path / "mos.csv"
    mos = [3.0, 1.0, 2.0, 5.0, 4.0]
    table.write_text("image,mos\n" + "".join(f"{k}.png,{m}\n" for k, m in enumerate(mos)))
    found = iqattack.defended(attacked(mos=table), "bits:1", model)
    rows = found.images
    assert [row.mos for row in rows] == mos
    assert found.srocc_mos == srocc([r.score_clean for r in rows], mos)
    assert found.srocc_mos_defended == srocc([r.score_clean_defended for r in rows], mos)
    change = np.array([r.score_clean_defended - r.score_clean for r in rows]) / 255.0
    assert found.clean_change.value == pytest.approx(change.mean())
    assert found.clean_distance.value == pytest.approx(np.abs(change).mean())


def test_a_low_score_may_be_the_better_one(photos, tmp_path):
    worse = iqattack.wrap(
        lambda batch: batch.double().mean((1, 2, 3)),
        name="darkness",
        score_range=(0.0, 255.0),
        lower_better=True,
    )
    run = iqattack.attack(photos, worse, attack="square", constraint="linf:3", queries=20,
                          objective="up", out=tmp_path / "run")  # fmt: skip
    found = iqattack.defended(run, "bits:4", worse)
    rows = found.images
    change = [(r.score_clean - r.score_clean_defended) / 255.0 for r in rows]
    assert found.clean_change.value == pytest.approx(np.mean(change))
    hidden = defend(worse, "bits:4")
    scores = [torch.as_tensor(hidden(torch.stack(pair))) for pair in pictures(run).values()]
    moved = [-float(pair.diff()) / 255.0 for pair in scores]
    assert [row.gain_not_adaptive for row in rows] == pytest.approx(moved, abs=1e-12)
    assert found.gain.value > 0


def test_no_run_is_changed_and_rows_are_written(attacked, model, tmp_path):
    run = attacked()
    before = {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()}
    found = iqattack.defended(run.folder, "crop:0.5:2", model, keys=2, out=tmp_path / "rows.csv")
    assert {p: p.read_bytes() for p in run.folder.rglob("*") if p.is_file()} == before
    lines = (tmp_path / "rows.csv").read_text().splitlines()
    assert lines[0].startswith("image,mos,score_clean,")
    assert [line.split(",")[0] for line in lines[1:]] == [row.image for row in found.images]
    assert found.ssim_clean_defended is None  # a crop has another size


def test_runs_of_other_models_are_refused(photos, tmp_path):
    """That differ in direction, in the model's files, or in how images are prepared."""
    (tmp_path / "model.py").write_text(MODEL)
    spec = f"{tmp_path / 'model.py'}:load"

    def attack(name, defence=None, **options):
        given: dict[str, Any] = {
            "attack": "noise",
            "constraint": "linf:3",
            "queries": 6,
            "objective": "up",
        }
        return iqattack.attack(photos, spec, out=tmp_path / name, defence=defence, **given,
                               **options)  # fmt: skip

    run, fits = attack("run"), attack("fits", "bits:3")
    others = {
        "lower scores are better": attack("flipped", "bits:3", lower_better=True),
        "its input is size=8x6, but ": attack("input", "bits:3", input="size=8x6"),
    }
    (tmp_path / "model.py").write_text(MODEL.replace("double", "float"))
    others["its model's model.py differs from that of"] = attack("changed", "bits:3")
    (tmp_path / "model.py").write_text(MODEL)
    assert iqattack.defended(run, "bits:3", adaptive=fits).gain_adaptive is not None
    for part, other in others.items():
        with pytest.raises(RunError) as raised:
            iqattack.defended(run, "bits:3", adaptive=other)
        assert part in str(raised.value)
        assert str(other.folder) in str(raised.value)
        assert "\n" not in str(raised.value)


# -- bad input ------------------------------------------------------------------------------------


def test_runs_that_do_not_fit(attacked, model, brightness, tmp_path):
    run, other = attacked(), attacked("adaptive", "bits:3")

    def says(part, run=run, defence="bits:3", error=RunError, **options):
        with pytest.raises(error) as raised:
            iqattack.defended(run, defence, options.pop("model", model), **options)
        assert part in str(raised.value)
        assert "\n" not in str(raised.value)

    before = model.function.images
    says("unknown defence 'x'", defence="x", error=InputError)
    for keys in (0, 1001):
        says(f"keys {keys}: expected 1 to 1,000", keys=keys, error=InputError)
    says("model's name is brightness, not", model=defend(brightness, "bits:3"))
    says("its model is already defended", run=other, model=defend(model, "bits:3"))
    says("expected 'brightness, defended by bits:4'", defence="bits:4", adaptive=other)
    says("expected 'brightness, defended by bits:3'", adaptive=run)
    assert model.function.images == before
    short = attacked("short", "bits:3", queries=20)
    says("its queries is 20, but ", adaptive=short)
    limited = attacked("limited", "bits:3", limit=4)
    says("has no result for 4.png", adaptive=limited)
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(run.images / "0.png")
    says("the saved image is not the one that was scored", error=InputError)
    shutil.rmtree(run.folder)
    says("no such run", run=run.folder)
