"""The table of all attacks: what counts as code, and that nothing is measured twice."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
strength = pytest.importorskip("strength", reason="matplotlib is not installed: the extra 'bench'")

SOURCE = '''"""What it does.

Over three lines.
"""

from os import (
    path,
)

K = 1  # a comment


def f(x):
    """Shapes."""
    # Why.
    text = """not a
    docstring"""

    return (
        x
        + K
    ), text
'''


def test_lines_of_code_are_neither_comments_nor_docstrings_nor_imports(tmp_path) -> None:
    file = tmp_path / "f.py"
    file.write_text(SOURCE)
    # K, def, the string's two, return's four.
    assert strength.lines_of_code(file) == 8


def test_only_code_changes_a_fingerprint() -> None:
    dump = strength.ast.dump
    other = SOURCE.replace("What it does", "Something").replace("# Why", "# Because")
    assert dump(strength.without_docstrings(other)) == dump(strength.without_docstrings(SOURCE))
    assert dump(strength.without_docstrings(SOURCE.replace("K = 1", "K = 2"))) != dump(
        strength.without_docstrings(SOURCE)
    )


def test_an_attack_depends_on_what_it_shares() -> None:
    names = {path.name for path in strength.modules("hop-skip-jump")}
    assert {"hop_skip_jump.py", "start.py", "sparse_noise.py"} <= names
    assert not {"contract.py", "options.py", "square.py"} & names


def row(image: str, attack: str = "noise", gain: float = 0.125):
    return strength.Row(
        model="cnniqa", box="linf:3", queries=100, attack=attack,
        code=strength.fingerprint(attack, "cnniqa"), image=image, clean=20.5, attacked=33.0,
        gain=gain, spent=100, ssim=0.98,
    )  # fmt: skip


def test_rows_are_kept_until_the_code_changes(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(strength, "ROWS", tmp_path / "rows.csv")
    assert strength.kept() == []
    rows = [row("a.png"), row("b.png", "pgd")]
    strength.rewrite(rows)
    assert sorted(strength.kept(), key=lambda r: r.image) == rows
    codes = strength.fingerprint
    monkeypatch.setattr(strength, "fingerprint", lambda a, m: "new" if a == "pgd" else codes(a, m))
    assert strength.kept() == rows[:1]


def test_what_is_there_is_not_measured_again(shared) -> None:
    cells = [strength.Cell("cnniqa", "linf:3", 100, name) for name in ("noise", "square")]
    everything = strength.missing(cells, 24, [])
    assert len(everything) == 48
    assert [cell for cell, _ in everything[:2]] == cells  # all attacks of an image first
    names = [entry.name for entry in strength.dev_images()]
    first = names[everything[0][1]]
    assert strength.missing(cells, 24, [row(first)]) == everything[1:]


def test_the_share_of_the_ceiling_is_of_the_same_images() -> None:
    rows = [row("a.png", gain=0.1), row("b.png", gain=0.3), row("c.png", gain=0.2)]
    (line,) = strength.table(rows, {"a.png": 0.4, "b.png": 0.4, "c.png": 0.4, "d.png": 0.0})
    assert line["of the ceiling"].startswith("0.50 ")
    assert line["gain, points of 100"].startswith("20.0 ")
    assert line["points per 100 queries"].startswith("20.00 ")
    (line,) = strength.table(rows, {"a.png": 0.4})
    assert line["of the ceiling"] == "–"


@pytest.mark.slow
def test_the_quick_form_runs(shared) -> None:
    command = [sys.executable, "strength.py", "--quick", "--attacks", "square", "pgd"]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert done.stdout.count("| pgd (white-box) |") == 2
    assert done.stdout.count("| square |") >= 2
