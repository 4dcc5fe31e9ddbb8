"""The files that `iqattack models template` prints, each used as its first lines say."""

import subprocess
import sys
import tomllib

import pytest

from iqattack.cli import main

MODELS = {
    "torch": ("FILE.py:load", "--input", "imagenet"),
    "numpy": ("FILE.py:load", "--input", "numpy,nhwc,single"),
    "pil": ("FILE.py:load", "--input", "pil"),
    "command": ("command:PYTHON FILE.py",),
    "attack": ("builtin", "--attack", "FILE.py:random_signs:batch=8"),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    assert main(["samples", str(folder / "photos")]) == 0
    return folder / "photos"


def printed(name, capsys):
    capsys.readouterr()
    assert main(["models", "template", name]) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", MODELS)
def test_a_template_works_as_it_says(name, photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "mine.py"
    file.write_text(printed(name, capsys))
    model, *options = (
        part.replace("FILE.py", str(file)).replace("PYTHON", sys.executable)
        for part in MODELS[name]
    )
    # What it says of itself is what is tried.
    said = " ".join(file.read_text().replace("\\\n", " ").split())
    assert all(part in said for part in MODELS[name][1:])
    arguments = [photos, "--limit", "3", "--model", model, *options]
    budget = ["--queries", "20", "--constraint", "linf:3", "--out", "run"]
    assert main(["attack", *map(str, arguments), *budget]) == 0, capsys.readouterr().err
    capsys.readouterr()
    assert main(["verify", "run"]) == 0
    assert "3 images checked: all as reported" in capsys.readouterr().out


def test_the_service_is_described_in_full(capsys):
    said = tomllib.loads(printed("service", capsys))
    assert {
        "url",
        "headers",
        "image",
        "score",
        "score_range",
        "lower_better",
        "rate",
    } <= said.keys()
    assert said["headers"]["Authorization"] == "Bearer ${QUALITY_TOKEN}"


def test_templates_that_there_are_not(capsys):
    assert main(["models", "template"]) == 2
    assert "expected one of attack, command, numpy" in capsys.readouterr().err
    assert main(["models", "template", "torhc"]) == 2
    assert "did you mean 'torch'?" in capsys.readouterr().err


def test_a_template_can_be_written_to_a_file(tmp_path):
    with (tmp_path / "m.py").open("w") as file:
        command = [sys.executable, "-m", "iqattack", "models", "template", "pil"]
        subprocess.run(command, stdout=file, check=True)
    compile((tmp_path / "m.py").read_text(), "m.py", "exec")
