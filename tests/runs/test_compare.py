from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from iqattack.errors import InputError, RunError
from iqattack.images import ImageSet
from iqattack.models import wrap
from iqattack.runs import Run, compare, execute


@pytest.fixture
def make(tmp_path, settings, brightness, images):
    def run(name, images=images, scorer=brightness, **changes):
        with Run.create(tmp_path / name, settings(**changes), scorer) as made:
            execute(made, images, scorer)
        return Run.open(made.folder)

    return run


def test_side_by_side(make):
    runs = [make("noise"), make("square", attack="square"), make("nes", attack="nes")]
    comparison = compare(runs)
    assert (comparison.images, comparison.left_out) == (5, 0)
    first, *others = comparison.rows
    assert (first.attack, first.difference, first.p, first.p_holm) == ("noise", None, None, None)
    for run, row in zip(runs, comparison.rows, strict=True):
        summary = run.summary()
        assert row.gain.value == summary.mean_gain
        assert row.gain.interval == summary.scores.intervals["mean_gain"]
        assert row.r.value == summary.scores.by_range.r
        assert row.crossing_area.value == summary.scores.crossing.area
        assert row.srocc.value == summary.scores.clean_attacked.srocc
        assert (row.ssim.value, row.queries.value) == (summary.means.ssim, summary.means.queries)
        assert (row.srocc_drop, row.differs) == (None, "")
    base = np.array([r.gain for r in runs[0].results])
    for run, row in zip(runs[1:], others, strict=True):
        difference = np.array([r.gain for r in run.results]) - base
        assert row.difference.value == pytest.approx(difference.mean())
        low, high = row.difference.interval
        assert difference.min() <= low <= row.difference.value <= high <= difference.max()
        assert row.p == stats.wilcoxon(difference).pvalue
    smaller, larger = sorted(others, key=lambda row: row.p)
    assert smaller.p_holm == min(1.0, 2 * smaller.p)
    assert larger.p_holm == max(larger.p, smaller.p_holm)


def test_a_run_does_not_differ_from_one_alike(make):
    row = compare([make("one"), make("other")]).rows[1]
    assert (row.difference.value, row.difference.interval) == (0.0, (0.0, 0.0))
    assert (row.p, row.p_holm) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "changes", "reason"),
    [
        ("seed", {"seed": 3}, "seed is 3, not 0"),
        ("budget", {"queries": 9}, "budget is 9, not 12"),
        ("constraint", {"constraint": "linf:5"}, "constraint is linf:5, not linf:3"),
        ("floor", {"floor": "ssim:0.9"}, "floor is ssim:0.9, not none"),
        ("objective", {"objective": "up"}, "objective is up, not rank"),
    ],
)
def test_what_makes_it_unfair(make, name, changes, reason):
    runs = [make("a"), make("b", **changes)]
    with pytest.raises(RunError, match=f"b: an unfair comparison with .*a: {reason}"):
        compare(runs)
    with pytest.raises(RunError, match=f"--allow {name}"):
        compare(runs, allow=["mos"])
    assert compare(runs, allow=[name]).rows[1].differs == reason


def test_two_reasons_are_told_at_once(make):
    runs = [make("a"), make("b", seed=3, queries=9)]
    with pytest.raises(RunError, match=r"budget is 9.*; seed is 3.*--allow budget,seed, or use"):
        compare(runs)
    with pytest.raises(RunError, match=r"an unfair comparison with .*a: seed is 3, not 0"):
        compare(runs, allow=["budget"])


def test_other_images_other_pixels(make, images, photos):
    a = make("a")
    fewer = make("fewer", images=ImageSet(images.entries[1:]))
    with pytest.raises(RunError, match=r"images differ, such as 0\.png"):
        compare([a, fewer])
    paired = compare([a, fewer], allow=["images"])
    assert (paired.images, paired.left_out) == (4, 1)
    gains = [row.gain for row in a.results[1:]]
    assert paired.rows[0].gain.value == pytest.approx(np.mean(gains))
    Image.fromarray(np.full((20, 24, 3), 99, dtype=np.uint8)).save(photos / "4.png")
    with pytest.raises(RunError, match=r"pixels of images differ, such as 4\.png"):
        compare([a, make("changed")])
    first = make("first", images=ImageSet(images.entries[:1]))
    with pytest.raises(RunError, match="no image is finished in all of them"):
        compare([first, fewer], allow=["images"])


def test_one_model_with_two_ranges(make, brightness):
    other = wrap(brightness, name="brightness", score_range=(0, 300), lower_better=False)
    runs = [make("a"), make("b", scorer=other)]
    with pytest.raises(RunError, match=r"range is \(0\.0, 300\.0\), not \(0\.0, 255\.0\)"):
        compare(runs)
    another = wrap(brightness, name="another", score_range=(0, 300), lower_better=False)
    assert compare([runs[0], make("c", scorer=another)]).rows[1].model == "another"


def test_opinions_must_agree(make, images):
    def rated(*mos):
        pairs = zip(images, mos, strict=True)
        return ImageSet(tuple(replace(entry, mos=float(value)) for entry, value in pairs))

    runs = [make("a", images=rated(1, 2, 3, 4, 5)), make("b", images=rated(1, 2, 3, 4, 6))]
    again = make("c", images=rated(1, 2, 3, 4, 5))
    assert compare([runs[0], again]).rows[0].srocc_drop is not None
    with pytest.raises(RunError, match=r"mos differs, such as for 4\.png"):
        compare(runs)


def test_at_a_budget_of_all(make):
    runs = [make("long", queries=20), make("short", queries=8)]
    cut, whole = compare(runs, queries=8).rows
    assert (cut.queries.value, cut.gain) == (8, whole.gain)
    assert (cut.ssim, whole.p) == (None, 1.0)
    assert whole.ssim is not None
    with pytest.raises(InputError, match="queries 9: expected 1 to 8, the budget of"):
        compare(runs, queries=9)


def test_images_that_failed_are_left_out(make, photos):
    a = make("a")
    (photos / "1.png").write_bytes(b"")
    comparison = compare([a, make("b")])
    assert (comparison.images, comparison.left_out) == (4, 1)


def test_wrong_use(make):
    run = make("run")
    with pytest.raises(InputError, match="1 run to compare: expected two or more"):
        compare([run])
    with pytest.raises(InputError, match="unknown difference 'sed': did you mean 'seed'"):
        compare([run, make("other")], allow=["sed"])
