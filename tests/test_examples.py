"""The examples in docstrings run, and print what they say.

Each is a session of Python of its own, in a folder with the sample set in `photos` and with what
the examples of `FIRST` wrote: runs, an audit and a universal perturbation.
"""

import doctest
import importlib
import shutil
import sys
from pathlib import Path

import pytest

import iqattack
from iqattack.samples import write_samples

SOURCE = Path(__file__).resolve().parents[1] / "src"
FIRST = (
    "iqattack.api.attacking.attack",
    "iqattack.api.auditing.audit",
    "iqattack.api.learning.universal",
)
# What an example prints must not depend on the extras that are installed beside iqattack.
WITHOUT = ("cvvdp", "pycvvdp", "flip_evaluator")


def found():
    """Examples by the full name of what they explain; imports only modules that have some."""
    examples = {}
    for path in sorted(SOURCE.rglob("*.py")):
        if ">>> " not in path.read_text("utf-8"):
            continue
        parts = path.relative_to(SOURCE).with_suffix("").parts
        module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
        for example in doctest.DocTestFinder(exclude_empty=True).find(module):
            if example.examples:
                examples[example.name] = example
    return examples


EXAMPLES = found()


def run(example, folder):
    """Run an example as a new session in a folder; return what it printed wrongly."""
    report = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    session = doctest.DocTest(
        example.examples, {}, example.name, example.filename, example.lineno, example.docstring
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(folder)
        for name in WITHOUT:
            patched.setitem(sys.modules, name, None)
        runner.run(session, out=report.append)
    return "".join(report)


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """The folder that examples start from, and what the first ones printed wrongly there."""
    folder = tmp_path_factory.mktemp("examples")
    write_samples(folder / "photos")
    return folder, {name: run(EXAMPLES[name], folder) for name in FIRST}


@pytest.mark.parametrize("name", EXAMPLES)
def test_example(name, first, tmp_path):
    folder, ran = first
    if name in ran:
        wrong = ran[name]
    else:
        wrong = run(EXAMPLES[name], Path(shutil.copytree(folder, tmp_path / "work")))
    assert not wrong, wrong


@pytest.mark.parametrize("name", sorted(set(iqattack.__all__) - {"api", "__version__"}))
def test_the_interface_has_examples(name):
    thing = getattr(iqattack, name)
    assert f"{thing.__module__}.{thing.__qualname__}" in EXAMPLES


@pytest.mark.parametrize(
    ("source", "wrong"),
    [(">>> 1 + 1\n2\n", False), (">>> 1 + 1\n3\n", True), (">>> undefined\n1\n", True)],
)
def test_a_wrong_example_is_found(source, wrong, tmp_path):
    example = doctest.DocTestParser().get_doctest(source, {}, "example", "file", 0)
    assert bool(run(example, tmp_path)) == wrong
