import hashlib
import json
import shutil
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image

from iqattack.directions import read_profile
from iqattack.engine import Interrupted, image_generator
from iqattack.errors import InputError, RunError
from iqattack.images import ImageSet, read_image
from iqattack.models import wrap
from iqattack.runs import Callbacks, Run, execute, make_profile
from iqattack.runs.profile import FEWEST
from iqattack.runs.settings import Record
from iqattack.runs.students import fewest
from iqattack.students import KINDS

FEW = fewest(3)


@pytest.fixture
def counted():
    """A score that sharpening moves, and how many images it was asked for."""
    asked = []

    def score(batch):
        asked.append(len(batch))
        grey = batch.double().mean(1)
        return (grey[:, 1:] - grey[:, :-1]).abs().mean((1, 2))

    return wrap(score, name="edges", score_range=(0.0, 60.0), lower_better=False), asked


@pytest.fixture
def learn(tmp_path, settings, images, counted):
    def run(folder="profile", queries=FEWEST + 5, **options):
        changed = settings(attack="filter-search", model="edges", queries=queries)
        return make_profile(tmp_path / folder, changed, images, counted[0], **options)

    return run


def test_a_profile_tells_what_it_cost(learn, counted, tmp_path, images):
    profile = learn()
    assert profile.queries == sum(counted[1])
    assert profile.images == tuple(entry.name for entry in images)
    assert read_profile(tmp_path / "profile" / "profile.json") == profile
    together = [stroke.together for stroke in profile.strokes]
    assert together == sorted(together)
    assert together[0] > 0.0


def test_the_strokes_are_at_most_as_many_as_wanted(learn):
    assert len(learn(strokes=1).strokes) == 1


def test_an_interrupted_one_goes_on_and_pays_nothing_twice(learn, counted):
    whole = learn("whole")
    paid = sum(counted[1])
    counted[1].clear()
    for share in (0.1, 0.5, 0.97):  # in the search twice, then where all is tried on all
        stop = Callbacks(stop=partial(lambda n: sum(counted[1]) > n, share * paid))
        with pytest.raises(Interrupted):
            learn(resume=share > 0.1, callbacks=stop)
    assert learn(resume=True) == whole
    assert sum(counted[1]) == paid
    assert learn(resume=True) == whole
    assert sum(counted[1]) == paid


def test_a_folder_with_another_profile_is_left_alone(learn, tmp_path):
    learn()
    with pytest.raises(RunError, match="already has a profile; continue with --resume"):
        learn()
    with pytest.raises(RunError, match=f"queries is {FEWEST + 5} there, {FEWEST + 6} here"):
        learn(queries=FEWEST + 6, resume=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").touch()
    with pytest.raises(RunError, match="is not empty and not a profile"):
        learn("other")


def test_what_cannot_be_learnt(tmp_path, settings, images, brightness):
    flat = wrap(
        lambda batch: torch.full((len(batch),), 0.5),
        name="flat",
        score_range=(0.0, 1.0),
        lower_better=False,
    )
    few = settings(attack="filter-search", queries=FEWEST)
    with pytest.raises(InputError, match="no candidate moved the score"):
        make_profile(tmp_path / "a", few, images, flat)
    with pytest.raises(InputError, match=f"expected at least {FEWEST}"):
        make_profile(tmp_path / "b", settings(queries=FEWEST - 1), images, brightness)
    with pytest.raises(InputError, match="leave out the boundary"):
        make_profile(
            tmp_path / "c", settings(queries=FEWEST, objective="rank:0.2"), images, brightness
        )


def test_an_image_that_cannot_be_used_is_named(learn, images, photos):
    (photos / "3.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"3\.png.*leave it out"):
        learn()


def test_a_stroke_that_reaches_the_end_of_the_range_is_worth_that(tmp_path, settings, images):
    """The search goes on past it: what is tried after it has its own gain, not none."""

    def edges(batch):
        grey = batch.double().mean(1)
        return (grey[:, 1:] - grey[:, :-1]).abs().mean((1, 2)).clamp(max=top)

    top = 1e9
    clean = {entry.name: float(edges(read_image(entry.path).pixels[None])) for entry in images}
    top = max(clean.values()) + 0.01  # every image can get there
    wrapped = wrap(edges, name="edges", score_range=(0.0, top), lower_better=False)
    profile = make_profile(
        tmp_path / "profile",
        settings(attack="filter-search", model="edges", objective="up", queries=FEWEST + 5),
        images,
        wrapped,
    )
    first = profile.strokes[0]
    assert first.gain == pytest.approx(np.mean([top - score for score in clean.values()]) / top)
    assert len(profile.strokes) == 1  # nothing adds to it


def test_a_run_knows_the_profile_that_it_used(learn, tmp_path, settings, images, counted):
    learn()
    path = tmp_path / "profile" / "profile.json"
    model = counted[0]
    asked = settings(attack=f"filter-search:profile={path}", queries=4, model="edges")
    record = Record.now(asked, model)
    assert record.files == {"profile": hashlib.sha256(path.read_bytes()).hexdigest()}
    reported = []
    run = Run.create(tmp_path / "run", asked, model)
    execute(run, images, model, callbacks=Callbacks(note=lambda *note: reported.append(note)))
    first, phrase = (
        images.entries[0].name,
        "images that share their names with images of the profile",
    )
    assert (first, f"the first of {len(images)} {phrase}") in reported
    path.write_text(path.read_text().replace('"constraint": "linf:3"', '"constraint": "linf:5"'))
    assert read_profile(path).constraint == "linf:5"
    with pytest.raises(RunError, match="profile has other contents here than there"):
        Run.resume(tmp_path / "run", asked, model)
    run = Run.create(tmp_path / "other", asked, model)
    execute(run, images, model, callbacks=Callbacks(note=lambda *note: reported.append(note)))
    expected = "was learnt with constraint linf:5, but is used with linf:3"
    assert ("profile", expected) in reported


def test_queries_that_are_gone_are_said_before_they_are_paid_again(learn, counted, tmp_path):
    profile = learn()
    folder = tmp_path / "profile"
    for path in folder.glob("queries.*"):
        path.unlink()
    counted[1].clear()
    reported = f"queries.sqlite is missing or empty; {profile.queries} of {profile.queries} queries"
    with pytest.raises(RunError, match=reported):
        learn(resume=True)
    assert not counted[1]


def test_nothing_is_written_through_a_link_of_a_profile(learn, tmp_path):
    learn()
    folder, elsewhere = tmp_path / "profile", tmp_path / "elsewhere"
    (folder / "queries.end").rename(elsewhere)
    (folder / "queries.end").symlink_to(elsewhere)
    before = elsewhere.read_bytes()
    with pytest.raises(RunError, match=r"queries\.end: is a link"):
        learn(resume=True)
    assert elsewhere.read_bytes() == before


@pytest.fixture
def large(tmp_path):
    """Three images of 64×72 pixels."""
    folder = tmp_path / "large"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(3):
        pixels = rng.integers(20 + 30 * k, 90 + 30 * k, (64, 72, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{k}.png")
    return ImageSet.from_folder(folder)


@pytest.fixture
def teach(tmp_path, settings, large, counted, monkeypatch):
    monkeypatch.setattr("iqattack.runs.students.LEARNING", 1)
    monkeypatch.setattr("iqattack.students.learning.COPIES", 1)

    def run(folder="profile", students=FEW, **options):
        changed = settings(attack="filter-search", model="edges", queries=FEWEST)
        return make_profile(
            tmp_path / folder, changed, large, counted[0], students=students, **options
        )

    return run


@pytest.fixture(scope="module")
def learnt_once(tmp_path_factory):
    return tmp_path_factory.mktemp("learnt") / "profile"


@pytest.fixture
def taught(teach, learnt_once, tmp_path):
    """The path of a profile with students, learnt once, for tests of what is done with it."""
    if learnt_once.exists():
        shutil.copytree(learnt_once, tmp_path / "profile")
    else:
        teach()
        shutil.copytree(tmp_path / "profile", learnt_once)
    return tmp_path / "profile" / "profile.json"


def test_students_learn_within_their_queries(teach, counted, tmp_path, settings, large):
    profile = teach()
    assert profile.queries == sum(counted[1])
    assert profile.format == 2
    assert set(profile.taught()) == set(KINDS)
    assert read_profile(tmp_path / "profile" / "profile.json") == profile
    assert sorted(path.name for path in (tmp_path / "profile").glob("students*")) == []
    counted[1].clear()
    without = teach("without", students=0)
    assert profile.queries - without.queries <= fewest(3) + 3 * len(KINDS)
    assert without.format == 1
    assert "students" not in (tmp_path / "without" / "profile.json").read_text()


def test_students_go_on_where_they_were(teach, counted, tmp_path):
    whole = teach("whole")
    paid = sum(counted[1])
    counted[1].clear()
    for share in (0.35, 0.6, 0.9):
        stop = Callbacks(stop=partial(lambda n: sum(counted[1]) > n, share * paid))
        with pytest.raises(Interrupted):
            teach(resume=share > 0.35, callbacks=stop)
    assert list((tmp_path / "profile").glob("students-*.txt"))
    with pytest.raises(RunError, match=r"students \d+ there, filter-search here"):
        teach(students=0, resume=True)
    assert teach(resume=True) == whole
    assert sum(counted[1]) == paid


def test_what_students_cannot_learn_from(teach, learn):
    with pytest.raises(InputError, match=f"expected at least {fewest(3)} queries for 3 images"):
        teach(students=fewest(3) - 1)
    with pytest.raises(InputError, match="an image of 24×20 pixels: students need at least"):
        learn(students=fewest(5))


@pytest.mark.parametrize("from_query", [0, 300, 450])
def test_a_model_that_fails_while_students_ask(tmp_path, settings, large, monkeypatch, from_query):
    """What it raises names the image; scores that are none teach nothing."""
    monkeypatch.setattr("iqattack.runs.students.LEARNING", 1)
    monkeypatch.setattr("iqattack.students.learning.COPIES", 1)
    asked = []

    def scoring(failing):
        def score(batch):
            asked.append(len(batch))
            grey = batch.double().mean(1)
            scores = (grey[:, 1:] - grey[:, :-1]).abs().mean((1, 2))
            return failing(batch, scores) if sum(asked) > from_query + len(large) else scores

        return wrap(score, name="edges", score_range=(0.0, 60.0), lower_better=False)

    def raising(batch, scores):
        if float(batch.double().mean()) > 110:
            raise ValueError("out of order")
        return scores

    changed = settings(attack="filter-search", model="edges", queries=FEWEST)
    with pytest.raises(InputError, match=r"2\.png.*out of order; leave it out"):
        make_profile(tmp_path / "raises", changed, large, scoring(raising), students=FEW)
    asked.clear()
    none = scoring(lambda batch, scores: torch.full_like(scores, float("nan")))
    if from_query:
        profile = make_profile(tmp_path / "none", changed, large, none, students=FEW)
        assert set(profile.taught()) == set(KINDS)
    else:
        with pytest.raises(InputError, match="no candidate moved"):
            make_profile(tmp_path / "none", changed, large, none, students=FEW)


def test_an_attack_begins_where_a_student_points(taught, tmp_path, large, settings, counted):
    """With a profile of students alone, its first query is the ascent of one."""
    path = taught
    known = json.loads(path.read_text())
    known["strokes"] = [
        {"direction": "student: mean", "gain": 0.1, "together": 0.1},
    ]
    path.write_text(json.dumps(known))
    asked = []

    def score(batch):
        asked.extend(batch)
        return batch.double().mean((1, 2, 3))

    model = wrap(score, name="edges", score_range=(0.0, 255.0), lower_better=False)
    wanted = settings(attack=f"filter-search:profile={path}", queries=2, objective="up")
    execute(Run.create(tmp_path / "run", wanted, model), large, model)
    gradient = read_profile(path).taught()["mean"].smoothed(image_generator(0, "0.png"))
    image = read_image(large.entries[0].path).pixels
    x = image.float()
    for _ in range(10):
        x = (x + 0.6 * gradient(x[None])[0].sign()).clamp(image - 3.0, image + 3.0)
    expected = (image + 3 * (x - image).sign()).clamp(0, 255).byte()
    assert any(torch.equal(pixels, expected) for pixels in asked)


def test_a_profile_whose_students_are_spoilt_is_refused(taught):
    path = taught
    known = json.loads(path.read_text())
    known["students"] = "AAAA"
    path.write_text(json.dumps(known))
    with pytest.raises(InputError, match=r"profile\.json.*students: no safetensors"):
        read_profile(path)
    known["students"] = None
    known["strokes"][0]["direction"] = "student: maxima"
    path.write_text(json.dumps(known))
    with pytest.raises(InputError, match="asks for a student of 'maxima', which is missing"):
        read_profile(path)
