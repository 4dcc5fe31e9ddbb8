"""Pages that show commands: they run, and print what the pages show."""

import difflib
import re
import shlex
from pathlib import Path

import pytest

from docs_site.tutorial import BLOCK, PAGE, commands_of, run_page
from iqattack.cli import main
from iqattack.samples import write_samples

DOCS = PAGE.parent
TIMES = re.compile(r"\d[\d,.]* (?:s|per second)\b")


@pytest.mark.slow
def test_the_tutorial_prints_what_it_shows(tmp_path):
    shown = PAGE.read_text("utf-8")
    made = run_page(shown, tmp_path)
    difference = list(
        difflib.unified_diff(
            TIMES.sub("…", shown).splitlines(), TIMES.sub("…", made).splitlines(), lineterm=""
        )
    )
    assert not difference, "\n".join(["run python -m docs_site.tutorial", *difference])
    assert (tmp_path / "audits" / "first" / "index.html").is_file()


def test_all_code_of_the_tutorial_is_run():
    shown = PAGE.read_text("utf-8")
    languages = re.findall(r"^```(\w+)", shown, re.MULTILINE)
    install = "```sh\npip install -e .\n```"  # the one that the tests have behind them
    assert install in shown
    assert languages.count("sh") == 1
    assert len(list(BLOCK.finditer(shown))) == len(languages) - 1
    commands = [
        command for block in BLOCK.finditer(shown) for command in commands_of(block["code"])
    ]
    assert len(commands) >= 6


def test_output_is_put_in_and_a_failing_command_is_an_error(tmp_path):
    page = "a\n```console\n$ echo 1 \\\n>   2\nold\n$ echo 3\n```\n```pycon\n>>> 1 + 1\n3\n```\nb\n"
    assert run_page(page, tmp_path) == (
        "a\n```console\n$ echo 1 \\\n>   2\n1 2\n$ echo 3\n3\n```\n```pycon\n>>> 1 + 1\n2\n```\nb\n"
    )
    (tmp_path / "again").mkdir()
    with pytest.raises(RuntimeError, match="ended with 1"):
        run_page("```console\n$ false\n```\n", tmp_path / "again")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own-attack.md", "compose-defences.md"])
def test_the_commands_of_guides_work(tmp_path, monkeypatch, capsys, name):
    """With few queries on few small images."""
    monkeypatch.chdir(tmp_path)
    text = (DOCS / name).read_text("utf-8")
    for block in re.finditer(r"^```python title=\"([^\"]+)\"\n(.*?)^```$", text, re.M | re.S):
        Path(block[1]).write_text(block[2])
    commands = [
        line
        for block in re.finditer(r"^```sh\n(.*?)^```$", text, re.M | re.S)
        for line in block[1].splitlines()
    ]
    assert len(commands) >= 6
    write_samples(Path("photos"))
    for line in commands:
        small = line.replace(" --limit 12", "").replace("--queries 200", "--queries 21")
        if "--queries" in small:
            small += " --limit 3 --resize 64"
        program, *arguments = shlex.split(small.replace("--times 8", "--times 2"))
        redirected = arguments[-1] if arguments[-2] == ">" else None
        assert program == "iqattack"
        status = main(arguments[:-2] if redirected else arguments)
        printed = capsys.readouterr()
        assert status == 0, f"{small}\n{printed.err}"
        if redirected:
            Path(redirected).write_text(printed.out)
