import subprocess
import sys
from pathlib import Path

import pytest

from iqattack.errors import InputError, RunError
from iqattack.runs import Run


def test_creates_all_folders_and_discards_only_those(tmp_path, settings, brightness):
    (tmp_path / "runs").mkdir()
    run = Run.create(tmp_path / "runs" / "a" / "b", settings(), brightness)
    run.discard()
    assert list((tmp_path / "runs").iterdir()) == []


def test_discarding_keeps_an_empty_folder_that_was_there(tmp_path, settings, brightness):
    folder = tmp_path / "mine"
    folder.mkdir()
    Run.create(folder, settings(), brightness).discard()
    assert list(folder.iterdir()) == []


def test_a_run_that_was_there_is_never_discarded(tmp_path, settings, brightness):
    Run.create(tmp_path / "a", settings(), brightness).close()
    with Run.resume(tmp_path / "a", settings(), brightness) as run, pytest.raises(ValueError):
        run.discard()
    assert (tmp_path / "a" / "run.toml").is_file()


def test_a_folder_that_holds_something_is_refused(tmp_path, settings, brightness):
    (tmp_path / "thesis.tex").write_text("")
    with pytest.raises(RunError, match="not empty and not a run; use another --out"):
        Run.create(tmp_path, settings(), brightness)
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["thesis.tex"]


def test_what_a_killed_start_left_is_no_obstacle(tmp_path, settings, brightness):
    folder = tmp_path / "a"
    (folder / "adversarial").mkdir(parents=True)
    (folder / ".lock").touch()
    (folder / ".0123456789abcdef.tmp").touch()
    Run.create(folder, settings(), brightness).close()


@pytest.mark.parametrize("name", ["adversarial/mine.png", "notes.tmp", "adversarial"])
def test_files_of_the_user_are_refused_not_deleted(tmp_path, settings, brightness, name):
    mine = tmp_path / "a" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(RunError, match="not empty and not a run; use another --out"):
        Run.create(tmp_path / "a", settings(), brightness)
    assert mine.read_text() == "mine"


def test_discarding_keeps_what_others_put_there_meanwhile(tmp_path, settings, brightness):
    run = Run.create(tmp_path / "a", settings(), brightness)
    run.open_log().close()
    (run.folder / "notes.txt").write_text("mine")
    run.discard()
    assert [path.name for path in run.folder.iterdir()] == ["notes.txt"]


def test_a_run_is_started_once_and_resumed_with_its_own_settings(tmp_path, settings, brightness):
    folder = tmp_path / "a"
    with pytest.raises(RunError, match="no such run"):
        Run.resume(folder, settings(), brightness)
    Run.create(folder, settings(), brightness).close()
    with pytest.raises(RunError, match="already has a run; continue with --resume"):
        Run.create(folder, settings(), brightness)
    with pytest.raises(RunError, match=r"seed is 0 there, 1 here; use another --out"):
        Run.resume(folder, settings(seed=1), brightness)
    brightness.score_range = (0.0, 100.0)
    with pytest.raises(RunError, match=r"model's score_range is 0\.0, 255\.0 there, 0\.0, 100\.0"):
        Run.resume(folder, settings(), brightness)
    with pytest.raises(RunError, match=r"is not a run \(no run\.toml\)"):
        Run.open(tmp_path)


def test_what_a_killed_run_was_writing_is_gone_after_resuming(tmp_path, settings, brightness):
    folder = tmp_path / "a"
    Run.create(folder, settings(), brightness).close()
    half = [folder / ".0123456789abcdef.tmp", folder / "adversarial" / ".fedcba9876543210.tmp"]
    mine = [folder / "notes.tmp", folder / "adversarial" / "mine.tmp"]
    for path in (*half, *mine):
        path.touch()
    Run.resume(folder, settings(), brightness).close()
    assert not any(path.exists() for path in half)
    assert all(path.exists() for path in mine)


HOLD = """
import sys
from pathlib import Path
from iqattack.runs.files import FolderLock
lock = FolderLock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_one_process_writes_and_kill_9_releases(tmp_path, settings, brightness):
    folder = tmp_path / "a"
    Run.create(folder, settings(), brightness).close()
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(Path(__file__).parents[2] / "src"), "OMP_NUM_THREADS": "1"},
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(RunError, match="another process is writing this run"):
            Run.resume(folder, settings(), brightness)
        Run.open(folder)
    finally:
        other.kill()
        other.wait()
    Run.resume(folder, settings(), brightness).close()


def test_a_place_that_cannot_be_written_is_named(tmp_path, settings, brightness):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file/run: cannot be written"):
        Run.create(tmp_path / "file" / "run", settings(), brightness)
