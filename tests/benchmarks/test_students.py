"""Which images teach, and what the page makes of rows."""

import sys

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra 'bench'")


@pytest.fixture
def students(on_stand_in):
    import students  # noqa: PLC0415 - from benchmarks/

    yield students
    for name in (
        "students",
        "baselines",
        "limit",
        "cells",
        "common",
        "fingerprints",
        "scorers",
        "scnn",
    ):
        sys.modules.pop(name, None)


def test_each_half_has_all_distortions(students):
    for half in (students.CHOOSING, students.REPORTING):
        mine = [name.split("_")[1][:4] for name in half.names]
        assert len(mine) == 12
        assert {mine.count(kind) for kind in mine} == {3}


def test_a_line_has_shares_of_the_ceiling_and_what_was_paid(students):
    row = students.Row
    rows = [row("cnniqa", students.NOTHING, 0, 0, name, 0.5) for name in "ab"]
    for learnt, paid, gain in ((students.NOTHING, 0, 0.1), (5_000, 7_000, 0.2), (20_000, 9, 0.3)):
        for name, queries in [(n, q) for n in "ab" for q in students.QUERIES]:
            if (learnt, name, queries) != (20_000, "b", 20):  # one is missing: no line
                rows.append(row("cnniqa", learnt, paid, queries, name, gain))
    nothing, taught = students.table(rows)
    assert nothing["students learnt from"] == "no profile"
    assert taught["students learnt from"] == "5,000"
    assert taught["queries of the profile"] == "7,000"
    assert taught["20"].startswith("0.40 ")
    assert taught["images"] == "2"
