import csv
import shutil
import sqlite3
from contextlib import closing
from io import StringIO
from pathlib import Path

import pytest

import iqattack as package
from iqattack.cli.tables import number
from iqattack.reporting.measures import measures

FORMATS = ("table", "csv", "latex", "markdown")


@pytest.fixture
def runs(attack):
    """Two attacks on the same images, and the first again with another seed."""
    assert attack("--out", "a_1").status == 0
    assert attack("--out", "b", "--attack", "square").status == 0
    assert attack("--out", "c", "--seed", "7").status == 0
    return "a_1", "b"


def test_a_column_for_each_run_where_rows_do_not_fit(runs, iqattack, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    result = iqattack("compare", *runs)
    assert result.status == 0
    rows = [
        [cell.strip() for cell in line.strip("│┃").split("│")] for line in result.out.split("\n")
    ]
    first = {row[0]: row[1:] for row in rows if len(row) == 3 and row[0]}
    assert first["attack"] == ["noise", "square"]
    gains = [package.open_run(run).summary().mean_gain for run in runs]
    assert first["gain"] == [number(gain) for gain in gains]
    assert first["gain minus the first's"] == ["–", number(gains[1] - gains[0])]
    assert "p (Holm)" in first
    assert "SROCC drop" not in first  # no opinion scores
    assert "4 images finished in all runs; in brackets, 95 % intervals." in result.out
    assert "its ε is 1e-06" in result.out


def test_a_row_for_each_run_on_a_wide_terminal(runs, iqattack, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    header = next(line for line in iqattack("compare", *runs).out.splitlines() if "┃" in line)
    assert header.index("run") < header.index("gain") < header.index("SSIM")


def test_csv_has_all_digits(runs, iqattack):
    result = iqattack("compare", *runs, "--format", "csv")
    rows = list(csv.DictReader(StringIO(result.out)))
    assert [row["run"] for row in rows] == list(runs)
    for run, row in zip(runs, rows, strict=True):
        summary = package.open_run(run).summary()
        assert float(row["gain"]) == summary.mean_gain
        low, high = summary.scores.intervals["mean_gain"]
        assert (float(row["gain_low"]), float(row["gain_high"])) == (low, high)
        assert (row["images"], row["left_out"], row["differs"]) == ("4", "0", "")
    assert rows[0]["difference"] == rows[0]["p"] == rows[0]["srocc_drop"] == ""
    assert 0 < float(rows[1]["p"]) <= float(rows[1]["p_holm"]) <= 1


def test_it_begins_with_the_verdicts(runs, iqattack):
    out = " ".join(iqattack("compare", *runs).out.split())
    verdicts = [package.open_run(run).summary().verdict.text for run in runs]
    assert out.startswith(f"{runs[0]}: {verdicts[0]} {runs[1]}: {verdicts[1]} ")


def test_all_measures_in_every_format(runs, iqattack, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    summaries = [package.open_run(run).summary() for run in runs]
    labels = [f"{g.title}: {row.label}" for g in measures(summaries[0]) for row in g.rows]
    assert len(labels) > 20
    result = {form: iqattack("compare", *runs, "--format", form) for form in FORMATS}
    every = {form: iqattack("compare", *runs, "--all", "--format", form) for form in FORMATS}
    rows = list(csv.DictReader(StringIO(every["csv"].out)))
    assert [name for name in rows[0] if name in labels] == labels
    for summary, row in zip(summaries, rows, strict=True):
        assert float(row["Robustness, scale: score range, 0 … 255: R, ε = 1e-06"]) == (
            summary.scores.by_range.r
        )
        assert (
            float(row["How far scores moved: RGO, of the largest possible change low"])
            == (summary.scores.intervals["rgo"][0])
        )
        assert float(row["How visible it is: mean L∞, grey levels"]) == summary.means.linf
    for form in ("table", "markdown", "latex"):
        assert "KROCC" in every[form].out
        assert "KROCC" not in result[form].out
        assert f"{summaries[1].scores.rgo:.3f}" in every[form].out


def test_names_that_a_spreadsheet_would_run(attack, iqattack):
    for name in ("=cmd", "+1", "-x", "@y"):
        assert attack("--out", f"./{name}").status == 0
    out = iqattack("compare", "./=cmd", "./+1", "./@y", "./-x", "--format", "csv").out
    cells = [row["run"] for row in csv.DictReader(StringIO(out))]
    assert cells == ["'=cmd", "'+1", "'@y", "'-x"]


def test_latex(runs, iqattack):
    lines = iqattack("compare", *runs, "--format", "latex").out.splitlines()
    table = lines[lines.index(r"\toprule") :]
    assert table[2] == r"\midrule"
    assert table[-2:] == [r"\bottomrule", r"\end{tabular}"]
    header, first, second = table[1], table[3], table[4]
    assert first.startswith(r"a\_1 & brightness & noise & too few images & unchecked & 0.0")
    assert header.count(" & ") == first.count(" & ") == second.count(" & ")
    columns = next(line for line in lines if line.startswith(r"\begin{tabular}"))
    assert len(columns.partition("llll")[2].strip("}")) == header.count(" & ") + 1 - 4
    assert all(line.endswith(r" \\") for line in (header, first, second))
    assert lines[0].startswith("% 4 images")


def test_latex_escapes_what_a_name_may_hold(attack, iqattack):
    name = "50%_&#$~^{x}"
    assert attack("--out", name).status == 0
    shutil.copytree(name, "copy")
    out = iqattack("compare", name, "copy", "--format", "latex").out
    assert r"50\%\_\&\#\$\textasciitilde{}\textasciicircum{}\{x\} & " in out
    Path("a|b[c]").mkdir()
    attack("--out", "a|b[c]")
    assert (
        r"| a\|b\[c] | brightness |"
        in iqattack("compare", "a|b[c]", "copy", "--format", "markdown").out
    )


def test_markdown(runs, iqattack):
    header, rule, first, second, empty, *notes = iqattack(
        "compare", *runs, "--format", "markdown"
    ).out.splitlines()
    assert header.startswith("| run | model | attack | verdict | doubts | gain |")
    assert len({line.count(" |") for line in (header, rule, first, second)}) == 1
    assert first.startswith(r"| a\_1 | brightness | noise | too few images | unchecked | 0.0")
    assert empty == ""
    assert notes[0].startswith("4 images")


def test_unfair_runs_are_refused_and_what_is_allowed_is_said(runs, iqattack):
    result = iqattack("compare", *runs, "c")
    assert result.status == 2
    assert result.out == ""
    assert result.error == (
        "error: c: an unfair comparison with a_1: seed is 7, not 0; attack again with equal "
        "settings, or compare with --allow seed"
    )
    for form in ("table", "csv", "latex", "markdown"):
        result = iqattack("compare", *runs, "c", "--allow", "seed, budget", "--format", form)
        assert result.status == 0
        assert "seed is 7, not 0" in result.out


def test_bad_use(runs, iqattack):
    result = iqattack("compare", *runs, "./b")
    assert result.error == "error: b: is the same run as b; give each run once"
    result = iqattack("compare", *runs, "--allow", "seed,seed")
    assert result.error == "error: allow: seed is given 2 times; give it once"
    assert "unknown difference ''" in iqattack("compare", *runs, "--allow", "seed,").error
    assert iqattack("compare", "b").error == "error: 1 run to compare: expected two or more"
    assert "nowhere: no such run" in iqattack("compare", "b", "nowhere").error
    result = iqattack("compare", *runs, "--allow", "everything")
    assert result.error.startswith("error: unknown difference 'everything'")
    result = iqattack("compare", *runs, "--queries", "7")
    assert "queries 7: expected 1 to 6, the budget of a_1" in result.error
    assert iqattack("compare", *runs, "--format", "html").status == 2


def test_evaluate_at_a_smaller_budget(runs, iqattack):
    result = iqattack("evaluate", "b", "--queries", "3")
    assert (result.status, "3 of 6 queries" in result.out) == (0, True)
    result = iqattack("evaluate", "b", "--queries", "7")
    assert (result.status, "queries 7: expected 1 to 6, the budget of b" in result.error) == (
        2,
        True,
    )


@pytest.mark.parametrize("form", FORMATS)
def test_doubts_are_in_every_format(runs, iqattack, form):
    """Twelve queries are too few for a check of the model."""
    doubts = package.open_run(runs[0]).summary().verdict.doubts
    assert "unchecked" in doubts
    result = iqattack("compare", *runs, "--format", form)
    text = result.out.replace("\\", "")
    assert "doubts" in text
    assert text.count("unchecked") >= 2


@pytest.mark.parametrize("form", FORMATS)
def test_what_is_not_believed_of_a_run_is_under_the_table(runs, iqattack, form):
    with closing(sqlite3.connect("b/log.sqlite")) as log:
        log.execute("""UPDATE result SET json = json_patch(json, '{"ssim": 1.0}') WHERE task = 1""")
        log.commit()
    text = iqattack("compare", *runs, "--format", form).out.replace("\\", "")
    assert ("b: the visibility of 1 image differs from what was written" in text) == (form != "csv")
