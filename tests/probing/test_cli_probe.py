import json

import pytest
from rich.console import Console
from typer import Typer
from typer.testing import CliRunner

from iqattack.cli.probe import probe, show_probe
from iqattack.probing import Finding, Probe, Verdict

app = Typer()
app.command()(probe)

MODEL = """
def load():
    return contrast

def contrast(images):
    grey = images.double().mean(1)
    return (grey[..., 1:] - grey[..., :-1]).abs().mean((1, 2)) + 0.1 * len(images)

contrast.score_range, contrast.lower_better = (0.0, 50.0), False
"""


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.py").write_text(MODEL)
    return lambda *args: CliRunner().invoke(app, args)


def test_a_sound_model(run):
    result = run("builtin", "--queries", "120")
    assert result.exit_code == 0
    assert "verdict: no problems, no notes" in result.stdout
    assert "not checked, too few queries left (raise --queries): " in result.stdout
    assert "options" not in result.stdout.splitlines()[-1]


def test_a_problem_ends_with_status_1_and_names_the_option(run):
    result = run("m.py:load")
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == "options for iqattack attack: --batch 1"


def test_json(run):
    result = run("m.py:load", "--json")
    assert result.exit_code == 1
    read = json.loads(result.stdout)
    assert read["ok"] is False and read["options"] == ["--batch 1"]
    assert read["queries"] <= read["ceiling"] == 400


def test_progress_on_standard_error(run):
    lines = [json.loads(line) for line in run("builtin", "--queries", "60").stderr.splitlines()]
    lines = [line for line in lines if line["event"] == "progress"]  # loading takes long at times
    assert lines[0]["stage"] == "clean scores"
    assert lines[-1]["done"] <= 60 == lines[-1]["images"]


def test_names_and_messages_with_brackets_are_printed_as_they_are():
    finding = Finding("failures", "[bold]no[/bold]", Verdict.PROBLEM, "see [1]", "--batch 1")
    console = Console(record=True, width=100)
    show_probe(Probe("[m]", (finding,), 1, 400), console)
    text = console.export_text()
    assert "[m]" in text and "[bold]no[/bold]" in text and "see [1]" in text
