"""The table of all attacks: what counts as code, and that nothing is measured twice."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from iqattack.models import Scorer

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
strength = pytest.importorskip("strength", reason="matplotlib is not installed: the extra 'bench'")
import cells  # noqa: E402 - beside it
import common  # noqa: E402
import fingerprints  # noqa: E402
import scorers  # noqa: E402

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
    def text(source: str) -> str:
        return fingerprints.text(fingerprints.without_docstrings(source))

    other = SOURCE.replace("What it does", "Something").replace("# Why", "# Because")
    assert text(other) == text(SOURCE)
    assert text(SOURCE.replace("K = 1", "K = 2")) != text(SOURCE)
    assert text("x = None") != text("x = 0") != text("x = ''")


def test_a_file_that_moves_keeps_its_fingerprint() -> None:
    """Neither where a name is imported from nor the path of its file counts."""
    sources = [f"from {place} import name\n{SOURCE}" for place in ("here", "elsewhere")]
    trees = [fingerprints.without_docstrings(source) for source in sources]
    assert fingerprints.text(trees[0]) == fingerprints.text(trees[1])
    other = fingerprints.without_docstrings("K = 2")
    assert fingerprints.texts([trees[0], other]) == fingerprints.texts([other, trees[1]])


def test_a_fingerprint_is_the_same_under_every_python(monkeypatch) -> None:
    """Fields that a later Python adds are empty, and one that empties leave out are no others."""
    tree = ast.parse("def f():\n    pass\n")
    known = fingerprints.text(tree)
    definition = tree.body[0]
    assert isinstance(definition, ast.FunctionDef)
    # That of 3.12, before which it is no field.
    monkeypatch.setattr(ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "type_params"))
    setattr(definition, "type_params", [])  # noqa: B010
    assert fingerprints.text(tree) == known
    assert known == ("Module(body=[FunctionDef(name='f', args=arguments(), body=[Pass()])])")


@pytest.fixture
def development(stand_in, monkeypatch) -> Iterator[None]:
    monkeypatch.setattr(common, "SHARED", stand_in)
    yield
    cells.image_set.cache_clear()
    scorers.scorer.cache_clear()


def names(*files: Path) -> set[str]:
    return {path.name for path in fingerprints.modules(*files)}


def test_an_attack_depends_on_what_it_shares() -> None:
    found = names(fingerprints.attack_file("hop-skip-jump"))
    assert {"hop_skip_jump.py", "start.py", "sparse_noise.py"} <= found
    assert not {"contract.py", "options.py", "square.py"} & found
    assert "pixels.py" in names(fingerprints.attack_file("filter-search"))  # of perception


def test_a_row_depends_on_its_box_and_on_models_made_up(monkeypatch) -> None:
    assert (
        len({fingerprints.fingerprint("nes", "cnniqa", box) for box in ("linf:3", "jnd:0.38")}) == 2
    )
    assert fingerprints.fingerprint("nes", "cnniqa", "linf:3") == fingerprints.fingerprint(
        "nes", "brisque", "linf:3"
    )
    before = [fingerprints.fingerprint("nes", name, "jnd:1") for name in ("cnniqa", "warmth")]
    seen: list[str] = []
    source = fingerprints.without_docstrings

    def changed(text: str) -> ast.Module:
        seen.append(text)
        return source(text + ("\nK = 2\n" if "ACCEPTED = " in text else ""))

    monkeypatch.setattr(fingerprints, "without_docstrings", changed)
    fingerprints.fingerprint.cache_clear()
    after = [fingerprints.fingerprint("nes", name, "jnd:1") for name in ("cnniqa", "warmth")]
    fingerprints.fingerprint.cache_clear()
    assert (after[0], after[1] == before[1]) == (before[0], False)
    assert any("def liu2010" in text for text in seen)  # what a JND box is
    assert any("def ssim" in text for text in seen)


def row(image: str, attack: str = "noise", gain: float = 0.125):
    return cells.Row(
        model="cnniqa", box="linf:3", queries=100, attack=attack,
        code=fingerprints.fingerprint(attack, "cnniqa", "linf:3"), image=image, clean=20.5,
        attacked=33.0, gain=gain, spent=100, ssim=0.98, rms=2.5, jod=9.8,
    )  # fmt: skip


def test_rows_are_kept_until_the_code_changes(tmp_path, monkeypatch) -> None:
    path = tmp_path / "rows.csv"
    assert cells.kept(path) == []
    rows = [row("a.png"), row("b.png", "pgd")]
    cells.rewrite(path, rows)
    assert sorted(cells.kept(path), key=lambda r: r.image) == rows
    codes = fingerprints.fingerprint
    monkeypatch.setattr(cells, "fingerprint", lambda a, *on: "new" if a == "pgd" else codes(a, *on))
    assert cells.kept(path) == rows[:1]


def test_what_is_there_is_not_measured_again(development) -> None:
    wanted = [cells.Cell("cnniqa", "linf:3", 100, name) for name in ("noise", "square")]
    everything = cells.missing(wanted, 24, [])
    assert len(everything) == 48
    assert [cell for cell, _ in everything[:2]] == wanted  # all attacks of an image first
    names = [entry.name for entry in common.dev_images()]
    first = names[everything[0][1]]
    assert cells.missing(wanted, 24, [row(first)]) == everything[1:]


@pytest.mark.parametrize(("attack", "asked"), [("nes", 60), ("square", 20 + 60)])
def test_a_larger_budget_goes_on_where_the_attack_is_the_same(
    attack: str, asked: int, development, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [cells.Cell("cnniqa", "linf:3", queries, attack) for queries in (60, 20)]
    monkeypatch.chdir(common.ROOT)  # both are set for a worker process
    monkeypatch.setattr("cells.torch.set_num_threads", lambda _: None)
    alone = [cells.attack_image([cell], 3, "code")[0] for cell in reversed(settings)]
    queries: list[int] = []
    score = type(scorers.scorer("cnniqa")).__call__

    def counted(self: Scorer, images: torch.Tensor) -> object:
        queries.append(len(images))
        return score(self, images)

    monkeypatch.setattr(type(scorers.scorer("cnniqa")), "__call__", counted)
    assert cells.attack_image(settings, 3, "code") == alone
    assert sum(queries) == asked


def test_the_share_of_the_ceiling_is_of_the_same_images() -> None:
    rows = [row("a.png", gain=0.1), row("b.png", gain=0.3), row("c.png", gain=0.2)]
    rows[0] = replace(rows[0], spent=10)  # 0.6 of 210 queries, not the mean of three ratios
    (line,) = strength.table(rows, {"a.png": 0.4, "b.png": 0.4, "c.png": 0.4, "d.png": 0.0})
    assert line["of the ceiling"].startswith("0.50 ")
    assert line["gain, points of 100"].startswith("20.0 ")
    assert line["points per 100 queries"].startswith("28.57 ")
    (line,) = strength.table(rows, {"a.png": 0.4})
    assert line["of the ceiling"] == "–"


def test_a_table_is_of_images_that_every_attack_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cells, "FEWEST", 2)
    square, nes, begun = (
        [replace(row(image), attack=attack) for image in images]
        for attack, images in (("square", "abc"), ("nes", "bcd"), ("ran", "a"))
    )
    rows = [*square, *nes, *begun]
    kept = strength.setting(rows, square[0].model, square[0].box, square[0].queries)
    assert {(r.attack, r.image) for r in kept} == {(k, i) for k in ("nes", "square") for i in "bc"}
    assert strength.setting(rows, "other", square[0].box, square[0].queries) == []


@pytest.mark.slow
def test_the_quick_form_runs(shared) -> None:
    command = [
        sys.executable,
        "strength.py",
        "--quick",
        "--attacks",
        "square",
        "pgd",
        "--workers",
        "1",
    ]
    done = subprocess.run(command, cwd=BENCHMARKS, capture_output=True, text=True, check=True)
    assert done.stdout.count("| pgd (white-box) |") == 2
    assert done.stdout.count("| square |") >= 2
