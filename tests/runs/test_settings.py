import hashlib
import shutil

import pytest

from iqattack.errors import InputError, RunError
from iqattack.runs import ModelRecord, Record


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
    ],
)
def test_the_first_difference_is_named(settings, brightness, change, expected):
    old, new = Record.now(settings(), brightness), Record.now(settings(**change), brightness)
    assert old.difference(new) == expected


def test_weights_are_known_by_their_content(tmp_path, brightness):
    weights = tmp_path / "w.pth"
    weights.write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    for spec in (f"cnniqa:{weights}", f"{weights}:load", f"pyiqa:niqe,a=1,path={weights}"):
        record = ModelRecord.of(brightness, spec)
        assert (record.weights, record.sha256) == (str(weights), digest)
    marked = tmp_path / "lr=0.1,best.pth"
    marked.write_bytes(b"weights")
    assert ModelRecord.of(brightness, f"cnniqa:{marked}").sha256 == digest
    assert ModelRecord.of(brightness, "builtin").weights is None
