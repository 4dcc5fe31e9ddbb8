"""What may be said of a model: in words, from runs and from records of them."""

import html
import json
import math
import re
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

import iqattack
from iqattack.cli.tables import show_summary
from iqattack.images import read_image
from iqattack.probing import Check
from iqattack.runs.verdict import Spread, doubts_of, statements_of

RANGE = (0.0, 255.0)
CHECKED = Check(images=("0.png", "1.png"), queries=8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Twelve flat pictures with a little texture, the darkest first."""
    folder = tmp_path_factory.mktemp("verdict") / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(12):
        pixels = rng.integers(15 + 18 * k, 30 + 18 * k, (24, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k:02}.png")
    return folder


def mean(images):
    return images.double().mean((1, 2, 3))


def attack(photos, out, function=mean, score_range=RANGE, **options):
    model = iqattack.wrap(function, score_range=score_range, lower_better=False)
    options = {"attack": "noise", "constraint": "linf:3", "queries": 24, **options}
    return iqattack.attack(photos, model, out=out, **options)


UNSEEN = dict.fromkeys(("jod", "jod_least", "jod_below", "jod_images", "flip"))


@pytest.fixture(scope="module")
def summary(photos, tmp_path_factory):
    """Of a run whose JOD is not known."""
    summary = attack(photos, tmp_path_factory.mktemp("verdict") / "run").summary()
    means = summary.means.model_copy(update=UNSEEN)
    return summary.model_copy(update={"means": means, "visibility": None})


def changed(summary, *, gain=None, srocc=None, interval=None, n=None, means=None, **fields):
    scores = summary.scores
    pair = scores.clean_attacked
    if srocc is not None:
        pair = replace(pair, srocc=srocc)
    if n is not None:
        pair = replace(pair, n=n)
        fields |= {"attacked": n, "images": n}
        means = {"ssim_images": n, **(means or {})}
    intervals = dict(scores.intervals)
    if interval is not None:
        intervals["clean_attacked.srocc"] = interval
    scores = replace(scores, clean_attacked=pair, intervals=intervals)
    if gain is not None:
        intervals["mean_gain"] = gain[1:]
        scores = replace(scores, mean_gain=gain[0])
    fields |= {"scores": scores, "means": summary.means.model_copy(update=means or {})}
    return summary.model_copy(update=fields)


def test_one_sentence_with_numbers_and_intervals(summary):
    verdict = changed(
        summary,
        gain=(0.2577, 0.21, 0.304),
        srocc=-0.549,
        interval=(-0.81, -0.12),
        n=20,
        means={"ssim": 0.9516, "jnd_violation": 0.207},
    ).verdict
    assert (verdict.kind, verdict.needed, verdict.doubts) == ("reversed", None, ())
    assert verdict.text == (
        "With at most 24 queries per image, the attack moved scores by 25.8 % of their range (95 % "
        "interval 21.0 … 30.4 %) on average over 20 images; the ranking of the images was "
        "reversed (SROCC −0.55, 95 % interval −0.81 … −0.12), and the change is small by SSIM "
        "(0.952; 20.7 % of the pixels changed by more than 0.38 of the just-noticeable difference)."
    )


@pytest.mark.parametrize(
    ("n", "srocc", "interval", "kind", "words"),
    [
        (1, math.nan, (math.nan, math.nan), "none", "1 image has no ranking (at least 10 are"),
        (2, -1.0, (-1.0, -1.0), "none", "2 images have no ranking (at least 10 are needed)"),
        (
            6,
            -0.71,
            (-1.0, 0.09),
            "few",
            "6 images are too few for a statement about their ranking (SROCC −0.71, 95 % interval "
            "−1.00 … 0.090): at least 10 are needed, and",
        ),
        (30, 0.97, (0.9, 0.99), "kept", "stayed almost unchanged (SROCC 0.97, 95 %"),
        (30, 0.85, (0.7, 0.9), "slight", "changed a little"),
        (30, 0.5, (0.2, 0.7), "strong", "changed a lot"),
        (30, 0.0, (-0.3, 0.3), "lost", "the ranking of the images was lost"),
        (30, 0.1, (-0.6, 0.39), "lost", "the ranking of the images was lost (SROCC 0.10"),
        (30, 0.1, (-0.6, 0.69), "lost", "the ranking of the images changed a lot or was lost (SR"),
        (30, -0.3, (-0.6, 0.1), "lost", "the ranking of the images was lost (SROCC −0.30, 95 % in"),
        (
            30,
            0.5,
            (-0.5, 0.9),
            "open",
            "the effect on the ranking of the images is undecided (SROCC",
        ),
        (30, math.nan, (math.nan, math.nan), "lost", "was lost (all attacked scores are equal)"),
    ],
)
def test_words_of_the_ranking(summary, n, srocc, interval, kind, words):
    verdict = changed(summary, n=n, srocc=srocc, interval=interval).verdict
    assert verdict.kind == kind
    assert words in verdict.text
    assert ("reversed" in verdict.text) == (kind == "reversed")
    least = ("at least", "at least about") if verdict.needed else ()
    assert any(f"{words} {verdict.needed} " in verdict.text for words in least) == (
        kind in ("none", "few", "open")
    )


@pytest.mark.parametrize(
    ("ssim", "word"),
    [
        (1.0, "is tiny"),
        (0.97, "is small"),
        (0.9, "is moderate"),
        (0.5, "is large"),
        (None, "10.0 %"),
    ],
)
def test_words_of_the_change(summary, ssim, word):
    text = changed(summary, means={"ssim": ssim, "jnd_violation": 0.1}).verdict.text
    assert word in text.rpartition("SROCC")[2]


@pytest.mark.parametrize(
    ("jods", "words"),
    [
        ((10.0, 10.0, 12), "no difference is visible (JOD 10)."),
        (
            (9.8312, 9.606, 12),
            "the attacked images have JOD 9.83 on average, 9.61 at least (10: no",
        ),
        ((9.9996, 9.9952, 12), "JOD 9.9996 on average, 9.9952 at least"),
        (
            (9.5, 9.0, 11),
            "JOD 9.50 on average over 11 images that could be measured, 9.00 at least",
        ),
        ((9.5, 9.5, 1), "the attacked image has JOD 9.50 over 1 image that could be measured"),
    ],
)
def test_jod_in_place_of_ssim(summary, jods, words):
    known = dict(zip(("jod", "jod_least", "jod_images"), jods, strict=True))
    text = changed(summary, means=known).verdict.text
    assert words in text
    assert "SSIM" not in text


def test_what_is_not_measured_is_not_in_it(summary, photos, tmp_path):
    """A cut budget has no pixels, one image no interval, a run under way not all images."""
    gone = dict.fromkeys(("ssim", "jnd_violation"))
    assert "cannot be measured here" in changed(summary, means=gone).verdict.text
    cut = changed(summary.model_copy(update={"budget": 6}), means=gone)
    assert "known for the full budget only" in cut.verdict.text
    assert "interval" not in changed(summary, n=1, srocc=math.nan).verdict.text
    text = summary.model_copy(update={"failed": 3, "pending": 2, "images": 17}).verdict.text
    assert "over 12 of 17 images (3 failed, 2 pending);" in text


def test_failures_are_counted_in_it(photos, tmp_path):
    def picky(images):
        if images.double().mean() < 40:
            raise RuntimeError("too dark")
        return mean(images)

    run = attack(photos, tmp_path / "run", picky, batch=1, retry=iqattack.Retry(0))
    summary = run.summary()
    assert summary.failed >= 1
    expected = f"over {summary.attacked} of 12 images ({summary.failed} failed)"
    assert expected in summary.verdict.text


def test_a_model_that_answers_the_same_to_everything(photos, tmp_path):
    for name, function in (
        ("equal", lambda images: 0 * mean(images) + 50),
        ("nearly", lambda images: 50 + 1e-9 * mean(images)),
    ):
        summary = attack(photos, tmp_path / name, function).summary()
        assert (summary.constant, summary.verdict.kind) == (True, "constant")
        assert "nothing can be said about its robustness" in summary.verdict.text
        assert "SROCC" not in summary.verdict.text
        assert summary.findings[0].startswith("all 12 clean scores are equal")
        page = iqattack.report(tmp_path / name).read_text(encoding="utf-8")
        assert "they say nothing about robustness, see the verdict" in page
        shown = StringIO()
        console = Console(file=shown, width=200)
        show_summary(summary, tmp_path / name, console)
        said = shown.getvalue()
        assert said.startswith("The model gave the same score to all of 12 images: nothing can be")
        assert "These say nothing about robustness: see above." in said


def test_noise_larger_than_the_gain(photos, tmp_path):
    draws = torch.Generator().manual_seed(0)

    def noisy(images):
        return mean(images) + 5 * torch.randn(len(images), generator=draws).double()

    summary = attack(photos, tmp_path / "run", noisy, batch=1).summary()
    verdict = summary.verdict
    assert verdict.kind == "noise"
    assert verdict.text.startswith("Nothing can be said about the model's robustness: its scores")
    assert "noise" in verdict.doubts
    # The same gain with a tenth of the noise is one, and the noise is stated beside it.
    less = summary.check.model_copy(update={"noise": 0.1})
    verdict = changed(summary, gain=(0.1, 0.09, 0.11), check=less).verdict
    assert verdict.kind not in ("noise", "constant", "batch")
    assert "Read this with care: noise alone gains up to 0.099 % of the range" in verdict.text


def test_scores_that_depend_on_the_batch_by_more_than_they_moved(summary):
    check = CHECKED.model_copy(update={"batch": 51.0})
    verdict = changed(summary, gain=(0.19, 0.18, 0.2), check=check).verdict
    assert (verdict.kind, verdict.doubts) == ("batch", ("batch",))
    assert "scores depend on the batch, by 20.00 % of their range" in verdict.text
    assert "--batch 1" in verdict.text
    less = CHECKED.model_copy(update={"batch": 25.5})
    assert changed(summary, gain=(0.2, 0.18, 0.22), check=less).verdict.kind == "batch"
    verdict = changed(summary, gain=(0.21, 0.18, 0.22), check=less).verdict
    assert verdict.kind != "batch"
    assert "scores depend on the batch, by 10.00 % of the range" in verdict.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("workers", "scores differ between the workers' models, by 20.00 % of their range"),
        (
            "drift",
            "scores of one image drifted during the run, by 20.00 % of their range",
        ),
    ],
)
def test_scores_that_another_process_or_time_makes(summary, name, words):
    check = CHECKED.model_copy(update={name: 51.0})
    verdict = changed(summary, gain=(0.19, 0.18, 0.2), check=check).verdict
    assert (verdict.kind, verdict.doubts) == (name, (name,))
    assert words in verdict.text
    less = CHECKED.model_copy(update={name: 25.5})
    verdict = changed(summary, gain=(0.21, 0.18, 0.22), check=less).verdict
    assert verdict.kind == "kept"
    assert "by 10.00 % of the range" in verdict.text.partition("Read this with care")[2]


def test_candidates_without_a_score(photos, tmp_path):
    """Some, and all: nothing is known of how those would have moved it."""
    clean = {read_image(path).pixels.numpy().tobytes() for path in photos.iterdir()}

    def model(share):
        def score(images):
            known = [i.numpy().tobytes() in clean or i.sum() % 10 >= 10 * share for i in images]
            return mean(images).where(torch.tensor(known), float("nan"))

        return score

    some = attack(photos, tmp_path / "some", model(0.3)).summary()
    assert some.nonfinite == pytest.approx(0.3, abs=0.1)
    assert "nonfinite" in some.verdict.doubts and not some.verdict.silent
    phrase = f"the model had no finite score for {100 * some.nonfinite:.1f} % of the candidates"
    assert phrase in some.verdict.text
    assert any(phrase in finding for finding in some.findings)
    run = attack(photos, tmp_path / "all", model(1.0))
    none = run.summary()
    assert (none.nonfinite, none.verdict.kind) == (1.0, "nonfinite")
    assert "for 100.0 % of the attack's candidates it gave no finite score" in none.verdict.text
    assert "unmoved" not in none.verdict.doubts  # it saw none of them
    assert iqattack.evaluate(run, queries=5).verdict.kind == "nonfinite"


@pytest.mark.parametrize(
    ("rank", "n", "interval", "doubted"),
    [
        (-1.0, 8, (math.nan, math.nan), True),
        (-0.7, 8, (-1.0, 0.2), True),
        (-0.69, 8, (-1.0, 0.2), False),  # as one of 30 unrelated sets has it
        (-0.69, 19, (-0.9, 0.01), False),
        (-0.5, 20, (-0.8, 0.01), True),
        (-0.5, 12, (-0.8, -0.01), True),
        (-1.0, 7, (-1.0, -1.0), False),  # too few
        (-0.49, 8, (-1.0, -0.1), False),
        (-0.3, 30, (-0.6, -0.01), True),
        (-0.3, 30, (-0.6, 0.0), False),
        (0.9, 30, (0.8, 0.95), False),
        (math.nan, 30, (math.nan, math.nan), False),
    ],
)
def test_scores_against_the_opinions(summary, rank, n, interval, doubted):
    """As of a table that has DMOS where MOS is expected."""
    scores = summary.scores
    scores = replace(
        scores,
        clean_mos=replace(scores.clean_attacked, srocc=rank, n=n),
        intervals={**scores.intervals, "clean_mos.srocc": interval},
    )
    found = doubts_of(summary.model_copy(update={"scores": scores}))
    assert [doubt.about for doubt in found] == (["direction"] if doubted else [])
    if doubted:
        assert f"(SROCC −{-rank:.2f})" in found[0].short
        assert "check --lower-better, or" in found[0].long
        assert "--mos-columns dmos=" in found[0].long


def test_scores_that_are_made_of_the_batch(photos, tmp_path):
    """Less the mean of the batch: no ranking of them is the model's."""

    def relative(images):
        return mean(images) - mean(images).mean() + 50

    summary = attack(photos, tmp_path / "run", relative, batch=12).summary()
    assert summary.verdict.kind == "batch"
    assert "--batch 1" in summary.verdict.text


def test_scores_beyond_the_range_after_the_attack(photos, tmp_path):
    """All clean scores are within, and the range ends where the brightest of them is."""
    clean = attack(photos, tmp_path / "free").summary().spread.clean
    run = attack(photos, tmp_path / "run", score_range=(0.0, clean[1]), objective="up")
    summary = run.summary()
    before, after = summary.spread.outside
    assert (before, after) == (0, 0)  # the one at its end has nowhere to go
    run = attack(photos, tmp_path / "near", score_range=(0.0, clean[1] + 0.01), objective="up")
    summary = run.summary()
    assert summary.spread.outside == (0, 1)
    assert summary.spread.attacked[1] > clean[1] + 0.01
    assert "range" in summary.verdict.doubts
    phrase = "0 clean and 1 attacked scores of 12 images lie outside the score range 0 to 21"
    assert f"Read this with care: {phrase}" in summary.verdict.text
    (finding,) = (f for f in summary.findings if phrase in f)
    assert finding.endswith("attack again with the model's range, --score-range")
    written = json.loads((run.folder / "summary.json").read_text(encoding="utf-8"))
    assert written["verdict"]["text"] == summary.verdict.text
    assert finding in written["findings"]
    page = iqattack.report(run).read_text(encoding="utf-8")
    assert page.count(phrase) == 1  # among the concerns


def test_rounded_scores(photos, tmp_path):
    coarse = attack(photos, tmp_path / "a", lambda images: 10.0 * (mean(images) // 10)).summary()
    assert coarse.spread.step == 10.0
    assert "rounded" in coarse.verdict.doubts
    assert any("scores differ by multiples of 10, 3.9 % of the range" in f for f in coarse.findings)
    few = attack(photos, tmp_path / "b", lambda images: 100.0 * (mean(images) // 100)).summary()
    assert few.spread.distinct == 3
    assert any("the clean scores of 12 images take only 3 values" in f for f in few.findings)
    fine = attack(photos, tmp_path / "c", lambda images: (8 * mean(images)).round() / 8).summary()
    assert "rounded" not in fine.verdict.doubts


def test_a_model_that_no_query_moves(photos, tmp_path):
    summary = attack(photos, tmp_path / "run", lambda images: mean(images).round() // 40).summary()
    assert summary.unchanged == summary.attacked
    assert "unmoved" in summary.verdict.doubts
    assert "the attack moved no score of 12 images in the wanted direction" in summary.verdict.text
    assert summary.check.still
    assert "no score moved at all, perhaps due to the model's input" in summary.verdict.text
    assert ", and no image was changed. Read" in summary.verdict.text


def test_scores_that_moved_the_other_way_only(photos, tmp_path):
    """Neither the model's input nor its rounding hid the changes."""
    seen = set()

    def best_at_first(images):
        found = []
        for image in images:
            key, score = image.numpy().tobytes(), float(image.double().mean())
            clean = len(seen) < 12 or key in seen
            if len(seen) < 12:
                seen.add(key)
            found.append(score if clean else score - 1.0)
        return torch.tensor(found)

    options = {"objective": "up", "batch": 1, "constraint": "linf:1", "queries": 24}
    run = attack(photos, tmp_path / "run", best_at_first, **options)
    summary = run.summary()
    assert summary.unchanged == summary.attacked == 12
    assert not summary.check.still
    assert "unmoved" in summary.verdict.doubts
    assert "Read this with care: no score moved in the wanted direction" in summary.verdict.text
    assert "rounding" not in summary.verdict.text
    assert not any("at all" in finding for finding in summary.findings)


def test_images_that_were_not_attacked(photos, tmp_path):
    """Beyond the end of the range: no candidate was sent, and no ranking was kept."""

    def above(images):
        return 1000.0 + mean(images)

    summary = attack(photos, tmp_path / "all", above, objective="up").summary()
    assert max(row.queries for row in iqattack.open_run(tmp_path / "all").results) <= 5
    verdict = summary.verdict
    assert (verdict.kind, verdict.silent, verdict.short) == ("unattacked", True, "too few attacked")
    assert verdict.text.startswith(
        "Nothing can be said about the model's robustness: 12 of 12 images were not attacked, as "
        "the clean score lay at or beyond the target end of the score range 0 to 255."
    )
    assert "unmoved" not in verdict.doubts
    clean = sorted(row.score_clean for row in iqattack.open_run(tmp_path / "all").results)
    for above_end, kind in ((6, "kept"), (7, "unattacked")):
        end = (clean[-above_end] + clean[-above_end - 1]) / 2 - 1000.0
        out = tmp_path / f"{above_end}"
        verdict = attack(photos, out, score_range=(0.0, end), objective="up").summary().verdict
        assert verdict.kind == kind
        words = f"{above_end} of 12 images were" if verdict.silent else f"{above_end} of them were"
        assert f"{words} not attacked" in verdict.text


def test_a_budget_of_the_clean_images_alone(photos, tmp_path):
    """In the run, or cut to it afterwards."""
    once = attack(photos, tmp_path / "once", queries=1).summary()
    cut = iqattack.evaluate(attack(photos, tmp_path / "run").folder, queries=1)
    for summary in (once, cut):
        assert summary.verdict.kind == "unattacked"
        assert "with 1 query per image, only the clean images of 12 images" in summary.verdict.text


def test_scores_that_hardly_differ(photos, tmp_path):
    def nearly(images):
        return 50.0 + 3e-5 * mean(images)

    summary = attack(photos, tmp_path / "run", nearly).summary()
    assert not summary.constant
    assert (summary.verdict.kind, summary.verdict.silent) == ("flat", True)
    low, high = summary.spread.clean
    text = f"the clean scores of 12 images, {low:.6g} to {high:.6g}, fill only 0.002"
    assert text in summary.verdict.text
    assert f"the clean scores, {low:.6g} to {high:.6g}, fill" in summary.findings[0]


def test_how_many_images_have_an_ssim(summary):
    verdict = changed(summary, means={"ssim": 0.9995, "ssim_images": 1}).verdict
    assert "tiny by SSIM (1.000 over 1 image that could be measured; " in verdict.text
    assert summary.means.ssim_images == 12
    assert "too small" not in summary.verdict.text


def test_all_of_those_done_are_not_all(photos, tmp_path):
    summary = attack(photos, tmp_path / "run", lambda images: 0 * mean(images) + 50).summary()
    text = summary.model_copy(update={"attacked": 2, "pending": 10}).verdict.text
    assert "the same score to all of 2 of 12 images (10 pending): nothing" in text


def test_a_noisy_model_on_one_image_has_no_spread(summary):
    check = CHECKED.model_copy(update={"noise": 50.0})
    text = changed(summary, n=1, srocc=math.nan, check=check).verdict.text
    assert "its scores are noisy" in text
    assert "clean scores have" not in text


def test_dependence_on_the_batch_without_a_pair(photos, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for k in range(10):
        with Image.open(photos / f"{k:02}.png") as image:
            image.resize((24 + k, 20)).save(folder / f"{k}.png")
    summary = attack(folder, tmp_path / "run").summary()
    assert summary.check.unpaired
    assert summary.verdict.doubts == ("unpaired",)
    assert summary.verdict.text.endswith("care: dependence on the batch was not measured.")
    assert any("for lack of two images of equal size" in found for found in summary.findings)
    alone = attack(folder, tmp_path / "alone", batch=1).summary()  # nothing to depend on
    assert alone.verdict.doubts == ()


@pytest.mark.parametrize("options", [{"check": False}, {"queries": 12}])
def test_a_run_without_a_check_says_so(photos, tmp_path, summary, options):
    run = attack(photos, tmp_path / "run", **options)
    unchecked = run.summary()
    assert unchecked.verdict.doubts == ("unchecked",)
    assert unchecked.verdict.text.endswith("noise and dependence on the batch were not measured.")
    assert "unchecked" not in summary.verdict.doubts
    failed = summary.model_copy(update={"check": Check(queries=3, failed="no answer")})
    assert failed.verdict.doubts == ("unchecked",)


def test_it_is_the_same_everywhere_and_verified(photos, tmp_path, capsys):
    run = attack(photos, tmp_path / "run")
    text = run.summary().verdict.text
    assert json.loads((run.folder / "summary.json").read_text())["verdict"]["text"] == text
    page = html.unescape(re.sub("<[^>]*>", "", iqattack.report(run).read_text(encoding="utf-8")))
    said = statements_of(run.summary())
    for part in (said.effect, said.seen):  # two lines of the page, each beginning with a capital
        assert part in text
        assert part[1:] in page
    assert iqattack.evaluate(run.folder).verdict.text == text


def test_spread_in_closed_form():
    nan = math.nan
    spread = Spread.of([1.0, 3.0, 3.0, nan], [0.0, 12.0, 5.0, 7.0], (0.5, 10.0))
    assert (spread.clean, spread.attacked) == ((1.0, 3.0), (0.0, 12.0))
    assert spread.deviation == pytest.approx(math.sqrt(8) / 3)
    assert (spread.distinct, spread.outside) == (2, (0, 2))
    nothing = Spread.of([nan], [nan], (0.0, 1.0))
    assert (nothing.distinct, nothing.outside, nothing.step) == (0, (0, 0), None)
    # What rounding leaves beyond an end is not outside.
    assert Spread.of([1.0 + 1e-9], [0.0], (0.0, 1.0)).outside == (0, 0)
