"""An error never offers an option that its command does not have."""

import ast
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import typer

import iqattack as package
from iqattack.cli.app import app

COMMANDS = {
    name: {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
    for name, command in typer.main.get_group(app).commands.items()
}
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
# Where another command is named, its options are meant.
NAMED = re.compile(r"iqattack (\w+)((?: [^\s'\";,]+)*)")
SOURCE = Path(package.__file__).parent


def offered(text):
    """(command or None for the one that runs, option) of what a message offers."""
    found, rest = [], text
    for named in NAMED.finditer(text):
        if named[1] in COMMANDS:
            found += [(named[1], option) for option in OPTION.findall(named[2])]
            rest = rest.replace(named[0], " ")
    return found + [(None, option) for option in OPTION.findall(rest)]


def unknown(text, command):
    """The options in a message that are not those of the command that they are offered for."""
    return [
        option
        for named, option in offered(text)
        if option not in COMMANDS[named or command] and option not in ("--help", "--version")
    ]


def test_the_search_finds_options():
    text = "go on with --resume, or 'iqattack verify --trust run' and --queries=3; a--b, ---"
    assert offered(text) == [("verify", "--trust"), (None, "--resume"), (None, "--queries")]
    assert unknown("use --resume", "compare") == ["--resume"]
    assert unknown("'iqattack attack --resume' writes it again", "compare") == []


def test_every_option_in_the_source_is_one_of_some_command():
    every = set().union(*COMMANDS.values())
    for path in SOURCE.rglob("*.py"):
        if "templates" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = re.sub(r"(pip install|ray start) [^;']*", "", node.value)
                odd = set(OPTION.findall(text)) - every - {"--version", "--help"}
                assert not odd, f"{path}:{node.lineno}"


# Modules, and the commands whose errors come through them.
LOOKING = ("evaluate", "compare", "report", "verify")
THROUGH = {
    "runs/summary.py": LOOKING,
    "runs/traces.py": ("evaluate", "compare", "report"),
    "runs/compare.py": ("compare",),
    "runs/detect.py": ("detect",),
    "runs/behind.py": ("defended",),
    "runs/rescore.py": ("rescore",),
    "runs/rescored.py": (*LOOKING, "rescore"),
    "detection/blacklight.py": ("detect",),
    "detection/parse.py": ("detect",),
    "runs/verify.py": ("verify",),
    "runs/trust.py": ("verify",),
    "runs/results.py": LOOKING,
    "runs/visibility.py": ("evaluate",),
    "runs/pairs.py": LOOKING,
    "runs/provenance.py": LOOKING,
    "engine/log.py": (*LOOKING, "attack", "profile", "universal"),
    "reporting/page.py": ("report",),
    "reporting/figures/figure.py": ("plot",),
    "reporting/figures/labels.py": ("plot",),
    "reporting/figures/look.py": ("plot",),
    "reporting/figures/series.py": ("plot",),
    "reporting/card_page.py": ("report", "audit"),
    "reporting/telling.py": ("report", "audit"),
    "reporting/board.py": ("leaderboard",),
    "auditing/audit.py": ("audit",),
    "auditing/checking.py": ("check", "leaderboard"),
    "auditing/parsing.py": ("audit",),
    "auditing/replayed.py": ("check", "leaderboard"),
    "auditing/same_way.py": ("check",),
    "auditing/policy.py": ("audit",),
    "auditing/suite.py": ("audit",),
    "defences/own.py": ("attack", "survey", "audit", "check", "probe", "defended"),
    "defences/parse.py": ("attack", "survey", "audit", "check", "probe", "defended"),
    "runs/execute.py": ("attack",),
    "runs/losses.py": ("attack", "profile", "universal"),
    "runs/profile.py": ("profile",),
    "runs/learning.py": ("profile", "universal"),
    "runs/universal.py": ("universal",),
    "directions/universal.py": ("universal", "apply", "attack"),
}


def texts(path):
    """The texts of a module, those of one expression as one; docstrings aside."""
    tree = ast.parse(path.read_text())
    inner = {child for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)
             for child in node.values}  # fmt: skip
    documented = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if id(node) in documented or node in inner:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(str(v.value) if isinstance(v, ast.Constant) else "…" for v in node.values)


@pytest.mark.parametrize("module", THROUGH)
def test_texts_of_a_module_offer_what_all_its_commands_have(module):
    for text in texts(SOURCE / module):
        for command in THROUGH[module]:
            assert not unknown(text, command), (text, command)


# -- and as they come out -------------------------------------------------------------------------


def sql(folder, *statements):
    with closing(sqlite3.connect(folder / "log.sqlite")) as log:
        for statement in statements:
            log.execute(statement)
        log.commit()


def foreign(folder):
    toml = folder / "run.toml"
    toml.write_text(toml.read_text().replace("seed = 0", "seed = 0\n"))


def text_of(name, text):
    return lambda folder: (folder / name).write_text(text)


STATES = {
    "no run": shutil.rmtree,
    "no settings": lambda folder: (folder / "run.toml").unlink(),
    "broken settings": text_of("run.toml", "x = ["),
    "other settings": text_of("run.toml", 'x = "y"'),
    "another format": text_of("run.toml", "format = 9"),
    "nothing finished": lambda folder: sql(folder, "DELETE FROM result"),
    "no log": lambda folder: (folder / "log.sqlite").unlink(),
    "empty log": text_of("log.sqlite", ""),
    "broken log": text_of("log.sqlite", "not a log" * 1000),
    "log of another version": lambda folder: sql(folder, "PRAGMA user_version=77"),
    "a gap in the log": lambda folder: sql(folder, "UPDATE chunk SET first = 2 WHERE task = 1"),
    "a changed log": lambda folder: sql(folder, "UPDATE chunk SET rows = zeroblob(96)"),
    "a shorter log": lambda folder: sql(folder, "DELETE FROM chunk WHERE task = 1"),
    "an invalid result": lambda folder: sql(folder, "UPDATE result SET json = '{}'"),
    "broken table": text_of("results.csv", "a;b\n"),
    "no table": lambda folder: (folder / "results.csv").unlink(),
    "broken summary": text_of("summary.json", "["),
    "no pictures": lambda folder: shutil.rmtree(folder / "adversarial"),
    "somebody else's": foreign,
    "changed model": lambda folder: (folder.parent / "model.py").write_text("raise SystemExit(1)"),
    "no model": lambda folder: (folder.parent / "model.py").unlink(),
    "no images": lambda folder: shutil.rmtree(folder.parent / "photos"),
}
RUNS = {
    "evaluate": ("evaluate", "run"),
    "evaluate at a budget": ("evaluate", "run", "--queries", "3"),
    "evaluate beyond the budget": ("evaluate", "run", "--queries", "300"),
    "compare": ("compare", "run", "other"),
    "compare at a budget": ("compare", "run", "other", "--queries", "3"),
    "report": ("report", "run"),
    "detect": ("detect", "run"),
    "defended": ("defended", "run", "--defence", "bits:5"),
    "rescore": ("rescore", "run", "--times", "2"),
    "verify": ("verify", "run"),
    "plot": ("plot", "run", "--out", "figure.svg"),
    "plot what is seen": ("plot", "run", "other", "--kind", "ssim", "--out", "figure.svg"),
    "resume": ("attack", "photos", "--model", "model.py:load", "--attack", "noise",
               "--constraint", "linf:3", "--queries", "6", "--out", "run", "--resume"),
    "attack": ("attack", "photos", "--model", "model.py:load", "--attack", "noise",
               "--constraint", "linf:3", "--queries", "6", "--out", "run"),
}  # fmt: skip


@pytest.mark.parametrize("state", STATES)
def test_what_a_broken_run_says(iqattack, attack, work, state):
    assert attack().status == 0
    shutil.copytree("run", "other")
    shutil.copytree(work, work / "whole")
    for command in RUNS.values():
        for name in ("run", "photos"):
            shutil.rmtree(work / name, ignore_errors=True)
            shutil.copytree(work / "whole" / name, work / name)
        shutil.copy(work / "whole" / "model.py", work / "model.py")
        STATES[state](work / "run")
        result = iqattack(*command)
        assert "Traceback" not in result.err, (command, result.err)
        assert not unknown(result.err + result.out, command[0]), (command, result.err)
