"""results.csv as text: what a spreadsheet would run, and what reads back."""

import csv
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import iqattack
from iqattack.runs.cells import STARTS, csv_line, from_cell, to_cell
from iqattack.runs.results import COLUMNS, Result, csv_lines, read_csv, read_failures

# What a file may be called, of characters that spreadsheets and CSV care for, and any others.
TEXTS = st.text(
    st.sampled_from("=+-@\t\r\n＝＋－＠',;\"a é") | st.characters(codec="utf-8"), max_size=12
)


@given(TEXTS)
def test_every_text_reads_back_and_none_is_a_formula(text):
    cell = to_cell(text)
    assert from_cell(cell) == text
    assert not cell.startswith(tuple(STARTS))
    assert cell in (text, f"'{text}")


@pytest.mark.parametrize("text", ["", "a=b", "'", "''a", "1.5", "ok", "a.png"])
def test_harmless_texts_are_left_alone(text):
    assert to_cell(text) == text == from_cell(text)


def result(name, status="ok"):
    return Result(
        image=name, mos=-1.5, score_clean=-3.25, queries=3, attack=name, status=status, path="x"
    )


@given(names=st.lists(TEXTS, max_size=4))
def test_a_table_reads_back_exactly(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("csv") / "results.csv"
    results = [result(name) for name in names]
    results += [result(name, f"failed: {name}") for name in names]
    path.write_text("".join(csv_lines(results)), encoding="utf-8", newline="")
    assert read_csv(path) == [row.cells() for row in results]
    failures = read_failures(path)
    assert list(failures) == list(dict.fromkeys(names))
    for name, row in failures.items():
        assert (row.image, row.attack, row.status) == (name, name, f"failed: {name}")
        assert row.mos == -1.5


def test_only_texts_are_escaped_and_lines_end_alike(tmp_path):
    names = ["=cmd.png", "+x.png", "-x", "@x", "\tx", "\rx", "'=x", "plain.png", "a,b.png"]
    text = "".join(csv_lines([result(name) for name in names]))
    path = tmp_path / "results.csv"
    path.write_text(text, encoding="utf-8", newline="")
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == list(COLUMNS)
    assert [row[0] for row in rows] == [
        "'=cmd.png", "'+x.png", "'-x", "'@x", "'\tx", "'\rx", "''=x", "plain.png", "a,b.png",
    ]  # fmt: skip
    assert {row[COLUMNS.index("score_clean")] for row in rows} == {"-3.25"}
    assert "\r\n" not in text
    assert text.endswith("\n")


def test_a_table_of_before_reads_as_it_did(tmp_path):
    """Names that were not escaped, with a formula or without."""
    path = tmp_path / "results.csv"
    lines = "".join(csv_lines([result("=a.png"), result("b.png")])).replace("'=", "=")
    path.write_text(lines, encoding="utf-8")
    assert [row["image"] for row in read_csv(path)] == ["=a.png", "b.png"]


def test_a_line_quotes_what_must_be():
    assert csv_line(["a", "b\rc", "d\ne", 'f"', "g,"]) == 'a,"b\rc","d\ne","f""","g,"\n'
    assert csv_line([""]) == '""\n'


def test_a_run_on_such_names_is_verified(tmp_path):
    names = ["+x.png", "-x.png", "=cmd.png", "@x.png", "'=x.png"]
    photos = tmp_path / "photos"
    photos.mkdir()
    rng = np.random.default_rng(0)
    for name in names:
        Image.fromarray(rng.integers(99, 120, (16, 16, 3), dtype=np.uint8)).save(photos / name)
    model = iqattack.wrap(
        lambda images: images.double().mean((1, 2, 3)), score_range=(0, 255), lower_better=False
    )
    options: dict[str, Any] = {"attack": "noise", "constraint": "linf:3", "queries": 4}
    run = iqattack.attack(photos, model, out=tmp_path / "run", **options)
    assert [row["image"] for row in read_csv(run.folder / "results.csv")] == sorted(names)
    assert iqattack.verify(run, model).ok
