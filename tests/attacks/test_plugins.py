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

pytestmark = pytest.mark.usefixtures("few_resamples")

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


def test_a_file_and_a_function_are_the_same_attack(mine):
    by_file = attack("mine.py:flips:amplitude=2", "file")
    by_default = attack("mine.py:flips", "default")
    by_function = attack(flips, "function")
    assert rows(by_file) == rows(by_default) == rows(by_function)
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
        ("mine.py:flips:step=1", "unknown option of"),
        ("mine.py:flips:batch=x", "option batch=x: Input should be a valid integer"),
        ("no.such.module:flips", "attack module 'no.such.module' cannot be imported"),
        ("flips", "unknown attack 'flips'"),
    ],
)
def test_attacks_that_there_are_not(mine, spec, message, capsys):
    (mine / "attack").mkdir()
    command = ["attack", "photos", "--model", "builtin", "--attack", spec, "--out", "run"]
    assert main(command) == 2
    output = capsys.readouterr().err
    assert message in output.splitlines()[-1]
    assert not (mine / "run").exists()


def test_a_function_whose_parameters_nobody_knows(mine):
    (mine / "mine.py").write_text("biggest = max\n")
    with pytest.raises(InputError, match=r"mine\.py:biggest': its parameters are unknown"):
        load_attack("mine.py:biggest")


def test_a_function_that_is_no_attack(mine):
    with pytest.raises(InputError, match="is int; expected a generator"):
        attack(3, "run")
    with pytest.raises(InputError, match="takes no task; expected a function"):
        attack(lambda: None, "run")
    assert not (mine / "run").exists()
    with pytest.raises(InputError, match="attack '<lambda>' returned list; expected a generator"):
        attack(lambda task: [task.image], "run")


FORMS = """
from __future__ import annotations
from collections.abc import Generator
from functools import partial, wraps
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nowhere import Task, Shade

def plain(task, n=2):
    while True:
        yield task.image[None].repeat(n, 1, 1, 1) + 1

def hinted(task: Task, n: int = 2, shade: Shade | None = None) -> Generator[Task]:
    yield from plain(task, n)

def open_ended(task, **options):
    yield from plain(task, int(options.get("n", 2)))

def required(task, n: int):
    yield from plain(task, n)

def decorated(attack):
    @wraps(attack)
    def call(*given, **options):
        return attack(*given, **options)
    return call

wrapped = decorated(hinted)
bound = partial(hinted, n=2)

class Attack:
    def __call__(self, task, n: int = 2):
        yield from plain(task, n)

an_object = Attack()

def returned(task, n: float = 2):
    return plain(task, int(n))

def no_task():
    yield None

def by_name_only(*, task):
    yield task.image[None]

def positional(task, n, /):
    yield task.image[None]

async def asynchronous(task):
    yield task.image[None]
"""


@pytest.fixture
def forms(mine):
    (mine / "forms.py").write_text(FORMS)
    return type("T", (), {"image": torch.zeros(3, 8, 8)})()


@pytest.mark.parametrize(
    "name",
    ["plain", "hinted", "open_ended", "required", "wrapped", "bound", "an_object", "returned"],
)
def test_whatever_returns_a_generator_is_an_attack(mine, forms, name):
    found = load_attack(f"forms.py:{name}:n=3")
    assert len(next(found(forms))) == 3
    assert canonical_attack(f"forms.py:{name}:n=3") == f"{mine / 'forms.py'}:{name}:n=3"
    if name != "required":
        assert len(next(load_attack(f"forms.py:{name}")(forms))) == 2
    assert main(["attacks", f"forms.py:{name}"]) == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("required", "option 'n' has no default; give .*forms.py:required:n=VALUE"),
        ("plain:n=x", "option n=x: Input should be a valid integer"),
        ("plain:m=2", "unknown option of .*forms.py:plain 'm': available: n"),
        ("hinted:shade=x", "option shade: its annotation does not evaluate: NameError: .*Shade"),
        ("open_ended:task=1", "unknown option 'task'"),
        ("no_task", "takes no task; expected a function"),
        ("by_name_only", "takes no task; expected a function"),
        ("positional", "'n' cannot be given by name"),
        ("asynchronous", "is an async function; expected a generator function"),
        ("Attack", "takes no task; expected a function"),
    ],
)
def test_signatures_are_looked_at_before_anything_is_scored(forms, spec, message):
    with pytest.raises(InputError, match=message) as error:
        attack(f"forms.py:{spec}", "run")
    assert "\n" not in str(error.value)


FAULTY = """
import torch

def fails(task, what: str = "ValueError", dark: float = 120.0):
    yield task.image[None] + 1
    if task.image.mean() < dark:
        exits = what == "SystemExit" or (what == "either" and task.image.mean() < 80)
        raise SystemExit(3) if exits else ValueError("boom\\nat 2")
    yield task.image[None] - 1

def image8(task):
    task.image8.numpy()[0] += 5
    yield task.image[None] + 1

def image(task):
    moved = task.image
    moved += 1
    yield moved[None]

def lower8(task):
    yield task.image[None] + 1
    task.lower8.zero_()
    yield task.image[None] - 100

def upper(task):
    task.upper.fill_(255)
    yield task.image[None] + 100

def nan(task):
    yield task.image[None] * float("nan")

def array(task):
    yield task.image[None].numpy()

def half(task):
    yield (task.image8[None] // 2 * 2).half()
"""


@pytest.fixture
def faulty(mine):
    (mine / "faulty.py").write_text(FAULTY)
    write_png(mine / "photos" / "1.png", torch.full((3, 72, 80), 90).byte())


@pytest.mark.parametrize("workers", [None, 2])
def test_an_attack_that_fails_fails_its_image_alone(mine, faulty, forked_workers, workers):
    write_png(mine / "photos" / "3.png", torch.full((3, 72, 80), 70).byte())
    run = attack("faulty.py:fails:what=either", "run", workers=workers)
    statuses = {row.image: row.status for row in run.results}
    for name, message in (("1.png", "ValueError: boom at 2"), ("3.png", "SystemExit: 3")):
        assert statuses.pop(name) == (
            f"failed: photos/{name}: attack '{mine / 'faulty.py'}:fails' failed: {message}"
        )
    assert set(statuses.values()) <= {"ok", "unchanged"}
    assert len(statuses) == 2


def test_one_that_fails_everywhere_ends_the_run(mine, faulty):
    with pytest.raises(InputError, match="fails' failed: ValueError: boom at 2") as error:
        attack("faulty.py:fails:dark=300", "run")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["image8", "image", "lower8", "upper"])
def test_an_attack_must_not_change_its_task(mine, faulty, name):
    with pytest.raises(InputError, match=f"faulty.py:{name}' changes task.{name} in place"):
        attack(f"faulty.py:{name}", "run")


def test_candidates_that_are_none(mine, faulty):
    with pytest.raises(InputError, match="yielded a candidate that is NaN throughout"):
        attack("faulty.py:nan", "run")
    with pytest.raises(InputError, match="the attack yielded ndarray; expected a tensor"):
        attack("faulty.py:array", "other")
    assert not any(row.failed for row in attack("faulty.py:half", "half").results)


def test_what_a_script_defines_is_not_sent_to_workers(mine, monkeypatch):
    for there in ("__main__", "test_plugins_gone"):
        monkeypatch.setattr(flips, "__module__", there)
        with pytest.raises(InputError, match="the attack cannot be sent to the workers") as error:
            attack(flips, there, workers=2)
        assert "put the attack in a file and give FILE.py:name" in str(error.value)
    with pytest.raises(InputError, match="module '__main__' is the running script"):
        load_model("__main__:load")


def test_files_of_one_name_are_several_modules(mine):
    for folder in ("a", "b"):
        (mine / folder).mkdir()
        (mine / folder / "same.py").write_text(f"def attack(task):\n    yield '{folder}'\n")
    found = [load_attack(f"{folder}/same.py:attack") for folder in ("a", "b")]
    assert [next(one(None)) for one in found] == ["a", "b"]
    functions = [find(f"{folder}/same.py:attack").kind.function for folder in ("a", "b")]
    modules = [sys.modules[function.__module__] for function in functions]
    assert functions == [module.attack for module in modules]
    assert canonical_attack("a/../b/same.py:attack") == f"{mine / 'b' / 'same.py'}:attack"


@pytest.fixture
def installed(mine, monkeypatch):
    """As if a package were installed with an entry point in each group."""
    (mine / "others.py").write_text(
        ATTACK + "\ndef load():\n    def m(x):\n        return x.double().mean((1, 2, 3))\n"
        "    m.score_range, m.lower_better = (0, 255), False\n    return m\n"
    )
    points = [
        EntryPoint("their-flips", "others:flips", "iqattack.attacks"),
        EntryPoint("their.dotted", "others:flips", "iqattack.attacks"),
        EntryPoint("broken", "nowhere:at_all", "iqattack.attacks"),
        EntryPoint("nes", "others:flips", "iqattack.attacks"),
        EntryPoint("their-model", "others:load", "iqattack.models"),
        EntryPoint("broken-model", "nowhere:load", "iqattack.models"),
        EntryPoint("builtin", "others:load", "iqattack.models"),
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
    digest = hashlib.sha256((mine / "others.py").read_bytes()).hexdigest()
    assert run.record.files == {"attack": digest}
    assert run.model.files == {str(mine / "others.py"): digest}
    assert ("their-model", "others:load, installed") in model_kinds()
    assert load_model("their-model").score_range == (0.0, 255.0)
    assert iqattack.verify("run").ok


def test_names_of_packages_with_what_follows(mine, installed):
    assert find("their-flips:").options == {}
    assert find("their.dotted:batch=3").options == {"batch": 3}
    assert canonical_attack("their.dotted:batch=3") == "their.dotted:batch=3"
    assert labelled("their.dotted:substitute=attacked").endswith("(white-box)")
    with pytest.raises(InputError, match="option 'batch' has no value, expected batch=VALUE"):
        load_attack("their.dotted:batch")
    only = "model 'their-model:x': expected only their-model, which takes no options"
    with pytest.raises(InputError, match=only):
        load_model("their-model:x")


def test_lists_say_what_is_hidden_and_what_is_broken(installed, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "300")
    assert all_attacks()["nes"].function.__module__ == "iqattack.attacks.score_based.nes"
    for command, name, hidden, broken in (
        ("attacks", "nes", "others:flips", "'nowhere:at_all' cannot be imported"),
        ("models", "builtin", "others:load", "nowhere:load, installed"),  # none is imported
    ):
        assert main([command]) == 0
        output = capsys.readouterr().out
        assert sum(line.split()[1:2] == [name] for line in output.splitlines()) == 1
        assert broken in output
        last = output.splitlines()[-1]
        assert last.startswith(
            f"note: '{name}' of the package '{hidden}' is hidden by the built-in"
        )


def test_one_that_is_broken_stops_nobody(installed, capsys):
    assert "their-flips" in all_attacks()
    assert main(["attacks"]) == 0
    assert main(["attacks", "broken"]) == 2
    assert "'broken' of the package 'nowhere:at_all' cannot be imported" in capsys.readouterr().err
