"""The Python in the README runs and prints what it says."""

import doctest
from pathlib import Path

import pytest

from iqattack.samples import write_samples

README = Path(__file__).resolve().parent.parent / "README.md"


@pytest.mark.slow
def test_readme_python_is_true(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_samples(Path("photos"))
    Path("my_model.py").write_text(
        "def load():\n    return lambda images: images.float().mean((1, 2, 3))\n"
    )
    failed, tried = doctest.testfile(
        str(README), module_relative=False, optionflags=doctest.ELLIPSIS
    )
    assert tried >= 5
    assert failed == 0
