import numpy as np
import pytest
import torch

from iqattack.errors import InputError
from iqattack.models import answers, score_checked, wrap
from iqattack.models.checked import as_scores

IMAGES = torch.zeros(3, 3, 8, 9, dtype=torch.uint8)


def model(answer, **options):
    def function(images):
        if isinstance(answer, BaseException):
            raise answer
        return answer

    return wrap(function, name="m", score_range=(0, 1), lower_better=False, **options)


@pytest.mark.parametrize(
    "answer",
    [
        [1, 2, 3],
        np.array([1, 2, 3], dtype=np.float32),
        np.array([3.0, 2.0, 1.0])[::-1],
        torch.tensor([1.0, 2.0, 3.0], requires_grad=True),
        torch.tensor([[1], [2], [3]]),
        [torch.tensor(1.0), torch.tensor(2.0), torch.tensor(3.0)],
    ],
)
def test_scores_in_any_form(answer):
    scores = score_checked(model(answer), IMAGES)
    assert scores.dtype == torch.float64
    assert not scores.requires_grad
    assert scores.tolist() == [1, 2, 3]


@pytest.mark.parametrize("answer", [5, 5.0, np.float32(5), torch.tensor(5.0), [[5.0]]])
def test_a_number_for_one_image(answer):
    assert score_checked(model(answer), IMAGES[:1]).tolist() == [5]


@pytest.mark.parametrize(
    ("answer", "shape"),
    [
        ([1, 2], r"\(2,\)"),
        (1.0, r"\(\)"),
        (torch.zeros(3, 2), r"\(3, 2\)"),
        (torch.zeros(1, 3), r"\(1, 3\)"),
        ([], r"\(0,\)"),
    ],
)
def test_wrong_shape(answer, shape):
    hint = "; if it takes one image, use --input single, or .*" if shape == r"\(\)" else ""
    expected = rf"^model 'm' returned shape {shape} for 3 images; expected 3 scores{hint}$"
    with pytest.raises(InputError, match=expected):
        score_checked(model(answer), IMAGES)


@pytest.mark.parametrize(
    ("answer", "kind"), [([{"score": 1.0}], "dict"), (["1.0"], "str"), ([1.0, None], "NoneType")]
)
def test_what_is_not_a_number_in_a_list_is_named(answer, kind):
    with pytest.raises(InputError, match=rf"returned {kind} that is not numbers"):
        score_checked(model(answer), IMAGES[: len(answer)])


@pytest.mark.parametrize("answer", [None, "good", ["a", "b", "c"], [1j, 2, 3], [[1], [2, 3]]])
def test_not_numbers(answer):
    with pytest.raises(InputError, match=r"^model 'm' returned \w+ that is not numbers for 3 im"):
        score_checked(model(answer), IMAGES)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((1.0, 2.0, 3.0), "returned a tuple of 3; expected 3 scores, as a list, an array or a"),
        ((torch.zeros(3), 0.5), "returned a tuple of 2; expected 3 scores"),
        ({"score": [1, 2, 3]}, "returned a mapping with 'score'; expected 3 scores: return the"),
    ],
)
def test_what_holds_more_than_scores_is_refused(answer, message):
    """A pair of scores and deviations has the length of two scores."""
    with pytest.raises(InputError) as raised:
        score_checked(model(answer), IMAGES)
    assert f"model 'm' {message}" in str(raised.value)


def test_nan_is_for_the_engine_to_attribute():
    scores = score_checked(model([1.0, float("nan"), float("inf")]), IMAGES)
    assert scores.isnan().tolist() == [False, True, False]


def test_an_exception_names_the_model():
    with pytest.raises(InputError, match=r"^model 'm' failed to score images: ValueError: a b$"):
        score_checked(model(ValueError("a\nb")), IMAGES)


def test_a_model_does_not_end_the_program():
    with pytest.raises(InputError, match=r"^model 'm' failed to score images: SystemExit: 3$"):
        score_checked(model(SystemExit(3)), IMAGES)
    with pytest.raises(KeyboardInterrupt):
        score_checked(model(KeyboardInterrupt()), IMAGES)


@pytest.mark.parametrize("error", [MemoryError(), torch.OutOfMemoryError()])
def test_running_out_of_memory_is_left_to_the_engine(error):
    with pytest.raises(type(error)):
        score_checked(model(error), IMAGES)


def test_too_small():
    with pytest.raises(InputError, match="9×8 pixels is too small; expected at least 9×9"):
        score_checked(model([1, 2, 3], min_size=9), IMAGES)


def test_a_foreign_scorer_is_checked_too():
    class Foreign:
        name, score_range, lower_better, min_size = "f", (0.0, 1.0), False, 1

        def __call__(self, images):
            return torch.zeros(len(images) + 1)

    with pytest.raises(InputError, match=r"model 'f' returned shape \(4,\)"):
        score_checked(Foreign(), IMAGES)


def test_wrap():
    def mean(images):
        images.zero_()
        return images.float().mean((1, 2, 3))

    images = torch.full((2, 3, 4, 4), 7, dtype=torch.uint8)
    scorer = wrap(mean, score_range=(0, 255), lower_better=True)
    assert (scorer.name, scorer.score_range, scorer.lower_better) == ("mean", (0.0, 255.0), True)
    scorer(images)
    assert (images == 7).all()  # whatever the function does to its input


@pytest.mark.parametrize("score_range", [(1, 0), (0, 0), (0, float("inf")), (0,), None])
def test_wrap_refuses_an_empty_range(score_range):
    with pytest.raises(InputError, match="two finite numbers, the lower first"):
        wrap(len, score_range=score_range, lower_better=True)


@pytest.mark.parametrize(
    "answer",
    [
        lambda score: [score, score],
        lambda score: [[score], [score]],
        lambda score: [torch.tensor(score, dtype=torch.float64)] * 2,
        lambda score: np.array([score, score]),
        lambda score: [score, np.float64(score)],
        lambda score: [score, ValueError("the other")],
    ],
)
def test_all_digits_of_a_score_are_kept(answer):
    score = 3.6157589676290467

    class Model:
        name, score_range, lower_better, min_size = "m", (0.0, 9.0), False, 1

        def __call__(self, images):
            return answer(score)

    found = answers(Model(), torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert found[0] == score
    assert as_scores(score, "m", 1).tolist() == [score]
