"""A model with defences before it is a model like any other: in runs, in workers, for attackers."""

import re

import numpy as np
import pytest
import torch
from PIL import Image

import iqattack
from iqattack.errors import InputError, TransientError
from iqattack.models import ModelFailedError, Traits, answers, gradient_of, load_model
from iqattack.probing import probe

pytestmark = pytest.mark.usefixtures("few_resamples")

MODEL = """
def load():
    def score(images):
        exact = images.long().flatten(1)  # sums of integers hang on no batch
        squares, sums = exact.square().sum(1), exact.sum(1)
        return (squares * exact.shape[1] - sums.square()).double().sqrt() / exact.shape[1]

    score.score_range, score.lower_better, score.min_size = (0.0, 128.0), False, 10
    return score
"""


@pytest.fixture
def spec(tmp_path):
    """Of a model that scores contrast."""
    path = tmp_path / "contrast.py"
    path.write_text(MODEL)
    return f"{path}:load"


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(5):
        pixels = rng.integers(20 + 30 * k, 60 + 30 * k, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return folder


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    return torch.from_numpy(rng.integers(0, 256, (3, 3, 24, 20), dtype=np.uint8))


def scores(model, images):
    return torch.as_tensor(model(images)).tolist()


def written(run):
    """All that a run says, but for when and where."""
    pictures = sorted((run.folder / "adversarial").glob("*.png"))
    return (
        (run.folder / "results.csv").read_text(),
        [picture.read_bytes() for picture in pictures],
    )


def test_three_ways_to_the_same_model(spec, images) -> None:
    behind = iqattack.defend(load_model(spec), "median:3+round:5")
    by_option = load_model(spec, defence="median:3+round:5")
    by_spec = load_model(f"defended(median:3+round:5):{spec}")
    assert (
        behind.name
        == by_option.name
        == by_spec.name
        == "contrast.py:load, defended by median:3+round:5"
    )
    assert behind.traits == by_option.traits == by_spec.traits
    assert by_spec.score_range == (0.0, 128.0)
    assert scores(behind, images) == scores(by_option, images) == scores(by_spec, images)
    assert scores(behind, images) != scores(load_model(spec), images)


def test_a_defence_that_changes_nothing_gives_the_models_scores(spec, images) -> None:
    model = load_model(spec)
    assert scores(iqattack.defend(model, "bits:8"), images) == scores(model, images)


def test_defences_of_defences(spec, images) -> None:
    """The outer one sees an image first, as in one spec of both."""
    model = load_model(spec)
    nested = iqattack.defend(iqattack.defend(model, "round:5"), "median:3")
    assert scores(nested, images) == scores(iqattack.defend(model, "median:3+round:5"), images)
    again = load_model(nested.traits.spec)
    assert scores(again, images) == scores(nested, images)
    assert again.name == nested.name


def test_what_it_asks_of_pictures_and_of_the_model(spec, images) -> None:
    model = load_model(spec, defence="crop:0.5:4")
    assert model.min_size == 20
    assert model.traits.notes == ("crop:0.5:4: scores 4 versions of each image",)
    with pytest.raises(InputError, match=r"20×24 pixels is too small|24×20 pixels is too small"):
        answers(load_model(spec, defence="crop:0.4"), images)
    asked = []

    class Paid:
        name, score_range, lower_better, min_size = "paid", (0.0, 255.0), False, 1
        traits = Traits(spec="paid", batch=3, price=0.5, rate=8.0, concurrency=4)

        def __call__(self, images):
            asked.append(len(images))
            return images.double().mean((1, 2, 3))

    behind = iqattack.defend(Paid(), "noise:3:4")
    assert (behind.traits.batch, behind.traits.price, behind.traits.rate) == (1, 2.0, 2.0)
    assert behind.traits.concurrency == 4
    behind(images[:2])
    assert asked == [3, 1, 3, 1]  # no more at once than the model takes


def test_a_lost_connection_is_still_one(images) -> None:
    def score(batch):
        raise TransientError("busy", retry_after=3.0)

    model = iqattack.wrap(score, score_range=(0.0, 1.0), lower_better=False)
    with pytest.raises(InputError, match="busy") as failed:
        answers(iqattack.defend(model, "jpeg:75"), images)
    assert isinstance(failed.value, ModelFailedError)
    assert failed.value.transient
    assert failed.value.retry_after == 3.0


@pytest.mark.parametrize("defence", ["jpeg:60", "noise:3:2+round:1", "crop:0.8:2+aaa:5"])
def test_a_run_goes_through_the_defence(spec, photos, tmp_path, forked_workers, defence) -> None:
    """Workers, another batch, and a loaded model give the same bytes; verify loads it again."""

    def run(out, model=spec, **options):
        return iqattack.attack(
            photos, model, out=tmp_path / out, constraint="linf:8", queries=40, **options
        )

    one = run("one", defence=defence)
    assert one.settings.model.startswith(f"defended({defence.partition('+')[0]}")
    assert "defended by" in one.model.name
    assert written(run("two", defence=defence, workers=2)) == written(one)
    assert written(run("three", defence=defence, batch=3)) == written(one)
    assert written(run("loaded", load_model(spec), defence=defence)) == written(one)
    assert iqattack.verify(one.folder).ok
    assert written(run("open"))[1] != written(one)[1]
    saved = {row.image: row.score_adv for row in iqattack.open_run(one.folder).results}
    through = load_model(spec, defence=defence)
    for name, score in saved.items():
        pixels = np.array(Image.open(one.folder / "adversarial" / name))
        assert scores(through, torch.from_numpy(pixels).permute(2, 0, 1)[None]) == [
            pytest.approx(score)
        ]


def test_the_gradients_of_the_model_behind_make_no_black_box(tmp_path) -> None:
    """Who has those of the model itself is no black-box attacker of the defended one."""
    picture = tmp_path / "picture.png"
    Image.fromarray(np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)).save(picture)
    run = iqattack.attack(
        picture,
        "builtin",
        defence="jpeg:90",
        attack="transfer:substitute=builtin",
        queries=4,
        constraint="linf:3",
        out=tmp_path / "run",
        objective="up",
        check=False,
    )
    assert run.summary().white_box
    assert "white-box" in run.summary().attack


def test_gradients_do_not_go_through_it(spec) -> None:
    with pytest.raises(InputError, match="has no gradients"):
        gradient_of(load_model("builtin", defence="jpeg:75"))


def test_a_probe_sees_the_defended_model(spec) -> None:
    found = probe(load_model(spec, defence="round:5"), queries=60)
    assert found.model == "contrast.py:load, defended by round:5"


@pytest.mark.parametrize(
    "wrong",
    ["defended(jpeg:75)", "defended(jpeg:75):", "defended(jpeg:75:builtin", "defended():builtin",
     "defended(jpeg):builtin", "defended(jpeg:75):nothing"],
)  # fmt: skip
def test_a_spec_that_is_none_says_what_is(wrong) -> None:
    with pytest.raises(InputError, match=r"expected def|available|expected jpeg:QUALITY"):
        load_model(wrong)


def test_a_wrong_defence_is_found_before_the_model_is_loaded(tmp_path, photos) -> None:
    with pytest.raises(InputError, match=re.escape("the quality is from 1 to 100")):
        iqattack.attack(photos, "absent.py:load", defence="jpeg:101", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
