import runpy
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from iqattack.models import load_model
from iqattack.probing import EACH, Check, Elsewhere, ask, evaluated, findings
from iqattack.probing.check import ALARMS, ends
from iqattack.scoring import InProcess, Retry

from .conftest import Counted, contrast

MAKE = Path(__file__).resolve().parents[3] / "shared" / "cases" / "make_cases.py"


class Asked:
    """What became of the check of a model, with the images called a and b."""

    def __init__(self, scorer, images, *, batch, retries=0, done=None, stop=lambda asked: False):
        self.scores, self.unanswered, self.failed = {}, Counter(), None
        self.pool = InProcess(scorer, retry=Retry(retries, first_s=0.001))
        images = dict(zip("ab", images, strict=False))
        options = {"batch": batch, "done": done or {}, "stop": lambda: stop(self)}
        for reply in (r for found in ask(self.pool, images, **options) for r in found):
            if reply.score is None:
                self.unanswered[reply.request.name] += 1
                self.failed = str(reply.error) if reply.final else self.failed
            else:
                self.scores.setdefault(reply.request.name, []).append(reply.score)
        self.check = evaluated(list(images), self.scores, batch=batch, failed=self.failed)


def check(scorer, images, *, batch):
    return Asked(scorer, images, batch=batch).check


@pytest.fixture(scope="module")
def images():
    generator = torch.Generator().manual_seed(0)
    return [
        (torch.randint(256, (3, 40, 48), generator=generator) / (k + 1)).byte() for k in range(2)
    ]


def noisy(images):
    return contrast(images) + torch.randn(len(images)).double()


def in_batches(images):
    scores = contrast(images)
    return scores + 0.002 * (scores - scores.mean())


@pytest.mark.parametrize("batch", [True, False])
def test_a_sound_model_costs_few_queries(model, images, batch):
    """As many with batches as without, or results would depend on them."""
    counted = Counted()
    checked = check(model(counted), images, batch=batch)
    assert checked == Check(images=("a", "b"), queries=8)
    assert counted.images == 2 * EACH == 8
    assert findings(checked, [10.0, 50.0], (0.0, 60.0)) == []


def test_noise(model, images):
    torch.manual_seed(3)
    counted = Counted(noisy)
    checked = check(model(counted), images, batch=True)
    assert checked.queries == counted.images == 8
    assert checked.noise == pytest.approx(1.0, abs=0.7)
    assert checked.batch == 0.0
    (phrase,) = findings(checked, [10.0, 50.0], (0.0, 60.0))
    assert "the model is stochastic" in phrase
    assert f"{checked.noise:.2g} ({100 * checked.noise / 60:.2g} % of the range)" in phrase
    assert "optimistically biased" in phrase


def test_dependence_on_the_batch(model, images):
    scores = contrast(torch.stack(images))
    checked = check(model(in_batches), images, batch=True)
    assert checked.noise == 0.0 and checked.queries == 8
    assert checked.batch == pytest.approx(float((scores[0] - scores[1]).abs()) * 0.001)
    (phrase,) = findings(checked, [10.0, 50.0], (0.0, 60.0))
    assert phrase.endswith("attack with --batch 1")
    assert check(model(in_batches), images, batch=False).batch == 0.0


def test_both_at_once(model, images):
    """A dependence far beyond the noise is seen through it."""
    torch.manual_seed(0)
    scorer = model(lambda images: noisy(images) + 20.0 * (len(images) - 1))
    checked = check(scorer, images, batch=True)
    assert checked.batch == pytest.approx(20.0, abs=2.0)
    assert len(findings(checked, [10.0, 50.0], (0.0, 60.0))) == 2


STEADY = {"a": [10.0, 10.0, 10.0, 10.0], "b": [30.0, 30.0, 30.0, 30.0]}
DEPENDENT = {"a": [10.0, 10.0, 12.0, 12.0], "b": [30.0, 30.0, 32.0, 32.0]}
SHAKY = {"a": [10.0, 10.1, 10.0, 10.1], "b": [30.0, 30.1, 30.0, 30.1]}


@pytest.mark.parametrize(
    ("scores", "elsewhere", "found"),
    [
        (DEPENDENT, {"survey": {"a": 12.0}, "workers": True, "late": {"b": 32.0}}, {"batch": 2.0}),
        (STEADY, {"survey": {"a": 10.0, "b": 30.0}, "late": {"a": 10.0}}, {}),
        (STEADY, {"survey": {"a": 10.0, "b": 33.0}, "wide": True}, {"batch": 3.0}),
        (STEADY, {"survey": {"a": 12.0}, "workers": True, "late": {"b": 35.0}}, {"workers": 2.0}),
        (STEADY, {"survey": {"a": 12.0}}, {"drift": 2.0}),  # of at most two in a call
        (STEADY, {"survey": {"a": 10.0}, "late": {"a": 11.0, "b": 35.0}}, {"drift": 5.0}),
        (STEADY, {"survey": {"a": 10.009}, "late": {"a": 10.009}}, {}),  # another kernel
        (STEADY, {"survey": {"a": 10.009}, "workers": True}, {}),
        (STEADY, {"survey": {"a": float("nan")}, "late": {"b": float("inf")}, "wide": True}, {}),
        (SHAKY, {"survey": {"a": 10.2}, "late": {"b": 30.2}, "wide": True}, {}),
        (SHAKY, {"survey": {"a": 13.05}, "wide": True}, {"batch": 3.0}),
        (SHAKY, {"late": {"b": 25.05}, "wide": True}, {"drift": 5.0}),
        (SHAKY, {"late": {"a": 15.05, "b": 30.05}, "wide": True}, {}),  # of noise, both differ
        (STEADY, {"late": {"a": 15.0, "b": 30.0}, "wide": True}, {"drift": 5.0}),
        # Where one image alone has its score, in a worker, too, the larger batch is the reason.
        (
            STEADY,
            {"survey": {"a": 12.0}, "late": {"a": 10.0}, "wide": True, "workers": True},
            {"batch": 2.0},
        ),
        (
            STEADY,
            {"survey": {"a": 12.0}, "late": {"a": 12.0}, "wide": True, "workers": True},
            {"workers": 2.0},
        ),
        (STEADY, {"survey": {"a": 12.0}, "late": {"a": 12.0}, "wide": True}, {"batch": 2.0}),
        (STEADY, {"sessions": [{"a": 10.0}, {"a": 13.0}]}, {"drift": 3.0}),
        (DEPENDENT, {"sessions": [{"a": 13.0}]}, {"batch": 2.0, "drift": 3.0}),
        (SHAKY, {"sessions": [{"a": 10.2, "b": 30.2}]}, {}),
        (SHAKY, {"sessions": [{"a": 11.05, "b": 29.05}]}, {"drift": 1.0}),
    ],
)
def test_scores_of_other_times_and_places(scores, elsewhere, found):
    given = Elsewhere(**elsewhere)
    checked = evaluated(["a", "b"], scores, batch=True, failed=None, elsewhere=given, rounding=1e-4)
    names = ("batch", "workers", "drift")
    assert {n: getattr(checked, n) for n in names} == pytest.approx(dict.fromkeys(names, 0) | found)
    assert checked.queries == 8 + len(given.late) + sum(map(len, given.sessions))
    phrases = " ".join(findings(checked, [10.0, 50.0], (0.0, 60.0)))
    for name, said in {"batch": "--batch 1", "workers": "--workers", "drift": "drift"}.items():
        assert (said in phrases) == (name in found)


def checked_of(score, size):
    """The check of a model, by a function of (image, images in the call): batches of a size."""
    scores = {
        name: [score(name, 1), score(name, 1), score(name, 2), score(name, 2)] for name in "ab"
    }
    elsewhere = Elsewhere(
        survey={name: score(name, size) for name in "ab"},
        late={name: score(name, 1) for name in "ab"},
        wide=size > 2,
    )
    return evaluated("ab", scores, batch=True, failed=None, elsewhere=elsewhere, rounding=1e-6)


@pytest.mark.parametrize("size", [2, 16])
@pytest.mark.parametrize("noise", [0.0, 1e-4])
@pytest.mark.parametrize("least", [2, 3])
def test_a_dependence_on_the_batch_is_called_that(size, noise, least):
    """Of calls of `least` images or more, under noise or none; at calls of 2, 3 are never seen."""
    for seed in range(20):
        chance = np.random.default_rng(seed)
        found = checked_of(
            lambda name, n, chance=chance: (
                {"a": 0.4, "b": 0.7}[name] + 0.05 * (n >= least) + chance.normal(0.0, noise)
            ),
            size,
        )
        assert found.batch == pytest.approx(0.05 * (size >= least), abs=5 * noise + 1e-9)
        assert (found.workers, found.drift) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("noise", "scale", "wide", "workers"),
    [
        (1e-3, 1.0, True, False),
        (1e-3, 0.2, True, True),
        (1e-3, 0.2, False, False),
        (1e-6, 1.0, True, False),  # as much as rounding
        (1e-5, 1.0, True, True),
    ],
)
def test_noise_alone_is_called_nothing_else(noise, scale, wide, workers):
    """In one of 100 checks at most, whatever the images' noise."""
    draws = np.random.default_rng(0).normal(0.0, noise, (500, 2, 7)) * [[1.0], [scale]] + 0.5
    alarms = 0
    for both in draws.tolist():
        elsewhere = Elsewhere(
            survey={name: s[4] for name, s in zip("ab", both, strict=True)},
            late={name: s[5] for name, s in zip("ab", both, strict=True)},
            wide=wide,
            workers=workers,
            sessions=[{name: s[6] for name, s in zip("ab", both, strict=True)}],
        )
        scores = {name: s[:4] for name, s in zip("ab", both, strict=True)}
        found = evaluated("ab", scores, batch=True, failed=None, elsewhere=elsewhere, rounding=1e-6)
        alarms += max(found.batch, found.workers, found.drift) > 0.0
    assert alarms <= ALARMS * len(draws)


@pytest.mark.parametrize("tolerance", [1e-6, 1e-3])
def test_what_rounding_leaves_is_no_finding(tolerance):
    little = Check(queries=8, noise=0.5 * tolerance * 60, batch=0.5 * tolerance * 60)
    assert findings(little, [10.0, 50.0], (0.0, 60.0), tolerance) == []


def test_one_image(model, images):
    """Of one alone, nothing can be said about batches."""
    assert check(model(in_batches), images[:1], batch=True) == Check(
        images=("a",), queries=4, unpaired=True
    )


def test_what_came_and_what_did_not_is_known_for_each_image(model, images):
    def score(batch):
        if len(batch) > 1:
            return [float(contrast(batch[:1])), ValueError("no")]
        return contrast(batch)

    asked = Asked(model(score), images, batch=True)
    one, other = (float(contrast(image[None])) for image in images)
    assert asked.scores == {"a": [one] * 3, "b": [other] * 2}
    assert asked.unanswered == {"b": 1}
    assert "ValueError: no" in asked.failed
    assert asked.check.queries == 5 and asked.check.batch == 0.0


def test_what_passes_is_asked_again(model, images):
    calls = []

    def score(batch):
        calls.append(len(batch))
        if len(calls) in (2, 6):
            raise TimeoutError("read timed out")
        return contrast(batch)

    asked = Asked(model(score), images, batch=True, retries=2)
    assert (asked.check.queries, asked.check.failed) == (8, None)
    assert asked.check.batch < 1e-9  # means of three and of one differ by rounding
    assert sum(asked.unanswered.values()) == 3  # one alone, and both of a call together
    assert sum(calls) == 11


def test_a_model_that_fails(model, images):
    def score(images):
        raise ValueError("no weights")

    asked = Asked(model(score), images, batch=True)
    assert "no weights" in asked.failed
    assert (asked.scores, asked.unanswered) == ({}, {"a": 1})


def test_scores_that_are_not_finite_say_nothing(model, images):
    found = check(model(lambda images: contrast(images) * float("nan")), images, batch=True)
    assert found == Check(images=("a", "b"), queries=8, unpaired=True)  # queries all the same


def test_it_ends_when_it_is_to_stop_and_goes_on_later(model, images):
    calls = []

    def score(batch):
        calls.append(len(batch))
        return contrast(batch)

    first = Asked(model(score), images, batch=True, stop=lambda asked: sum(calls) >= 3)
    assert first.failed is None and not first.pool.pending
    assert {name: len(found) for name, found in first.scores.items()} == {"a": 2, "b": 1}
    rest = Asked(model(score), images, batch=True, done={"a": 2, "b": 1})
    assert {name: len(found) for name, found in rest.scores.items()} == {"a": 2, "b": 3}
    assert calls == [1, 1, 1, 1, 2, 2]


def test_a_model_that_takes_no_batch(model, images):
    """The pool asks it one at a time."""
    asked = Asked(model(lambda images: contrast(images).mean()), images, batch=True)
    assert asked.check == Check(images=("a", "b"), queries=8)


@pytest.mark.parametrize(
    ("scores", "phrase_part"),
    [
        ([50.0, 50.0, 50.0], "all 3 clean scores are equal (50)"),
        ([0.2, 0.9], "fill 0.7 % of the score range 0 to 100"),
        ([0.2, 0.9], "--score-range 0,1"),
        ([50.0, 50.02], "--score-range 50,50.02"),
    ],
)
def test_scores_that_say_little(scores, phrase_part):
    (phrase,) = findings(Check(queries=8), scores, (0.0, 100.0))
    assert phrase_part in phrase and "\n" not in phrase


@pytest.mark.parametrize("scores", [[], [50.0], [10.0, 20.0], [-3.0, -1.0]])
def test_scores_of_which_nothing_is_said(scores):
    """One score, a good spread, and what lies outside, which the engine reports."""
    assert findings(Check(queries=8), scores, (0.0, 100.0)) == []


def test_it_is_kept_as_json():
    checked = Check(images=("a", "b"), queries=8, noise=0.1, batch=0.2, failed="no")
    assert Check.model_validate_json(checked.model_dump_json()) == checked


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("plain", None),
        ("constant", "all 6 clean scores are equal"),
        ("narrow", "fill 0.025 % of the score range 0 to 100"),
        ("batch", "--batch 1"),
        ("noisy", "the model is stochastic"),
    ],
)
def test_models_that_came_from_outside(case, expected, tmp_path):
    if not MAKE.is_file():
        pytest.skip("cases absent: expected shared/cases/make_cases.py beside the repository")
    made = runpy.run_path(str(MAKE))
    path = tmp_path / "m.py"
    path.write_text(made["MODELS"][case])
    scorer = load_model(f"{path}:load", score_range=(0.0, 100.0))
    pixels = [torch.tensor(list(made["picture"](k).tobytes())) for k in range(6)]
    images = [p.byte().reshape(96, 128, 3).permute(2, 0, 1) for p in pixels]
    scores = torch.cat([torch.as_tensor(scorer(image[None])) for image in images]).tolist()
    phrases = findings(check(scorer, images[:2], batch=True), scores, (0.0, 100.0))
    # These images fill little of the range under `contrast` itself.
    others = [phrase for phrase in phrases if case == "narrow" or "fill" not in phrase]
    assert [expected in phrase for phrase in others] == [True] * (expected is not None)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        (1.0, 2.5, "1 to 2.5"),
        (12.3456, 98.7654, "12.35 to 98.77"),
        (50.00012, 50.00064, "50.00012 to 50.00064"),
        (-50.00064, -50.00012, "-50.00064 to -50.00012"),
        (1e6, 1e6 + 1, "1000000 to 1000001"),
        (7.0, 7.0, "7 to 7"),
        (0.0, 1e-9, "0 to 1e-09"),
    ],
)
def test_two_ends_can_be_told_apart(low, high, text):
    assert ends(low, high) == text
