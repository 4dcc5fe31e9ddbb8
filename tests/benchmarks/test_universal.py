"""What the page of universal perturbations makes of rows, and when a row is out of date."""

import ast
import sys
from dataclasses import replace

import pytest

pytest.importorskip("matplotlib", reason="matplotlib is not installed: the extra 'bench'")
GAINS = {"filter": 0.3, "bank": 0.2, "nes": 0.1, "evolution": 0.15, "square": -0.05}


@pytest.fixture
def universal(on_stand_in):
    import universal  # noqa: PLC0415 - from benchmarks/

    yield universal
    names = (
        "universal",
        "baselines",
        "limit",
        "cells",
        "common",
        "fingerprints",
        "scorers",
        "scnn",
    )
    for name in names:
        sys.modules.pop(name, None)


@pytest.fixture
def rows(universal):
    """One victim, one box, 5,000 queries, one seed; each way gains the same on four images."""
    return [
        universal.Row(
            "cnniqa", "linf:3", way, 0 if way == "bank" else 5_000, 0, 0, 0, "code",
            456 if way == "bank" else 5_000, of_set, image, gain, max(gain, 0.0), 8,
        )
        for way, gain in GAINS.items()
        for of_set in universal.SETS
        for image in "ab"
    ]  # fmt: skip


def test_ours_stands_over_the_strongest_of_the_others(universal, rows):
    found = universal.plain(rows)
    (line,) = universal.ratios(found)
    assert line["first pattern: over published"].startswith("2.00 ")
    assert line["first pattern: over published"].endswith(", evolution")
    assert line["first pattern: over fixed"].startswith("1.50 ")
    lines = universal.table(found, "linf:3", 5_000)
    assert [one["way"] for one in lines] == [
        "filter (ours)", "best fixed direction", "nes", "evolution", "square",
    ]  # fmt: skip
    assert lines[-1]["first pattern, 24 sample images"].startswith("-5.0 ")
    assert lines[-1]["best of 8, 24 sample images"].startswith("0.0 ")
    assert [one["sign right"] for one in lines] == ["100 %"] * 4 + ["0 %"]


def test_only_seeds_that_all_ways_have_are_compared(universal, rows):
    begun = [replace(row, seed=1, first=0.9) for row in rows if row.way == "filter"]
    found = universal.plain(rows + begun)["cnniqa", "linf:3", 5_000]
    assert found["filter"].seeds == 1
    assert found["filter"].first.tolist() == pytest.approx([30.0] * 4)
    assert not universal.plain([row for row in rows if row.way != "nes"])


def test_what_is_measured_is_counted(universal, rows):
    lines = universal.missing(rows).splitlines()
    assert (
        lines[0] == "Not complete yet: the table shows how many of the 5 seeds have been measured."
    )
    assert lines[2] == "|  | 5,000 queries | 20,000 queries |"
    assert "| cnniqa, linf:3 | 1 | 0 |" in lines
    assert "| scnn, linf:3 | 0 | 0 |" in lines
    every = [
        replace(row, victim=victim, box=box, budget=budget, seed=seed)
        for row in rows
        if row.way != "bank"
        for victim in universal.VICTIMS
        for box in universal.BOXES
        for budget in universal.BUDGETS
        for seed in universal.SEEDS
    ]
    assert universal.missing(every) == ""
    assert universal.missing([row for row in every if row.job != every[-1].job]) != ""


@pytest.mark.parametrize("apart", [0.0, 0.1])
def test_rows_of_older_code_are_kept_if_one_job_agrees(
    universal, rows, monkeypatch, tmp_path, apart
):
    """Those behind JPEG go with the others, and what is up to date stays in any case."""
    file = tmp_path / "rows.csv.xz"
    old = [row for row in rows if row.way == "filter"]
    others = [replace(row, **change) for row in old for change in
              ({"jpeg": 75, "behind": 75}, {"behind": 75}, {"seed": 1})]  # fmt: skip
    fresh = [replace(row, code=universal.code(row.job)) for row in rows if row.way == "nes"]
    universal.write_csv(file, universal.Row, [*old, *others, *fresh])
    monkeypatch.setattr(universal, "ROWS", file)
    asked = []

    def measured(job):
        asked.append(job)
        return [replace(row, first=row.first + apart) for row in old]

    monkeypatch.setattr(universal, "measured", measured)
    universal.restamp()
    assert asked == [old[0].job]
    kept = universal.read_csv(file, universal.Row)
    assert len(universal.read()) == len(kept)
    ways = [row.way for row in kept]
    assert ways.count("nes") == 4
    assert ways.count("filter") == (0 if apart else 16)


def test_a_row_is_out_of_date_once_its_own_way_changed(universal, monkeypatch):
    tree = ast.parse("A, B = 1, 2\nWAYS = {'f': f, 'g': g}\ndef f(): return h() + A\n"
                     "def g(): return 1\ndef h(): return WAYS\nC = 3\n")  # fmt: skip
    assert [ast.unparse(node) for node in universal.reached(tree, ["f"])] == [
        "A, B = (1, 2)", "def f():\n    return h() + A", "def h():\n    return WAYS",
    ]  # fmt: skip
    job = universal.Job("cnniqa", "linf:3", "filter", 5_000, 0)
    codes = {universal.code(replace(job, way=way)) for way in universal.ORDER}
    assert len(codes) == len(universal.ORDER)
    assert universal.code(replace(job, seed=1, budget=20_000)) == universal.code(job)
    assert universal.code(replace(job, jpeg=75)) != universal.code(job)


def test_the_page_of_a_few_rows(universal, rows, monkeypatch, tmp_path):
    monkeypatch.setattr(universal, "read", lambda: rows)
    monkeypatch.setattr(universal, "ROOT", tmp_path)
    monkeypatch.setattr(universal, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(universal, "PLOT", tmp_path / "page.png")
    universal.write_page()
    page = universal.PAGE.read_text(encoding="utf-8")
    assert universal.PLOT.stat().st_size > 1000
    assert "<!--" not in page
    assert "### linf:3, 5,000 queries" in page
    assert "| without | as it is | 30.0 " in page
