"""Everything that the design lists as bad input: one line, exit status 2, nothing half-written."""

import csv
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


def names(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def alone(kind):
    """Put one bad image into bad/."""
    Path("bad").mkdir()
    noise = np.random.default_rng(1).integers(0, 256, (20, 24, 4), dtype=np.uint8)
    match kind:
        case "truncated":
            data = Path("photos/0.png").read_bytes()
            Path("bad/x.png").write_bytes(data[: len(data) // 2])
        case "no image":
            Path("bad/x.png").write_text("hello")
        case "empty":
            Path("bad/x.png").touch()
        case "16-bit":
            Image.fromarray(noise[..., 0].astype(np.uint16) * 257).save("bad/x.png")
        case "CMYK":
            Image.fromarray(noise, "CMYK").save("bad/x.jpg")
        case "small":
            Image.fromarray(noise[:11, :, :3]).save("bad/x.png")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("truncated", "error: bad/x.png: is damaged or truncated"),
        ("no image", "error: bad/x.png: is not a readable image; expected PNG"),
        ("empty", "error: bad/x.png: is an empty file"),
        ("16-bit", "error: bad/x.png: is 16-bit, expected 8-bit RGB"),
        ("CMYK", "error: bad/x.jpg: is CMYK, expected 8-bit RGB"),
        ("small", "error: bad/x.png: 24×11 pixels, brightness takes at least 12×12"),
    ],
)
@pytest.mark.filterwarnings("ignore:'mode' parameter:DeprecationWarning")
def test_an_image_that_cannot_be_attacked(attack, kind, expected):
    alone(kind)
    result = attack(images="bad")
    assert result.status == 2
    assert result.error.startswith(expected)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        ("nowhere", "error: nowhere: no such image, folder or list"),
        ("no*.png", "error: no*.png: this pattern matches no images"),
    ],
)
def test_images_that_are_not_there(attack, images, expected):
    result = attack(images=images)
    assert (result.status, result.error.startswith(expected)) == (2, True)
    assert not Path("run").exists()


def test_a_path_that_cannot_be_looked_at(attack, iqattack):
    long = "a" * 300
    for result in (
        iqattack("evaluate", long),
        iqattack("verify", long),
        attack("--out", long),
        attack(images=long),
        attack(model=f"cnniqa:{long}"),
        attack(model=f"{long}.py:load"),
        attack("--mos", f"{long}.csv"),
    ):
        assert result.status == 2
        assert result.error.startswith(f"error: {long}")
        assert "File name too long" in result.error


def test_16_bit_and_cmyk_are_converted_if_asked(attack):
    alone("16-bit")
    result = attack("--convert", images="bad")
    assert result.status == 0
    assert '"image": "x.png", "text": "16-bit levels scaled to 8 bits"' in result.err


@pytest.mark.parametrize("mode", ["L", "P"])
def test_grey_and_palette_are_converted_and_said_once(attack, mode):
    Image.open("photos/0.png").convert(mode).save("photos/0.png")
    result = attack()
    what = {"L": "grey", "P": "palette"}[mode]
    assert result.status == 0
    assert result.err.count(f'"image": "0.png", "text": "{what} converted to RGB"') == 1


def test_two_images_with_one_name(attack):
    Path("more").mkdir()
    shutil.copy("photos/0.png", "more/0.png")
    result = attack("more")
    assert result.status == 2
    assert result.error.startswith("error: more/0.png and photos/0.png have one name")
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ("0.png,1\n1.png,2\n2.png,3\n", "mos.csv: no score for 1 (3.png) of 4 images"),
        ("0.png,1\n0.png,2\n", "mos.csv, line 3: 0.png is scored twice"),
        ("0.png,good\n", "mos.csv, line 2: score 'good' of 0.png, expected a number"),
        ("0.png,1\n1.png,2\n2.png,3\n3.png,4_0\n", "mos.csv, line 5: score '4_0' of 3.png"),
    ],
)
def test_a_mos_table_that_does_not_fit(attack, rows, expected):
    Path("mos.csv").write_text("image,mos\n" + rows)
    result = attack("--mos", "mos.csv")
    assert (result.status, result.error.startswith(f"error: {expected}")) == (2, True)
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        ("nan", "photos/0.png: model.py:nan gave it the score nan, expected a finite number"),
        (
            "infinite",
            "photos/0.png: model.py:infinite gave it the score inf, expected a finite",
        ),
        ("misshapen", "photos/0.png: model 'model.py:misshapen' returned shape (2,) for 1"),
    ],
)
def test_scores_that_are_none(attack, factory, expected):
    result = attack(model=f"model.py:{factory}")
    assert result.status == 2
    assert f"error: {Path.cwd()}/{expected}" in result.error or f"error: {expected}" in result.error
    assert not Path("run").exists()  # nothing in it would be of use


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--attack", "nose"), "unknown attack 'nose': did you mean 'noise'?"),
        (("--attack", "noise:knd=both"), "did you mean 'kind'?"),
        (("--model", "buildin"), "unknown model 'buildin': did you mean 'builtin'?"),
        (("--model", "model.py:laod"), "did you mean 'load'?"),
        (("--constraint", "limf:3"), "unknown constraint 'limf': did you mean 'linf'?"),
        (("--constraint", "linf:0.01"), "0.01 of white is linf:2.55"),
        (("--floor", "ssmi:0.9"), "unknown floor 'ssmi': did you mean 'ssim'?"),
        (("--objective", "ranks"), "unknown objective 'ranks': did you mean 'rank'?"),
        (("--queries", "0"), "queries 0: expected at least 1"),
        (("--limit", "0"), "limit 0: expected at least 1 image"),
        (("--batch", "0"), "--batch 0: expected at least 1, or auto"),
        (("--score-range", "5"), "--score-range 5: expected LO,HI"),
        (("--score-range", "5,1"), "the lower first"),
        (("--model", "model.py:undeclared"), "give --score-range LO,HI"),
        (
            ("--model", "model.py:undeclared", "--score-range", "-200,55"),
            "give --lower-better or --no-lower-better",
        ),
    ],
)
def test_options_that_mean_nothing(attack, options, expected):
    result = attack(*options)
    assert result.status == 2
    assert result.error.startswith("error: ")
    assert expected in result.error
    assert not Path("run").exists()


def test_an_unknown_option_or_command_is_wrong_usage(attack, iqattack):
    assert attack("--querys", "5").status == 2
    assert attack("--queries", "many").status == 2
    assert iqattack("atack").status == 2
    assert not Path("run").exists()


def test_a_folder_that_belongs_to_something_else(attack):
    result = attack("--resume")  # one command for the first time and for all others
    assert result.status == 0
    assert "no run in run yet; starting one" in result.err
    before = Path("run/results.csv").read_bytes()
    assert "run: already has a run; continue with --resume" in attack().error
    result = attack("--resume", "--seed", "7")
    assert result.status == 2
    assert "run: belongs to other settings: seed is 0 there, 7 here; use another" in result.error
    Path("notes").mkdir()
    Path("notes/a.txt").touch()
    assert "notes: is not empty and not a run" in attack("--out", "notes").error
    assert "notes: is not empty and not a run" in attack("--out", "notes", "--resume").error
    assert names("notes") == ["a.txt"]
    assert Path("run/results.csv").read_bytes() == before


@pytest.mark.parametrize("command", ["evaluate", "verify"])
def test_a_run_that_is_none(iqattack, command):
    assert iqattack(command, "nowhere").error.startswith("error: nowhere: no such run")
    assert "photos: is not a run" in iqattack(command, "photos").error


def test_one_bad_image_among_good_ones(attack, iqattack):
    Path("photos/1.png").write_bytes(b"\x89PNG")
    result = attack()
    assert result.status == 1
    assert "1 image failed" in result.err
    with Path("run/results.csv").open(newline="") as file:
        statuses = [row["status"] for row in csv.DictReader(file)]
    assert [status.partition(":")[0] for status in statuses] == ["ok", "failed", "ok", "ok"]
    assert names("run/adversarial") == ["0.png", "2.png", "3.png"]
    result = iqattack("verify", "run")
    assert (result.status, "3 images checked: all as reported, 1 failed before" in result.out) == (
        0,
        True,
    )


@pytest.fixture
def small_disk(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small tmpfs is not allowed here: needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("free", [0, 8, 40, 100])
def test_a_full_disk(attack, small_disk, free):
    """With `free` KiB: too little for the settings, the log, or the second image."""
    with (small_disk / "ballast").open("wb") as ballast:
        for _ in range(256 - free):
            ballast.write(bytes(1024))
            ballast.flush()
    result = attack("--queries", "400", "--out", str(small_disk / "run"))
    assert result.status == 2
    assert (
        "No space left" in result.error or "disk is full" in result.error or "I/O" in result.error
    )
    assert "free some space" in result.error
    # What is there is whole: the run goes on once there is room, or starts anew.
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    resume = ["--resume"] if (small_disk / "run").exists() else []
    assert attack("--queries", "400", "--out", str(small_disk / "run"), *resume).status == 0
