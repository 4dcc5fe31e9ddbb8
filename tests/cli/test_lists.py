"""Lists and help: what they say, and that they import nothing that takes long."""

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import iqattack as package
from iqattack import plugins
from iqattack.catalogue.attacks import ATTACKS
from iqattack.catalogue.models import MODELS
from iqattack.cli import main
from iqattack.cli.app import app

ROOT = Path(__file__).parents[2]
# What takes most of a second each, together several.
HEAVY = (
    "torch",
    "numpy",
    "scipy",
    "cv2",
    "skimage",
    "pyiqa",
    "matplotlib",
    "pandas",
    "onnxruntime",
)
PROGRAM = f"""
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {HEAVY}:
            print(name, "was imported", file=sys.stderr)
            raise SystemExit(3)

sys.meta_path.insert(0, Refuse())
from iqattack.cli import main
sys.exit(main())
"""
COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]


def program(*args, code=PROGRAM, **options):
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "150"}
    return subprocess.run(
        [sys.executable, "-c", code, *args],
        env=environment,
        text=True,
        stderr=subprocess.PIPE,
        check=False,
        **options,
    )


@pytest.mark.parametrize(
    "args",
    [
        ("attacks",),
        ("models",),
        ("models", "builtin"),
        ("models", "onnx"),
        ("models", "template", "torch"),
        ("--help",),
        ("--version",),
        *((command, "--help") for command in COMMANDS),
    ],
    ids=" ".join,
)
def test_lists_and_help_import_nothing_heavy(args):
    result = program(*args, stdout=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout


def test_the_guard_of_these_tests_refuses():
    result = program("attacks", "nes", stdout=subprocess.PIPE)
    assert result.returncode == 3
    assert "torch was imported" in result.stderr


def test_ctrl_c_is_seen_to_before_anything_of_others_is_imported():
    code = "import sys; before = set(sys.modules); import iqattack.cli; "
    code += "print(*sorted({name.partition('.')[0] for name in set(sys.modules) - before}))"
    result = program(code=code, stdout=subprocess.PIPE)
    assert {"typer", "rich", "typing", "importlib"}.isdisjoint(result.stdout.split())
    assert "signal" in result.stdout.split()


@pytest.mark.parametrize(
    "args",
    [("attacks",), ("models",), ("models", "builtin"), ("attacks", "nes"), ("--help",)],
    ids=" ".join,
)
def test_a_reader_that_went_away_is_no_traceback(args):
    reading, writing = os.pipe()
    os.close(reading)
    code = "import sys; from iqattack.cli import main; sys.exit(main())"
    result = program(*args, code=code, stdout=writing)
    os.close(writing)
    assert result.stderr == ""


def test_an_installed_attack_is_imported_once_and_listed(tmp_path, monkeypatch, capsys):
    count = tmp_path / "count"
    (tmp_path / "counted_attacks.py").write_text(
        f"open({str(count)!r}, 'a').write('x')\n"
        "def flips(task, amplitude: float = 2.5):\n"
        "    'Random signs.'\n"
        "    yield task.image[None]\n"
    )
    (tmp_path / "broken_attacks.py").write_text(
        f"open({str(count)!r}, 'a').write('y')\nraise ImportError('no such thing')\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint("theirs", "counted_attacks:flips", "iqattack.attacks"),
        EntryPoint("broken", "broken_attacks:flips", "iqattack.attacks"),
    ]
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [p for p in points if p.group == group]
    )
    monkeypatch.setenv("COLUMNS", "400")
    assert main(["attacks"]) == 0
    result = capsys.readouterr().out
    (line,) = (line for line in result.splitlines() if "theirs" in line)
    assert "Random signs." in line
    assert "amplitude" in line
    assert "cannot be imported" in result
    assert count.read_text() == "xy"


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_in_full(iqattack, monkeypatch, name):
    monkeypatch.setenv("COLUMNS", "250")
    result = iqattack("attacks", name)
    assert result.status == 0
    text = ATTACKS[name]
    first, rest = result.out.split("\n", 1)
    assert first == f"{name}: {text.summary}"
    for reported in (text.about, text.paper, text.access):
        assert reported in rest
    rows = {
        cells[0]: cells[1:]
        for line in result.out.splitlines()
        if line.startswith("│")
        for cells in [[cell.strip() for cell in line.strip("│").split("│")]]
    }
    assert list(rows) == list(text.options)
    for option, (kind, default, _, meaning) in rows.items():
        assert kind
        assert default
        assert meaning == text.options[option]
    # No place of the package on this machine, and none of its modules.
    assert not re.search(r"iqattack[/.]\w|/src/|site-packages", result.out)
    _runs(result.out.splitlines()[-1])


def test_types_defaults_and_ranges_of_an_attack(iqattack, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    lines = [re.sub(r"\s+", " ", line) for line in iqattack("attacks", "nes").out.splitlines()]
    assert any(line.startswith("│ samples │ integer │ 20 │ ≥ 2 │") for line in lines)
    assert any(line.startswith("│ momentum │ number │ 0.9 │ 0 ≤ x < 1 │") for line in lines)
    lines = [re.sub(r"\s+", " ", line) for line in iqattack("attacks", "square").out.splitlines()]
    assert any(line.startswith("│ norm │ choice │ linf │ linf | l2 │") for line in lines)


def _runs(line: str) -> None:
    """The example is one that the command line takes."""
    words = shlex.split(line.removeprefix("example: "))
    assert line.startswith("example: iqattack attack photos ")
    assert words[-2:] == ["--out", "runs/photos"]
    command = typer.main.get_group(app).commands["attack"]
    context = command.make_context("attack", words[2:])
    if context.params["name"] != "filter-search":
        assert package.attacks.load_attack(context.params["name"])


@pytest.mark.parametrize("name", [*sorted(MODELS.keys() - {"builtin"}), "onnx:FILE[,option=value]"])
def test_a_kind_of_model_in_full(iqattack, name):
    result = iqattack("models", name)
    text = MODELS[name.partition(":")[0]]
    assert result.status == 0
    assert text.about in result.out
    assert text.form in result.out
    for option in text.options:
        assert option in result.out
    _runs(result.out.splitlines()[-1])


def test_a_kind_of_model_that_there_is_not(iqattack):
    result = iqattack("models", "cnniq")
    assert (result.status, "did you mean 'cnniqa'?" in result.error) == (2, True)
    result = iqattack("models", "onnx", "torch")
    assert result.error == (
        "error: models onnx torch: unexpected argument 'torch'; to print a template, run iqattack "
        "models template NAME"
    )


def test_the_model_card_is_laid_out_on_a_terminal_alone(iqattack, monkeypatch):
    source = (ROOT / "docs" / "builtin.md").read_text(encoding="utf-8")
    assert iqattack("models", "builtin").out == source
    monkeypatch.setenv("FORCE_COLOR", "1")
    result = CliRunner().invoke(app, ["models", "builtin"]).stdout
    assert "| --- |" not in result
    assert "## What it is" not in result
    assert "What it is" in result


def test_what_packages_print_and_cost(tmp_path, monkeypatch, capfd):
    """An attack's package is imported, and prints to standard error; a model's is not."""
    (tmp_path / "loud.py").write_text(
        "print('module loud is there')\n"
        "def flips(task):\n"
        "    'Random signs.'\n"
        "    yield task.image[None]\n"
        "def load(): ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        EntryPoint("loud", "loud:flips", "iqattack.attacks"),
        EntryPoint("loud", "loud:load", "iqattack.models"),
    ]
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [p for p in points if p.group == group]
    )
    monkeypatch.setenv("COLUMNS", "200")
    for args, there in ((["models"], False), (["models", "loud"], True), (["attacks"], True)):
        sys.modules.pop("loud", None)
        assert main(args) == 0
        result = capfd.readouterr()
        assert "module loud is there" not in result.out
        assert ("module loud is there" in result.err) == ("loud" in sys.modules) == there
        assert "loud" in result.out
    sys.modules.pop("loud", None)
    assert main(["attacks", f"{tmp_path / 'loud.py'}:flips"]) == 0
    result = capfd.readouterr()
    assert "Random signs." in result.out
    assert "is there" not in result.out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
@pytest.mark.parametrize(
    "args", [("models",), ("--help",), ("attacks", "--help"), ("models", "builtin")], ids=" ".join
)
def test_a_full_disk_is_one_error(args):
    code = "import sys; from iqattack.cli import main; sys.exit(main())"
    with open("/dev/full", "w") as full:  # noqa: PTH123 - no file
        result = program(*args, code=code, stdout=full)
    assert result.returncode == 2
    assert result.stderr == (
        "error: output cannot be written (No space left on device); free some space\n"
    )
