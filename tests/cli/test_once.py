"""Options that come twice, contradict each other, or are for something else, are reported."""

import json

import pytest
import typer

from iqattack.cli import main
from iqattack.cli.app import app
from iqattack.errors import InputError
from iqattack.runs import Settings

COMMANDS = typer.main.get_group(app).commands


def singles():
    """(command, option, its texts) of every option that may be given once."""
    for name, command in COMMANDS.items():
        for param in command.params:
            if param.param_type_name != "option" or param.is_eager or param.multiple:
                continue
            words = [param.opts[0], (param.secondary_opts or param.opts)[-1]]
            yield pytest.param(name, param, words, id=f"{name} {param.opts[0]}")


@pytest.mark.parametrize(("name", "param", "words"), singles())
def test_every_single_option_is_refused_twice(capsys, name, param, words):
    """Before anything else is looked at, and for both forms of a switch."""
    arguments = [
        part
        for word, value in zip(words, ("1", "2"), strict=True)
        for part in ((word,) if param.is_flag else (word, value))
    ]
    required = []
    for other in COMMANDS[name].params:
        if other.required and other is not param:
            required += [other.opts[0], "x"] if other.param_type_name == "option" else ["x"]
    assert main([name, *required, *arguments]) == 2
    result = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"{param.opts[0]}" in result
    assert "is given 2 times; give it once" in result


@pytest.mark.parametrize("name", COMMANDS)
def test_an_empty_value_is_refused(capsys, name):
    """An empty path would be the working folder."""
    command = COMMANDS[name]
    for param in command.params:
        if param.is_eager or getattr(param, "is_flag", False):
            continue
        option = param.param_type_name == "option"
        given = []
        for other in command.params:
            if other is param:
                given += [f"{param.opts[0]}="] if option else [""]
            elif other.param_type_name == "argument":
                given += ["x"]
            elif other.required:
                given += [other.opts[0], "x"]
        assert main([name, *given]) == 2
        shown = param.opts[0] if option else param.name.upper()
        rest = "" if param.required else ", or leave it out"
        expected = f"error: {shown}: its value is empty; give one{rest}\n"
        assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "arguments", [["", "--help"], ["--help", ""], ["--queries", "3", "--queries", "4", "--help"]]
)
def test_help_is_given_whatever_else_is(capsys, arguments):
    assert main(["attack", *arguments]) == 0
    assert "Usage" in capsys.readouterr().out


def test_an_option_that_takes_several_may_come_again(iqattack, attack):
    assert attack().status == 0
    result = iqattack("evaluate", "run", "--metric", "none", "--metric", "none")
    assert "times" not in result.err


def test_a_value_is_no_option(iqattack, attack):
    """What only looks like a repeated option is not one."""
    assert attack("--out", "--queries").status == 0
    assert main(["attack", "--", "--queries", "--queries"]) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--queries", str(10**12)),
            "error: queries 1000000000000: expected at most 1,000,000,000",
        ),
        (("--concurrency", str(10**7)), "error: concurrency 10000000: expected at most 1024"),
        (
            ("--workers", "2", "--concurrency", "2"),
            "error: workers and concurrency: expected at most one",
        ),
        (
            ("--workers", "2", "--max-requests", "9"),
            "error: max_requests: needs a single process",
        ),
        (("--device", "cuda"), "device cuda: the factory has no parameter device; leave it out"),
        (("--accept-lost-log",), "error: --accept-lost-log applies to a run that is resumed"),
        (("--accept-changed-model",), "error: --accept-changed-model applies to a run that is"),
    ],
)
def test_options_that_do_not_fit(attack, work, options, message):
    result = attack(*options)
    assert result.status == 2
    assert message in result.err
    assert "Traceback" not in result.err
    assert not (work / "run").exists()


def test_settings_that_differ_on_resume(attack):
    assert attack().status == 0
    result = attack("--resume", "--queries", "7")
    assert "belongs to other settings: queries is 6 there, 7 here" in result.err
    assert result.status == 2


def test_no_check_on_resume_is_told_where_the_run_has_one(attack):
    assert attack("--check").status == 0
    result = attack("--resume", "--no-check")
    assert result.status == 0
    notes = [json.loads(line) for line in result.err.splitlines() if '"note"' in line]
    assert any("was begun with --check, so --no-check is ignored" in note["text"] for note in notes)


def test_devices_of_what_takes_none(iqattack, attack, work):
    (work / "service.toml").write_text(
        'url = "http://127.0.0.1:9/"\nscore_range = [0, 1]\nlower_better = false\n'
    )
    for model in ("http://127.0.0.1:9/#score_range=0,1&lower_better=false", "service.toml"):
        result = attack("--device", "cuda", model=model)
        assert "device cuda: a service takes no device; leave it out" in result.err
    assert attack().status == 0
    result = iqattack("evaluate", "run", "--device", "cuda")
    assert "error: --device cuda applies to metrics; add --metric, or leave it out" in result.err
    result = iqattack("verify", "run", "--device", "cuda")
    assert "device cuda: the factory has no parameter device" in result.err


def test_the_largest_budget_is_one():
    values = {"images": ("x",), "model": "builtin"}
    assert Settings.of(**values, queries=10**9).queries == 10**9
    with pytest.raises(InputError, match="expected at most 1,000,000,000 per image"):
        Settings.of(**values, queries=10**9 + 1)
