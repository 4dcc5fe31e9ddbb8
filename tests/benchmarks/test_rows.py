"""Rows of measurements: compressed, and each on disk as soon as it is there."""

import lzma
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from common import read_csv, write_csv


@dataclass(frozen=True)
class Row:
    image: str
    gain: float
    spent: int


ROWS = [Row("a, b.png", 0.125, 100), Row("é.png", float("nan"), 0), Row("c.png", 1e-07, 3)]


def test_rows_come_back(tmp_path):
    path = tmp_path / "rows" / "some.csv.xz"
    assert read_csv(path, Row) == []
    write_csv(path, Row, ROWS[:1])
    write_csv(path, Row, ROWS[1:])
    assert repr(read_csv(path, Row)) == repr(ROWS)
    with lzma.open(path, "rt", encoding="utf-8") as file:
        assert file.readline() == "image,gain,spent\n"
    whole = path.read_bytes()
    write_csv(path, Row, iter(ROWS), anew=True)
    assert path.read_bytes() == whole  # one stream, whatever it was made from
    assert [entry.name for entry in path.parent.iterdir()] == ["some.csv.xz"]


def test_each_row_is_on_disk_before_the_next_is_measured(tmp_path):
    path = tmp_path / "some.csv.xz"

    def measured():
        for row in ROWS[:2]:
            yield row
            assert repr(read_csv(path, Row)[-1]) == repr(row)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_csv(path, Row, measured())
    assert repr(read_csv(path, Row)) == repr(ROWS[:2])


def test_a_file_that_is_written_anew_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "some.csv.xz"
    write_csv(path, Row, ROWS)

    def stopped():
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_csv(path, Row, stopped(), anew=True)
    assert repr(read_csv(path, Row)) == repr(ROWS)
