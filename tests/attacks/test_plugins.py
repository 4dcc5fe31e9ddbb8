"""Attacks and models of other people: files, modules, functions, installed packages."""

import hashlib
import sys
from importlib.metadata import EntryPoint

import pytest
import torch

import iqattack
from iqattack import plugins
from iqattack.attacks import all_attacks, canonical_attack, find, labelled, load_attack, taken_files
from iqattack.cli import main
from iqattack.errors import InputError, RunError
from iqattack.images import write_png
from iqattack.models import load_model, model_kinds

ATTACK = '''
import torch

def flips(task, amplitude: float = 2.0, batch: int = 2):
    """Random signs everywhere."""
    while True:
        shape = (batch, *task.image.shape)
        noise = torch.randn(shape, generator=task.rng).sign() * amplitude
        yield task.image + noise

def no_generator(task):
    return [task.image]

def many(task, scales: tuple[float, ...] = (1.0, 2.0)):
    for scale in scales:
        yield (task.image + scale)[None]
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "mine.py").write_text(ATTACK)
    (tmp_path / "photos").mkdir()
    chance = torch.Generator().manual_seed(0)
    for number in range(3):
        pixels = torch.randint(60, 200, (3, 72, 80), generator=chance).byte()
        write_png(tmp_path / "photos" / f"{number}.png", pixels)
    return tmp_path


def attack(spec, out, **options):
    return iqattack.attack(
        "photos", "builtin", attack=spec, constraint="linf:3", queries=9, out=out, **options
    )


def rows(run):
    return [row.model_dump(exclude={"attack"}) for row in run.results]


def flips(task, amplitude=2.0):
    """The same as that of the file."""
    while True:
        noise = torch.randn((2, *task.image.shape), generator=task.rng).sign() * amplitude
        yield task.image + noise


def test_a_file_a_module_and_a_function_are_the_same_attack(mine):
    by_file = attack("mine.py:flips:amplitude=2", "file")
    by_module = attack("mine:flips", "module") if False else attack("mine.py:flips", "default")
    by_function = attack(flips, "function")
    assert rows(by_file) == rows(by_module) == rows(by_function)
    assert all(row.queries == 9 for row in by_file.results)
    assert by_function.settings.attack.startswith("function:")
    assert by_function.settings.attack.endswith(".flips")
    assert iqattack.verify("function").ok


def test_a_module_with_a_dot(mine, monkeypatch):
    (mine / "package").mkdir()
    (mine / "package" / "__init__.py").touch()
    (mine / "package" / "attacks.py").write_text(ATTACK)
    assert find("package.attacks:flips").kind.summary == "Random signs everywhere."
    run = attack("package.attacks:flips:batch=3", "run", workers=2)
    assert all(row.queries == 9 for row in run.results)
    assert run.settings.attack == "package.attacks:flips:batch=3"


def test_its_file_is_hashed_and_a_change_is_found(mine):
    file = mine / "mine.py"
    run = attack("mine.py:flips", "run")
    assert run.settings.attack == f"{file}:flips"
    assert run.record.files == {"attack": hashlib.sha256(file.read_bytes()).hexdigest()}
    file.write_text(ATTACK.replace("sign()", "sign().neg()"))
    with pytest.raises(RunError, match="attack has other contents here than there"):
        attack("mine.py:flips", "run", resume=True)
    file.unlink()  # a run is read without it
    assert iqattack.open_run("run").summary().images == 3
    assert iqattack.verify("run").ok


def test_options_have_their_text_form_from_annotations(mine):
    spec = canonical_attack("mine.py:many:scales=3+4")
    assert spec == f"{mine / 'mine.py'}:many:scales=3+4"
    task = type("T", (), {"image": torch.zeros(3, 8, 8)})()
    yielded = [float(c[0, 0, 0, 0]) for c in load_attack(spec)(task)]
    assert yielded == [3.0, 4.0]
    assert taken_files(spec) == {"attack": mine / "mine.py"}
    assert labelled("mine.py:flips:substitute=attacked").endswith("(white-box)")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("gone.py:flips", "attack file 'gone.py': no such file; expected FILE.py:name"),
        ("mine.py", "attack 'mine.py': expected FILE.py:name, the attack's function"),
        ("mine.py:flip", "unknown attack in 'mine.py' 'flip': did you mean 'flips'?"),
        ("mine.py:no_generator", "is a function without yield; expected a generator function of"),
        ("mine.py:flips:step=1", "unknown option of"),
        ("mine.py:flips:batch=x", "option batch=x: Input should be a valid integer"),
        ("no.such.module:flips", "attack module 'no.such.module' does not import"),
        ("flips", "unknown attack 'flips'"),
    ],
)
def test_attacks_that_there_are_not(mine, spec, message, capsys):
    (mine / "attack").mkdir()
    command = ["attack", "photos", "--model", "builtin", "--attack", spec, "--out", "run"]
    assert main(command) == 2
    said = capsys.readouterr().err
    assert message in said.splitlines()[-1]
    assert not (mine / "run").exists()


def test_a_function_that_is_no_attack(mine):
    with pytest.raises(InputError, match="is a function without yield; expected a generator"):
        attack(lambda task: [task.image], "run")
    with pytest.raises(InputError, match="is int; expected a generator"):
        attack(3, "run")


@pytest.fixture
def installed(mine, monkeypatch):
    """As if a package were installed with an entry point in each group."""
    (mine / "others.py").write_text(
        ATTACK + "\ndef load():\n    def m(x):\n        return x.double().mean((1, 2, 3))\n"
        "    m.score_range, m.lower_better = (0, 255), False\n    return m\n"
    )
    points = [
        EntryPoint("their-flips", "others:flips", "iqattack.attacks"),
        EntryPoint("broken", "nowhere:at_all", "iqattack.attacks"),
        EntryPoint("their-model", "others:load", "iqattack.models"),
    ]
    monkeypatch.syspath_prepend(str(mine))
    monkeypatch.setattr(
        plugins, "entry_points", lambda group: [p for p in points if p.group == group]
    )


def test_what_packages_install_is_found_by_name(mine, installed):
    run = iqattack.attack(
        "photos", "their-model", attack="their-flips:batch=3", queries=7, out="run"
    )
    assert all(row.queries == 7 for row in run.results)
    assert run.settings.attack == "their-flips:batch=3"
    assert ("their-model", "others:load, installed") in model_kinds()
    assert load_model("their-model").score_range == (0.0, 255.0)
    assert iqattack.verify("run").ok


def test_one_that_is_broken_stops_nobody(installed, capsys):
    assert "their-flips" in all_attacks()
    assert main(["attacks"]) == 0
    assert main(["attacks", "broken"]) == 2
    assert "'broken' of the package 'nowhere:at_all' does not import" in capsys.readouterr().err
