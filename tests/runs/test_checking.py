"""The check of the model in a run: within budgets, and always the same."""

import itertools
from typing import Any

import pytest
import torch

import iqattack
from iqattack.errors import TransientError
from iqattack.images import ImageSet, write_png
from iqattack.models import wrap
from iqattack.reporting import content
from iqattack.runs.checking import FEWEST

QUERIES = 30


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    chance = torch.Generator().manual_seed(0)
    for number, size in enumerate([(20, 24), (24, 20), (20, 24), (24, 20)]):
        low, high = 40 + 20 * number, 120 + 30 * number
        pixels = torch.randint(low, high, (3, *size), generator=chance).byte()
        write_png(tmp_path / "photos" / f"{number}.png", pixels)
    return ImageSet.from_folder(tmp_path / "photos")


def mean(images):
    return images.double().mean((1, 2, 3))


def model(function=mean, **options):
    return wrap(function, name="m", score_range=(0, 255), lower_better=False, **options)


def attack(photos, scorer, out, **options):
    retry = iqattack.Retry(8, first_s=0.001)
    given: dict[str, Any] = {
        "attack": "square",
        "constraint": "linf:3",
        "queries": QUERIES,
        "retry": retry,
    }
    return iqattack.attack(photos, scorer, out=out, **given | options)


def kept(run):
    """Pictures and scores; the log's rows by image."""
    with run.open_log() as log:
        rows = {name: log.rows(name).tolist() for name in log.images()}
    pictures = {path.name: path.read_bytes() for path in run.images.iterdir()}
    return pictures, rows, [(r.image, r.score_adv, r.queries) for r in run.results]


def test_its_queries_are_in_the_budget_of_two_images(tmp_path, photos):
    calls = []

    def score(images):
        calls.append(len(images))
        return mean(images)

    run = attack(photos, model(score), tmp_path / "run")
    assert [row.queries for row in run.results] == [QUERIES] * 4
    assert sum(calls) == 4 * QUERIES == run.summary().queries
    assert run.check.queries == 10
    assert run.check.images == ("0.png", "2.png")  # the first two of one size
    _, rows, _ = kept(run)
    again = {
        name: [digest for digest, _ in found].count(found[0][0]) for name, found in rows.items()
    }
    assert again == {"0.png": 6, "1.png": 1, "2.png": 6, "3.png": 1}
    assert rows["0.png"][-1] == rows["0.png"][0]  # the last one, when the search has ended
    assert iqattack.verify(run, model()).ok


@pytest.mark.usefixtures("forked_workers")
@pytest.mark.parametrize(
    "options",
    [{"batch": 1}, {"batch": 3}, {"workers": 2}, {"concurrency": 3}, {"max_requests": 500}],
)
def test_how_a_run_is_carried_out_changes_nothing(tmp_path, photos, options):
    plain = attack(photos, model(), tmp_path / "plain")
    other = attack(photos, model(), tmp_path / "other", **options)
    assert kept(plain) == kept(other)


def test_neither_do_failures_that_pass(tmp_path, photos):
    calls = []

    def flaky(images):
        found = mean(images).tolist()
        for k in range(len(found)):
            calls.append(k)
            if len(calls) % 5 == 0:
                found[k] = TransientError("busy")
        return found

    plain = attack(photos, model(), tmp_path / "plain")
    other = attack(photos, model(flaky), tmp_path / "flaky")
    assert kept(plain) == kept(other)
    assert len(calls) == sum(row.queries + row.attempts for row in other.results)


def test_the_last_query_may_fail_and_the_image_does_not(tmp_path, photos):
    plain = attack(photos, model(), tmp_path / "plain")
    of = {}

    def fails_at_last(images):
        for image in images:
            key = image.numpy().tobytes()
            of[key] = of.get(key, 0) + 1
            if of[key] == 6:  # in the survey, four times before the search, and now
                raise ValueError("no")
        return mean(images)

    other = attack(photos, model(fails_at_last), tmp_path / "other")
    assert kept(plain)[0] == kept(other)[0]
    assert [row.queries for row in other.results] == [QUERIES - 1, QUERIES, QUERIES - 1, QUERIES]
    assert other.check.queries == 8
    assert iqattack.verify(other, model()).ok


def test_scores_that_drift(tmp_path, photos):
    """Each one that is asked for is worth a little more: gains are made of it."""
    count = itertools.count()

    def drifting(images):
        return [score + 0.1 * next(count) for score in mean(images).tolist()]

    run = attack(photos, model(drifting), tmp_path / "run")
    summary = run.summary()
    assert summary.verdict.kind == "drift"
    assert "drift" in summary.verdict.doubts
    assert any(
        "scores drift: those of one image changed" in finding for finding in summary.findings
    )
    # From the check to the end, the others' searches lie between.
    assert run.check.drift == pytest.approx(0.1 * 4 * QUERIES, rel=0.3)


def test_a_model_that_is_another_one_when_the_run_goes_on(tmp_path, photos):
    with pytest.raises(iqattack.api.CeilingReached):
        attack(photos, model(), tmp_path / "run", max_requests=60)
    run = attack(photos, model(lambda images: mean(images) + 9.0), tmp_path / "run", resume=True)
    assert run.check.drift == pytest.approx(9.0)
    assert run.summary().verdict.kind == "drift"


def test_it_is_said_at_once_when_the_model_is_another_one(tmp_path, photos):
    """Where all images of the check are finished, and nothing else would show it."""
    begun = itertools.count()
    events: list[str | tuple[str, str]] = []

    def fails_on_the_others(images):
        if images.shape[2] == 24 and next(begun) > 3:
            raise ValueError("no")
        return mean(images)

    def other(images):
        events.append("asked")
        return mean(images) + 9.0

    run = attack(photos, model(fails_on_the_others), tmp_path / "run", batch=1)
    assert [row.failed for row in run.results] == [False, True, False, True]
    callbacks = iqattack.Callbacks(note=lambda image, text: events.append((image, text)))
    given = {"batch": 1, "resume": True, "callbacks": callbacks}
    run = attack(photos, model(other), tmp_path / "run", **given)
    assert events[0] == "asked"
    assert events[1][0] == "model" and "scores drift" in events[1][1]
    assert run.check.drift == pytest.approx(9.0)
    assert "drift" in run.summary().verdict.doubts
    events.clear()
    attack(photos, model(other), tmp_path / "run", **given)
    assert "asked" not in events  # nothing is left to do


def test_a_clean_image_that_was_changed_says_nothing_of_the_model(tmp_path, photos):
    """The next one of the check is asked; it is finished, and its picture as it was."""
    begun = itertools.count()

    def fails_on_the_others(images):
        if images.shape[2] == 24 and next(begun) > 3:
            raise ValueError("no")
        return mean(images)

    given = {"batch": 1}
    attack(photos, model(fails_on_the_others), tmp_path / "run", **given)
    write_png(tmp_path / "photos" / "0.png", torch.full((3, 20, 24), 9).byte())
    run = attack(photos, model(), tmp_path / "run", resume=True, **given)
    assert (run.check.queries, run.check.drift) == (11, 0.0)
    with run.open_log() as log:
        assert log.sent() == 4 * QUERIES + 1 + sum(row.attempts for row in run.results)


def test_a_model_that_is_still_the_same_is_not_doubted(tmp_path, photos):
    """A noisy one neither, of which both images are asked."""
    for name, function, more in (("steady", mean, 1), ("noisy", noisy, 2)):
        torch.manual_seed(1)
        with pytest.raises(iqattack.api.CeilingReached):
            attack(photos, model(function), tmp_path / name, max_requests=70)
        run = attack(photos, model(function), tmp_path / name, resume=True)
        assert run.check.drift == 0.0
        assert run.check.queries == 10 + more
        assert run.summary().queries == 4 * QUERIES


def test_what_changed_between_survey_and_check_is_no_batch(tmp_path, photos):
    with pytest.raises(iqattack.api.CeilingReached):
        attack(photos, model(), tmp_path / "run", max_requests=4)
    run = attack(photos, model(lambda images: mean(images) + 9.0), tmp_path / "run", resume=True)
    assert (run.check.batch, run.check.drift) == (0.0, pytest.approx(9.0))


def test_the_last_score_is_of_a_call_of_its_own(tmp_path, photos):
    calls = []

    def score(images):
        calls.extend((image.numpy().tobytes(), len(images)) for image in images)
        return mean(images)

    run = attack(photos, model(score), tmp_path / "run", batch=4)
    for name in run.check.images:
        clean = run.read_clean(photos.entries[int(name[0])].path).numpy().tobytes()
        assert [n for image, n in calls if image == clean][1:] == [1, 1, 2, 2, 1]


@pytest.mark.usefixtures("forked_workers")
def test_workers_whose_models_differ(tmp_path, photos):
    """Each process makes another one, which no score of one of them shows."""
    (tmp_path / "mine.py").write_text(
        "import os\n"
        "def load():\n"
        "    bias = os.getpid() * 7919 % 10007 * 0.001  # also of neighbouring numbers\n"
        "    def score(images):\n"
        "        return images.double().mean((1, 2, 3)) + bias\n"
        "    score.score_range, score.lower_better = (0, 255), False\n"
        "    return score\n"
    )
    notes = []
    callbacks = iqattack.Callbacks(note=lambda image, text: notes.append(text))
    spec = f"{tmp_path}/mine.py:load"
    run = attack(photos, spec, tmp_path / "run", workers=1, callbacks=callbacks)
    assert run.check.workers > 0.0 and not run.check.batch and not run.check.drift
    assert any("the models of the workers differ" in text for text in notes)
    assert "workers" in run.summary().verdict.doubts


@pytest.mark.usefixtures("photos")
def test_a_batch_of_three_that_changes_scores(tmp_path):
    """The check has two at most in a call; the survey had more."""
    chance = torch.Generator().manual_seed(1)
    for number in range(2):  # so that four have one size
        pixels = torch.randint(60, 200, (3, 20, 24), generator=chance).byte()
        write_png(tmp_path / "photos" / f"more {number}.png", pixels)
    images = ImageSet.from_folder(tmp_path / "photos")

    def score(batch):
        return mean(batch) + 5.0 * (len(batch) > 2)

    run = attack(images, model(score), tmp_path / "run", batch=4)
    assert run.check.batch == pytest.approx(5.0)
    assert attack(images, model(score), tmp_path / "alone", batch=1).check.batch == 0.0


class Failing:
    """A model that raises at some of its calls, by their number."""

    def __init__(self, *numbers):
        self.numbers, self.calls = numbers, 0

    def __call__(self, images):
        self.calls += 1
        if self.calls in self.numbers:
            raise ValueError("no")
        return mean(images)


def test_a_check_that_fails_leaves_the_search_as_it_is(tmp_path, photos):
    """Its queries stay reserved, so that the pictures are the same; they are just not spent."""
    plain = attack(photos, model(), tmp_path / "plain", batch=1)
    other = attack(photos, model(Failing(5)), tmp_path / "other", batch=1)
    assert "ValueError: no" in other.check.failed
    assert kept(plain)[0] == kept(other)[0]
    assert [row.queries for row in other.results] == [QUERIES - 4, QUERIES, QUERIES - 4, QUERIES]
    assert iqattack.verify(other, model()).ok


def test_neither_does_an_image_without_a_clean_score_change_it(tmp_path, photos):
    """Of the pair, one failed in the survey; another session attacks it."""
    plain = attack(photos, model(), tmp_path / "plain", batch=1)
    other = attack(photos, model(Failing(1)), tmp_path / "other", batch=1)
    assert [row.failed for row in other.results] == [True, False, False, False]
    other = attack(photos, model(), tmp_path / "other", batch=1, resume=True)
    assert kept(plain)[0] == kept(other)[0]
    assert [row.queries for row in other.results] == [QUERIES] * 4


@pytest.mark.parametrize("calls", [5, 6, 7, 8, 9, 10])
def test_what_a_session_did_not_come_to_the_next_one_asks(tmp_path, photos, calls):
    """Stopped between any two calls; nothing that was scored is asked again but one image, to see
    whether the model is still the same.
    """
    plain = attack(photos, model(), tmp_path / "plain")
    counted, again = Failing(), Failing()
    callbacks = iqattack.Callbacks(stop=lambda: counted.calls >= calls)
    with pytest.raises(iqattack.api.Interrupted):
        attack(photos, model(counted), tmp_path / "run", batch=1, callbacks=callbacks)
    run = attack(photos, model(again), tmp_path / "run", batch=1, resume=True)
    assert kept(plain) == kept(run)
    assert sum(row.queries for row in run.results) == 4 * QUERIES
    assert counted.calls + again.calls == 4 * QUERIES + 1
    assert run.check.queries == 11


def test_a_run_keeps_to_what_it_began_with(tmp_path, photos):
    for check in (True, False):
        whole = attack(photos, model(), tmp_path / f"whole {check}", check=check)
        out = tmp_path / f"run {check}"
        with pytest.raises(iqattack.api.CeilingReached):
            attack(photos, model(), out, max_requests=60, check=check)
        run = attack(photos, model(), out, resume=True, check=not check)
        assert kept(run) == kept(whole)
        assert run.settings.check is check


def test_a_run_goes_on_at_any_ceiling(tmp_path, photos):
    whole = attack(photos, model(), tmp_path / "whole")
    for most in (3, 5, 7, 12, 60):
        with pytest.raises(iqattack.api.CeilingReached):
            attack(photos, model(), tmp_path / "run", max_requests=most, resume=most > 3)
    run = attack(photos, model(), tmp_path / "run", resume=True)
    assert kept(run) == kept(whole)


@pytest.mark.parametrize("options", [{"check": False}, {"queries": FEWEST - 1}])
def test_none_is_made(tmp_path, photos, options):
    run = attack(photos, model(), tmp_path / "run", **options)
    assert run.check is None
    assert len({digest for digest, _ in kept(run)[1]["0.png"]}) == run.results[0].queries


def noisy(images):
    return mean(images) + torch.randn(len(images)).double()


def dependent(images):
    scores = mean(images)
    return scores + 0.01 * (scores - scores.mean())


@pytest.mark.parametrize(
    ("function", "phrase", "verdict"),
    [
        (noisy, "the model is stochastic: scores of one image have a standard", "noise"),
        (dependent, "scores depend on the batch: alone and with other", "Nothing can be said"),
        (lambda images: mean(images) * 0 + 7, "all 4 clean scores are equal (7)", "nothing can be"),
        (lambda images: mean(images) / 255, "of the score range 0 to 255", "moved scores by"),
    ],
)
def test_what_is_found_is_said_everywhere(tmp_path, photos, function, phrase, verdict):
    notes = []
    callbacks = iqattack.Callbacks(note=lambda image, text: notes.append((image, text)))
    run = attack(photos, model(function), tmp_path / "run", callbacks=callbacks)
    assert any(image == "model" and phrase in text for image, text in notes)
    summary = iqattack.open_run(run.folder).summary()
    assert any(phrase in finding for finding in summary.findings)
    assert any(phrase[1:] in notice for notice in content.concerns(summary, []))
    assert verdict in summary.verdict.text
    page = iqattack.report(run).read_text("utf-8")
    assert phrase[1:] in page


def test_the_first_of_several_scores_counts(tmp_path, photos):
    """Of a stochastic model, too: the one that the direction was chosen by."""
    torch.manual_seed(0)
    run = attack(photos, model(noisy), tmp_path / "run")
    for row in run.results:
        assert row.score_clean == kept(run)[1][row.image][0][1]
    problems = [str(one) for one in iqattack.verify(run, model(noisy)).differences]
    assert not any("in the log" in problem for problem in problems)


def less_the_mean(images):
    """A score of 0 to 255 that depends on the batch; the darkest image has none."""
    scores = mean(images)
    return (scores - 0.2 * scores.mean()).where(scores > 90, float("nan"))


def test_an_image_without_a_score_is_not_one_of_the_pair(tmp_path, photos):
    """It is the first of all, and there is another of that size."""
    chance = torch.Generator().manual_seed(1)
    pixels = torch.randint(120, 200, (3, 20, 24), generator=chance).byte()
    write_png(tmp_path / "photos" / "4.png", pixels)
    images = ImageSet.from_folder(tmp_path / "photos")
    run = attack(images, model(less_the_mean), tmp_path / "run")
    assert run.results[0].failed
    assert run.check.images == ("1.png", "3.png")
    assert run.check.batch > 1.0
    assert not run.check.unpaired


def test_two_images_of_one_size_are_found_behind_many_of_others(tmp_path):
    (tmp_path / "photos").mkdir()
    for k in range(19):
        pixels = torch.full((3, 20, 24 + min(k, 17)), 5 * k + 40).byte()
        write_png(tmp_path / "photos" / f"{k:02}.png", pixels)
    images = ImageSet.from_folder(tmp_path / "photos")
    run = attack(images, model(dependent), tmp_path / "run", queries=20)
    assert run.check.images == ("17.png", "18.png")
    assert run.check.batch > 0.0
