"""The attacked images of a run as WebDataset shards."""

import errno
import json
import tarfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import iqattack
from iqattack.errors import InputError, RunError
from iqattack.images import ImageEntry, ImageSet, pixels_sha256, read_image
from iqattack.runs.files import FolderLock


@pytest.fixture
def run(tmp_path, photos, brightness):
    """Five images, one of them broken, with names that a tar file or WebDataset would split."""
    names = ("a.b.c.png", "ä ö.png", "2.png", "-x.png", "x" * 120 + ".png")
    entries = [ImageEntry(name, photos / f"{k}.png") for k, name in enumerate(names)]
    (photos / "2.png").write_bytes(b"no image")
    images = ImageSet(tuple(entries))
    return iqattack.attack(
        images, brightness, out=tmp_path / "run", attack="noise", constraint="linf:3", queries=6
    )


def samples(folder):
    """As WebDataset reads them: files in a row whose names share what is before the first dot."""
    found = {}
    for path in sorted(folder.iterdir()):
        with tarfile.open(path) as shard:
            for member in shard:
                key, _, kind = member.name.partition(".")
                found.setdefault((path.name, key), {})[kind] = shard.extractfile(member).read()
    return found


def test_shards_hold_what_was_saved(run, tmp_path):
    reported = []
    notify = iqattack.Callbacks(checked=lambda *state: reported.append(state))
    done = [result for result in run.results if not result.failed]
    assert iqattack.export(run, tmp_path / "out", shard_size=3, callbacks=notify) == 4
    assert reported == [(k, 4) for k in range(1, 5)]
    found = samples(tmp_path / "out")
    assert list(found) == [
        ("000000.tar", "000000"),
        ("000000.tar", "000001"),
        ("000000.tar", "000003"),
        ("000001.tar", "000004"),
    ]
    for result, sample in zip(done, found.values(), strict=True):
        assert sorted(sample) == ["json", "png"]
        assert sample["png"] == (run.images / result.png_name).read_bytes()
        told_of = json.loads(sample["json"])
        for name in ("image", "score_clean", "score_adv", "gain", "queries", "direction", "mos"):
            assert told_of[name] == getattr(result, name)
        assert told_of["sha256"] == pixels_sha256(read_image(result.path).pixels)
        assert "path" not in told_of
        assert np.asarray(Image.open(BytesIO(sample["png"]))).shape == (20, 24, 3)


def test_the_same_run_gives_the_same_bytes(run, tmp_path):
    for name in ("one", "two"):
        iqattack.export(run, tmp_path / name)
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
        for name in ("one", "two")
    )
    assert one == two


def test_another_image_than_the_one_that_was_scored_is_refused(run, tmp_path):
    path = run.images / next(r for r in run.results if not r.failed).png_name
    Image.fromarray(np.zeros((20, 24, 3), np.uint8)).save(path)
    with pytest.raises(RunError, match="not the one that was scored"):
        iqattack.export(run, tmp_path / "out")
    path.unlink()
    with pytest.raises(RunError, match="no such image"):
        iqattack.export(run, tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "run"}  # nothing half-written


def test_only_a_new_folder_is_written(run, tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").touch()
    with pytest.raises(InputError, match="not empty"):
        iqattack.export(run, tmp_path / "there")
    with pytest.raises(InputError, match="at least 1"):
        iqattack.export(run, tmp_path / "out", shard_size=0)
    (tmp_path / "out").mkdir()
    assert iqattack.export(run, tmp_path / "out") == 4


def test_a_folder_that_is_there_stays_the_same(run, tmp_path, monkeypatch):
    """The present one, or a mount, can be neither removed nor replaced."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    before = Path().stat().st_ino
    monkeypatch.setattr(Path, "rmdir", lambda self: pytest.fail(f"{self} is removed"))
    assert iqattack.export(run, Path(), shard_size=3) == 4
    assert sorted(path.name for path in Path().iterdir()) == ["000000.tar", "000001.tar"]
    assert Path().stat().st_ino == before


def test_what_an_export_that_was_killed_left_is_replaced(run, tmp_path):
    left = tmp_path / "out" / ".exporting"
    left.mkdir(parents=True)
    (left / "000009.tar").touch()
    (tmp_path / "out" / ".lock").touch()
    assert iqattack.export(run, tmp_path / "out") == 4
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["000000.tar"]


def test_an_export_under_way_is_left_alone(run, tmp_path):
    (tmp_path / "out").mkdir()
    lock = FolderLock(tmp_path / "out")
    with pytest.raises(RunError, match=r"is writing these shards; .* use another --webdataset"):
        iqattack.export(run, tmp_path / "out")
    lock.release()


def test_an_export_that_cannot_be_written_leaves_nothing(run, tmp_path, monkeypatch):
    def rename(path, target):
        if path.name == "000001.tar":
            raise PermissionError(errno.EACCES, "Permission denied")
        return renamed(path, target)

    renamed = Path.rename
    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(InputError, match=r"denied\); choose another place with --webdataset"):
        iqattack.export(run, tmp_path / "new" / "out", shard_size=3)
    assert {path.name for path in tmp_path.iterdir()} == {"photos", "run"}
