"""Images and tables of opinions as a person gives them."""

import json
import os
import shutil
from pathlib import Path

import pytest

import iqattack as package
from iqattack.errors import InputError
from iqattack.images import MosColumns


def notes(result):
    lines = [json.loads(line) for line in result.err.splitlines() if line.startswith("{")]
    return [line["text"] for line in lines if line["event"] == "note"]


def opinions():
    return [row.mos for row in package.open_run("run").results]


def test_the_rest_of_a_table_and_of_a_folder_is_said(attack):
    Path("mos.csv").write_text("image,mos\n0.png,1\n1.png,2\n2.png,3\n3.png,4\n4.png,5\n")
    Path("photos/notes.txt").touch()
    result = attack("--mos", "mos.csv")
    assert result.status == 0, result.err
    assert notes(result) == [
        "left out of photos: 1 file without an image's suffix (notes.txt)",
        "the table of opinion scores has 1 further image",
    ]
    assert opinions() == [1, 2, 3, 4]


def test_a_table_of_more_images_than_are_given(attack):
    Path("mos.csv").write_text("image;mos\n0.png;1,5\n1.png;2\n2.png;3\n3.png;4\n")
    result = attack("photos/3.png", "--mos", "mos.csv", images="photos/0.png")
    assert result.status == 0, result.err
    assert opinions() == [1.5, 4]


def test_references_do_not_count_for_the_limit(attack):
    shutil.copy("photos/0.png", "photos/00.png")
    Path("mos.csv").write_text("image,ref,mos\n0.png,00.png,1\n1.png,00.png,2\n")
    result = attack("--mos", "mos.csv", "--limit", "2")
    assert result.status == 0, result.err
    assert [row.image for row in package.open_run("run").results] == ["0.png", "1.png"]
    assert "1 reference image left out" in notes(result)


def test_columns_are_kept_with_the_run(attack, iqattack):
    Path("mos.csv").write_text("who,a,b\n0.png,1,9\n1.png,2,8\n2.png,3,7\n3.png,4,6\n")
    result = attack("--mos", "mos.csv")
    assert result.status == 2
    assert (
        "its first line has who, a, b, expected names such as image and mos; choose with "
        in result.err
    )
    assert "--mos-columns image=NAME,mos=NAME" in result.err
    columns = ("--mos", "mos.csv", "--mos-columns", "dmos=b, image=who")
    assert attack(*columns).status == 0
    assert opinions() == [9, 8, 7, 6]
    settings = package.open_run("run").settings
    assert (settings.mos_columns, settings.mos_lower_better) == ("image=who,dmos=b", True)
    assert iqattack("verify", "run").status == 0
    assert attack(*columns, "--resume").status == 0
    result = attack("--mos", "mos.csv", "--mos-columns", "image=who,mos=a", "--resume")
    assert result.status == 2
    assert "mos_columns is image=who,dmos=b there, image=who,mos=a here" in result.err


def test_columns_by_themselves(attack):
    result = attack("--mos-columns", "image=a,mos=b")
    assert (result.status, "add mos (--mos)" in result.err) == (2, True)
    Path("mos.csv").write_text("image,mos\n0.png,1\n")
    result = attack("--mos", "mos.csv", "--mos-columns", "a,b")
    assert (result.status, "expected image=NAME,mos=NAME" in result.err) == (2, True)
    with pytest.raises(InputError, match="expected image=NAME"):
        MosColumns.parse("mos")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes there")
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--mos", "PIPE.csv"), "is a named pipe"),
        (("--attack", "filter-search:profile=PIPE.json"), "is no file"),
        (("--attack", "universal:file=PIPE.json"), "is no file"),
        (
            ("--attack", "PIPE.py:attack"),
            "attack file 'PIPE.py': is a named pipe; expected FILE.py",
        ),
        (("--model", "PIPE.py:load"), "model file 'PIPE.py': is a named pipe; expected FILE.py"),
        (("--model", "PIPE.toml"), "is not a regular file"),
        (("--model", "cnniqa:PIPE.pth"), "'PIPE.pth': is a named pipe; expected"),
        (("--model", "onnx:PIPE.onnx,mean"), "is a named pipe: 'PIPE.onnx'; expected onnx"),
    ],
)
def test_pipes_are_never_opened(attack, options, expected):
    for suffix in ("csv", "json", "py", "toml", "pth", "onnx"):
        os.mkfifo(f"PIPE.{suffix}")
    result = attack(*options)
    assert (result.status, expected in result.err) == (2, True), result.err
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("option", "spec"),
    [
        ("--attack", "folder.py:attack"),
        ("--model", "folder.py:load"),
        ("--model", "cnniqa:folder.pth"),
        ("--model", "onnx:folder.onnx"),
    ],
)
def test_folders_that_are_called_like_files(attack, option, spec):
    for suffix in ("py", "pth", "onnx"):
        Path(f"folder.{suffix}").mkdir()
    result = attack(option, spec)
    assert (result.status, "is a folder" in result.err) == (2, True), result.err


def test_an_image_that_is_far_too_large_fails_alone(attack):
    with Path("photos/3.png").open("wb") as file:
        file.truncate(2**40)  # without taking room
    assert attack().status == 1
    status = {row.image: row.status for row in package.open_run("run").results}
    assert "is too large (1,099,511,627,776 bytes)" in status.pop("3.png")
    assert not any(text.startswith("failed") for text in status.values())
    assert list(status) == ["0.png", "1.png", "2.png"]


def test_a_dmos_that_may_be_a_mos_is_said(attack):
    Path("mos.csv").write_text("image,dmos\n0.png,1\n1.png,2\n2.png,3\n3.png,4\n")
    result = attack("--mos", "mos.csv")
    assert (result.status, package.open_run("run").settings.mos_lower_better) == (0, True)
    assert any("dmos: lower is better" in note for note in notes(result))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes there")
def test_a_pipe_among_images(attack):
    os.mkfifo("photos/x.png")
    result = attack()
    assert (result.status, notes(result)) == (0, ["left out of photos: 1 named pipe (x.png)"])
    result = attack(images="photos/x.png")
    assert (result.status, "is a named pipe, expected an image" in result.err) == (2, True)


def test_a_model_that_has_pillow_read_what_is_cut(attack):
    data = Path("photos/3.png").read_bytes()
    Path("photos/3.png").write_bytes(data[: len(data) // 3])
    text = Path("model.py").read_text()
    switch = "from PIL import ImageFile\nImageFile.LOAD_TRUNCATED_IMAGES = True\n"
    Path("model.py").write_text(switch + text)
    from PIL import ImageFile  # noqa: PLC0415 - as the model has it

    try:
        result = attack()
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False
    assert result.status == 1
    status = {row.image: row.status for row in package.open_run("run").results}
    assert "is damaged or truncated" in status.pop("3.png")
    assert not any(text.startswith("failed") for text in status.values())
    assert list(status) == ["0.png", "1.png", "2.png"]
