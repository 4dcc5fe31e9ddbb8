"""The Python in the README runs and prints what it says."""

import doctest
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from iqattack import open_run
from iqattack.cli import main
from iqattack.samples import write_samples

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.mark.slow
def test_readme_python_is_true(tmp_path, monkeypatch, few_resamples):
    monkeypatch.chdir(tmp_path)
    write_samples(Path("photos"))
    failed, tried = doctest.testfile(
        str(README), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert tried >= 5
    assert failed == 0


def test_the_first_lines_of_python_run(tmp_path, monkeypatch, capsys, few_resamples):
    monkeypatch.chdir(tmp_path)
    write_samples(Path("photos"))
    for path in sorted(Path("photos").glob("*.png"))[3:]:
        path.unlink()
    code = README.read_text("utf-8").partition("```python\n")[2].partition("```")[0]
    assert "queries=500" in code
    exec(compile(code.replace("queries=500", "queries=4"), str(README), "exec"), {})
    printed = capsys.readouterr().out
    assert printed == f"{open_run('runs/builtin').summary().verdict.text}\n"
    assert printed.startswith("With at most 4 queries per image, ")


@pytest.mark.slow
def test_the_second_command_works_when_pasted(tmp_path, monkeypatch, few_resamples):
    """In an empty folder; here, on one small image."""
    monkeypatch.chdir(tmp_path)
    (line,) = (
        line
        for line in README.read_text("utf-8").partition("\n## ")[0].splitlines()
        if line.startswith(".venv/bin/iqattack ")
    )
    small = ["--limit", "1", "--resize", "64"]
    assert main([*shlex.split(line, comments=True)[1:], *small]) == 0
    assert Path("audits/builtin/index.html").is_file()


@pytest.mark.slow
def test_the_commands_for_a_model_of_ones_own_work_when_pasted(
    tmp_path, monkeypatch, capsys, few_resamples
):
    """Those that need a shell, and the first, in a shell; the others here."""
    monkeypatch.chdir(tmp_path)
    text = README.read_text("utf-8")
    first = text.partition("## Attack your own\n```\n")[2].partition("```")[0]
    own = text.partition("Your own model needs")[2].partition("```\n")[2].partition("```")[0]
    assert "models template torch" in own and "--input imagenet" in own
    commands = [line for line in (first + own).splitlines() if line.startswith("iqattack")]
    script = "\n".join(commands).replace("--queries 500", "--queries 30").replace("100", "20")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    for line in script.splitlines():
        if ">" in line or line.startswith("iqattack samples"):
            done = subprocess.run(
                line, check=False, shell=True, env=environment, capture_output=True, text=True
            )
            status, errors = done.returncode, done.stderr
        else:
            status = main(shlex.split(line, comments=True)[1:])
            errors = capsys.readouterr().err
        # A probe that finds a problem, as of a network with random weights, ends with 1.
        expected = (0, 1) if line.startswith("iqattack probe") else (0,)
        assert status in expected, f"{line}\n{errors}"
        if line.startswith("iqattack samples"):  # the commands after it need a few of them
            for path in sorted((tmp_path / "photos").glob("*.png"))[3:]:
                path.unlink()
    assert len(commands) >= 8
    assert (tmp_path / "runs" / "mine" / "summary.json").is_file()
