import csv
import json
from functools import partial

import numpy as np
import pytest
import torch

from iqattack.engine import Interrupted
from iqattack.errors import InputError, RunError
from iqattack.images import ImageSet, read_image
from iqattack.models import Traits, wrap
from iqattack.runs import COLUMNS, Callbacks, How, Run, execute, verify


def start(tmp_path, settings, scorer, images, name="run", **options):
    with Run.create(tmp_path / name, settings(), scorer) as run:
        execute(run, images, scorer, **options)
    return run


def files(run):
    """All bytes of a run that do not tell the time."""
    summary = json.loads((run.folder / "summary.json").read_text())
    del summary["session"], summary["created"]
    images = {path.name: path.read_bytes() for path in run.images.iterdir()}
    return images, (run.folder / "results.csv").read_text(), summary


def test_what_is_reported_is_what_was_saved(tmp_path, settings, brightness, images):
    run = start(tmp_path, settings, brightness, images)
    with (run.folder / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["image"] for row in rows] == [entry.name for entry in images]
    for row, entry in zip(rows, images, strict=True):
        clean = read_image(entry.path).pixels.double()
        saved = read_image(run.images / entry.png_name).pixels.double()
        assert float(row["score_clean"]) == clean.mean().item()
        assert float(row["score_adv"]) == saved.mean().item()
        moved = (saved.mean() - clean.mean()).item() * (1 if row["direction"] == "up" else -1)
        assert float(row["gain"]) == pytest.approx(moved / 255, abs=1e-12)
        assert float(row["linf"]) == (saved - clean).abs().max().item() <= 3
        assert (row["width"], row["height"], row["mos"]) == ("24", "20", "")
        assert (row["queries"], row["status"], row["attack"]) == ("12", "ok", "noise")


def test_same_seed_same_bytes_for_any_batch(tmp_path, settings, brightness, images):
    one = start(tmp_path, settings, brightness, images, "one", how=How(batch=1))
    many = start(tmp_path, settings, brightness, images, "many", how=How(batch=7))
    assert files(one) == files(many)


def test_an_interrupted_run_goes_on_to_the_same_bytes(tmp_path, settings, brightness, images):
    whole = start(tmp_path, settings, brightness, images, "whole")
    asked = 0

    def counted(batch):
        nonlocal asked
        asked += len(batch)
        return brightness(batch)

    scorer = wrap(counted, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    folder = tmp_path / "run"
    for stops in range(20):
        limit = asked + 7
        stop = Callbacks(stop=partial(lambda limit: asked >= limit, limit))
        with (Run.resume if stops else Run.create)(folder, settings(), scorer) as run:
            try:
                execute(run, images, scorer, how=How(batch=2), callbacks=stop)
                break
            except Interrupted:
                continue
    assert 5 < stops < 19
    assert asked == 5 * 12  # nothing was paid twice
    assert files(run) == files(whole)

    with Run.resume(folder, settings(), scorer) as again:
        execute(again, images, scorer)
    assert asked == 5 * 12
    assert files(again) == files(whole)
    assert again.last_session() == run.last_session()


def test_an_attacked_image_that_is_gone_is_made_again_at_no_query(
    tmp_path, settings, brightness, images
):
    run = start(tmp_path, settings, brightness, images)
    before, reported = files(run), []
    (run.images / "3.png").unlink()

    def silent(batch):
        raise AssertionError(f"asked for {len(batch)}")

    scorer = wrap(silent, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    with Run.resume(run.folder, settings(), scorer) as again:
        execute(
            again, images, scorer, callbacks=Callbacks(note=lambda *note: reported.append(note))
        )
    assert files(again) == before
    assert reported == [("3.png", "its attacked image is missing; it is made again from the log")]
    assert verify(again, brightness).ok


def test_one_bad_image_does_not_stop_the_others(tmp_path, settings, brightness, photos, images):
    good = (photos / "2.png").read_bytes()
    (photos / "2.png").write_bytes(good[:100])
    reported = []
    failed = Callbacks(failed=lambda image, reason: reported.append((image, reason)))
    run = start(tmp_path, settings, brightness, images, callbacks=failed)
    assert [row.image for row in run.results] == [entry.name for entry in images]
    bad = run.results[2]
    assert bad.status.startswith(f"failed: {photos / '2.png'}: is damaged or truncated")
    assert reported == [("2.png", bad.status.removeprefix("failed: "))]
    summary = run.summary()
    assert (summary.images, summary.attacked, summary.failed, summary.pending) == (5, 4, 1, 0)
    assert not (run.images / "2.png").exists()
    # Read by another process, the failure is known from results.csv.
    assert Run.open(run.folder).summary().failed == 1

    with Run.resume(run.folder, settings(), brightness) as again:
        execute(again, images, brightness)
    assert again.summary().failed == 1

    (photos / "2.png").write_bytes(good)
    with Run.resume(run.folder, settings(), brightness) as again:
        execute(again, images, brightness)
    assert again.summary().failed == 0
    assert again.results[2].status == "ok"


@pytest.mark.parametrize("created", [False, True])
def test_a_run_that_gets_nowhere_leaves_nothing(tmp_path, settings, images, created):
    scorer = wrap(lambda batch: [1.0, 2.0, 3.0], score_range=(0, 9), lower_better=False)
    if created:
        (tmp_path / "run").mkdir()
    with pytest.raises(InputError, match=r"returned list .*|returned shape \(3,\) for 1 image;"):
        start(tmp_path, settings, scorer, images)
    assert (tmp_path / "run").exists() == created
    assert not created or not list((tmp_path / "run").iterdir())


def test_scores_that_are_none_are_kept_where_somebody_else_made_them(
    tmp_path, settings, images, photos
):
    scorer = wrap(
        lambda batch: torch.full((len(batch),), torch.nan), score_range=(0, 9), lower_better=False
    )
    with pytest.raises(InputError, match=r"0\.png: .* gave it the score nan, expected a finite"):
        start(tmp_path, settings, scorer, images)
    assert not (tmp_path / "run").exists()  # nothing in it would be of use
    scorer.traits = Traits(concurrency=1)  # a service's may have cost money
    with pytest.raises(InputError, match=r"0\.png: .* gave it the score nan, expected a finite"):
        start(tmp_path, settings, scorer, images)
    run = Run.open(tmp_path / "run")
    assert {row.queries for row in run.results} == {1}
    assert all("the score nan" in row.status for row in run.results)


def test_a_function_that_scores_nothing_as_it_is_given_images_is_said_what_it_works_with(
    tmp_path, settings, images
):
    def score(image):  # (H, W, 3) in 0..255, and NaN for anything else
        return float(np.asarray(image).mean()) if np.shape(image)[-1] == 3 else float("nan")

    scorer = wrap(score, score_range=(0, 255), lower_better=False)
    with pytest.raises(InputError, match=r"it returns scores with --input nhwc,numpy,single"):
        start(tmp_path, settings, scorer, images)
    assert not (tmp_path / "run").exists()


def test_nothing_scored_leaves_nothing(tmp_path, settings, images):
    def broken(batch):
        raise ValueError("no weights")

    scorer = wrap(broken, score_range=(0, 9), lower_better=False)
    with pytest.raises(InputError, match="ValueError: no weights"):
        start(tmp_path, settings, scorer, images)
    assert not (tmp_path / "run").exists()


def test_a_model_that_breaks_later_keeps_what_was_paid(tmp_path, settings, brightness, images):
    asked = 0

    def fragile(batch):
        nonlocal asked
        asked += len(batch)
        if asked > 50:
            raise OSError("connection lost")
        return batch.double().mean((1, 2, 3))

    scorer = wrap(fragile, name="brightness", score_range=(0.0, 255.0), lower_better=False)
    run = start(tmp_path, settings, scorer, images, how=How(batch=1))
    failed = [row for row in run.results if row.failed]
    assert all("connection lost" in row.status for row in failed)
    assert 0 < len(failed) == sum(row.attempts for row in failed) < len(images)
    assert sum(row.queries for row in run.results) == 50
    assert asked == 50 + len(failed)
    with Run.resume(tmp_path / "run", settings(), brightness) as run:
        execute(run, images, brightness, how=How(batch=1))
    whole = start(tmp_path, settings, brightness, images, "whole")
    assert run.summary().attempts == len(failed)
    assert run.summary().queries == whole.summary().queries
    assert [row.model_copy(update={"attempts": 0}) for row in run.results] == whole.results
    assert files(run)[0] == files(whole)[0]


def test_a_running_run_can_be_read(tmp_path, settings, brightness, images):
    seen = []

    def look(state):
        # Told as an image ends, before its result is stored.
        if state.stage == "attack" and state.done > len(seen) + 1:
            summary = Run.open(tmp_path / "run").summary()
            seen.append((summary.attacked, summary.pending))

    start(
        tmp_path, settings, brightness, images, how=How(batch=1), callbacks=Callbacks(progress=look)
    )
    assert (1, 4) in seen
    assert all(attacked + pending == 5 for attacked, pending in seen)


def test_nothing_to_evaluate_yet(tmp_path, settings, brightness):
    Run.create(tmp_path / "run", settings(), brightness).close()
    with pytest.raises(RunError, match="no image of this run is finished yet"):
        Run.open(tmp_path / "run").summary()


def test_other_images_are_refused(tmp_path, settings, brightness, images):
    start(tmp_path, settings, brightness, images)
    fewer = ImageSet(images.entries[:3])
    reported = r"was begun with 5 images, 3 are given now, such as 3\.png"
    with (
        Run.resume(tmp_path / "run", settings(), brightness) as run,
        pytest.raises(RunError, match=reported),
    ):
        execute(run, fewer, brightness)
    assert len(run.results) == 5


def test_a_score_that_cannot_rise_is_unchanged(tmp_path, settings, images):
    scorer = wrap(lambda batch: [7.0] * len(batch), score_range=(0, 9), lower_better=True)
    run = start(tmp_path, settings, scorer, images)
    assert {row.status for row in run.results} == {"unchanged"}
    assert run.summary().unchanged == 5
    row = (run.folder / "results.csv").read_text().splitlines()[1].split(",")
    assert dict(zip(COLUMNS, row, strict=True))["psnr"] == "inf"
    # NaN is null, so that any JSON reader takes it.
    summary = json.loads((run.folder / "summary.json").read_text(), parse_constant=pytest.fail)
    assert summary["scores"]["clean_attacked"]["srocc"] is None
    assert summary["means"]["psnr"] is None
