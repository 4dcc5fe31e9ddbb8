import hashlib
import shutil

import pytest

from iqattack.errors import InputError, RunError
from iqattack.models import Traits, wrap
from iqattack.runs import Record


def test_specs_are_kept_in_canonical_form(settings):
    made = settings(constraint="jnd:0.380:liu2010", floor="ssim:0.950", attack="noise:kind=uniform")
    assert (made.constraint, made.floor, made.attack) == (
        "jnd:0.38",
        "ssim:0.95",
        "noise:kind=uniform",
    )
    assert settings(attack="noise:").attack == "noise"
    many = settings(attack="score-boundary:surfree=3,rounds=1,surfree=4").attack
    assert many == "score-boundary:rounds=1,surfree=4"


def test_a_folder_among_the_options_is_absolute_and_may_go(
    settings, brightness, photos, tmp_path, monkeypatch
):
    monkeypatch.chdir(photos.parent)
    record = Record.now(settings(attack="score-boundary:textures=photos"), brightness)
    assert record.settings.attack == f"score-boundary:textures={photos}"
    (tmp_path / "run.toml").write_text(record.text())
    shutil.rmtree(photos)
    assert Record.read(tmp_path / "run.toml") == record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"attack": "nois"}, "did you mean 'noise'"),
        ({"attack": "noise:knd=both"}, "knd"),
        ({"constraint": "lif:3"}, "did you mean 'linf'"),
        ({"floor": "sim:0.9"}, "did you mean 'ssim'"),
        ({"objective": "dwn"}, "did you mean 'down'"),
        ({"queries": 0}, "queries 0: expected at least 1"),
        ({"images": ("/ph\udcff",)}, r"'/ph\\udcff': expected printable text"),
        ({"mos": "a\nb"}, "expected printable text"),
    ],
)
def test_what_does_not_exist_is_refused(settings, change, message):
    with pytest.raises(InputError, match=message):
        settings(**change)


def test_run_toml_reads_back(tmp_path, settings, brightness):
    record = Record.now(settings(floor="ssim:0.9", score_range=(-1.0, 2.5), limit=3), brightness)
    (tmp_path / "run.toml").write_text(record.text())
    assert Record.read(tmp_path / "run.toml") == record


def test_how_torch_runs_the_model_is_kept_where_it_is_not_the_usual_way(
    tmp_path, settings, brightness
):
    path = tmp_path / "run.toml"
    usual = Record.now(settings(), brightness).text()
    assert not {"compile", "autocast"} & set(usual.split())  # as in runs of before
    record = Record.now(settings(compile=True, autocast="float16"), brightness)
    path.write_text(record.text())
    assert Record.read(path) == record
    path.write_text(record.text().replace("float16", "float8"))
    with pytest.raises(InputError, match="unknown autocast dtype 'float8'"):
        Record.read(path)


@pytest.mark.parametrize("text", ["not toml [", "format = 9", "created = 3", "\x00"])
def test_a_broken_run_toml_is_one_line(tmp_path, text):
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(RunError, match=r"run\.toml") as caught:
        Record.read(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"queries": 13}, "queries is 12 there, 13 here"),
        ({"constraint": "linf:4"}, "constraint is linf:3 there, linf:4 here"),
        ({"floor": "ssim:0.9"}, "floor is not given there, ssim:0.9 here"),
        ({"compile": True}, "compile is False there, True here"),
        ({"autocast": "bfloat16"}, "autocast is not given there, bfloat16 here"),
    ],
)
def test_the_first_difference_is_named(settings, brightness, change, expected):
    old, new = Record.now(settings(), brightness), Record.now(settings(**change), brightness)
    assert old.difference(new) == expected


def test_files_are_known_by_their_content_wherever_they_lie(tmp_path, settings):
    def record(*files):
        scorer = wrap(lambda _: [0.0], name="m", score_range=(0, 1), lower_better=False)
        scorer.traits = Traits(files=files)
        return Record.now(settings(), scorer)

    here, there = tmp_path / "here.pth", tmp_path / "there.pth"
    here.write_bytes(b"weights")
    there.write_bytes(b"weights")
    before = record(here)
    assert before.model.files == {str(here): hashlib.sha256(b"weights").hexdigest()}
    assert before.difference(record(there)) is None
    here.write_bytes(b"others")
    expected = f"the model's file {here} has other contents here than there"
    assert before.difference(record(here)) == expected
    assert before.difference(record()) == expected


def test_a_run_of_before_names_one_file(tmp_path, settings, brightness):
    """Its hash counts, and its spec is read with the file's absolute path."""
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    record = Record.now(settings(model="cnniqa:w.pth"), brightness)
    old = record.model.model_copy(update={"weights": str(weights), "sha256": digest, "files": {}})
    before = record.model_copy(update={"model": old})
    assert before.model_spec == f"cnniqa:{weights}"
    new = record.model.model_copy(update={"files": {str(weights): digest}})
    asked = settings(model=f"cnniqa:{weights}")
    assert before.difference(record.model_copy(update={"model": new, "settings": asked})) is None
