import csv
from io import StringIO
from pathlib import Path

import pytest

import iqattack as package


@pytest.fixture
def runs(attack):
    """Two attacks on the same images, and the first again with another seed."""
    assert attack("--out", "a_1").status == 0
    assert attack("--out", "b", "--attack", "square").status == 0
    assert attack("--out", "c", "--seed", "7").status == 0
    return "a_1", "b"


def test_a_column_for_each_run_where_rows_do_not_fit(runs, iqattack, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    said = iqattack("compare", *runs)
    assert said.status == 0
    rows = [[cell.strip() for cell in line.strip("│┃").split("│")] for line in said.out.split("\n")]
    first = {row[0]: row[1:] for row in rows if len(row) == 3 and row[0]}
    assert first["attack"] == ["noise", "square"]
    gains = [package.open_run(run).summary().mean_gain for run in runs]
    assert first["gain"] == [f"{gain:.3f}" for gain in gains]
    assert first["gain less the first's"] == ["–", f"{gains[1] - gains[0]:.3f}"]
    assert "p (Holm)" in first
    assert "SROCC drop" not in first  # no opinion scores
    assert "4 images finished in all runs; in brackets, 95 % intervals." in said.out
    assert "its ε is 1e-06" in said.out


def test_a_row_for_each_run_on_a_wide_terminal(runs, iqattack, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    header = iqattack("compare", *runs).out.splitlines()[1]
    assert header.index("run") < header.index("gain") < header.index("SSIM")


def test_csv_has_all_digits(runs, iqattack):
    said = iqattack("compare", *runs, "--format", "csv")
    rows = list(csv.DictReader(StringIO(said.out)))
    assert [row["run"] for row in rows] == list(runs)
    for run, row in zip(runs, rows, strict=True):
        summary = package.open_run(run).summary()
        assert float(row["gain"]) == summary.mean_gain
        low, high = summary.scores.intervals["mean_gain"]
        assert (float(row["gain_low"]), float(row["gain_high"])) == (low, high)
        assert (row["images"], row["left_out"], row["differs"]) == ("4", "0", "")
    assert rows[0]["difference"] == rows[0]["p"] == rows[0]["srocc_drop"] == ""
    assert 0 < float(rows[1]["p"]) <= float(rows[1]["p_holm"]) <= 1


def test_latex(runs, iqattack):
    lines = iqattack("compare", *runs, "--format", "latex").out.splitlines()
    table = lines[lines.index(r"\toprule") :]
    assert table[2] == r"\midrule"
    assert table[-2:] == [r"\bottomrule", r"\end{tabular}"]
    header, first, second = table[1], table[3], table[4]
    assert first.startswith(r"a\_1 & brightness & noise & 0.0")
    assert header.count(" & ") == first.count(" & ") == second.count(" & ")
    columns = next(line for line in lines if line.startswith(r"\begin{tabular}"))
    assert len(columns.partition("lll")[2].strip("}")) == header.count(" & ") + 1 - 3
    assert all(line.endswith(r" \\") for line in (header, first, second))
    assert lines[0].startswith("% 4 images")


def test_latex_escapes_what_a_name_may_hold(attack, iqattack):
    name = "50%_&#$~^{x}"
    assert attack("--out", name).status == 0
    out = iqattack("compare", name, name, "--format", "latex").out
    assert r"50\%\_\&\#\$\textasciitilde{}\textasciicircum{}\{x\} & " in out
    Path("a|b[c]").mkdir()
    attack("--out", "a|b[c]")
    assert (
        r"| a\|b\[c] | brightness |"
        in iqattack("compare", "a|b[c]", "a|b[c]", "--format", "markdown").out
    )


def test_markdown(runs, iqattack):
    header, rule, first, second, empty, *notes = iqattack(
        "compare", *runs, "--format", "markdown"
    ).out.splitlines()
    assert header.startswith("| run | model | attack | gain |")
    assert len({line.count(" |") for line in (header, rule, first, second)}) == 1
    assert first.startswith(r"| a\_1 | brightness | noise | ")
    assert empty == ""
    assert notes[0].startswith("4 images")


def test_unfair_runs_are_refused_and_what_is_allowed_is_said(runs, iqattack):
    said = iqattack("compare", *runs, "c")
    assert said.status == 2
    assert said.out == ""
    assert said.error == (
        "error: c: compared with a_1, seed is 7, not 0, which is unfair; "
        "attack again alike, or compare with --allow seed"
    )
    for form in ("table", "csv", "latex", "markdown"):
        said = iqattack("compare", *runs, "c", "--allow", "seed, budget", "--format", form)
        assert said.status == 0
        assert "seed is 7, not 0" in said.out


def test_bad_use(runs, iqattack):
    assert iqattack("compare", "b").error == "error: 1 run to compare: expected two or more"
    assert "nowhere: no such run" in iqattack("compare", "b", "nowhere").error
    said = iqattack("compare", *runs, "--allow", "everything")
    assert said.error.startswith("error: unknown difference 'everything'")
    said = iqattack("compare", *runs, "--queries", "7")
    assert "queries 7: expected 1 to 6, the budget of a_1" in said.error
    assert iqattack("compare", *runs, "--format", "html").status == 2


def test_evaluate_at_a_smaller_budget(runs, iqattack):
    said = iqattack("evaluate", "b", "--queries", "3")
    assert (said.status, "3 of 6 queries" in said.out) == (0, True)
    said = iqattack("evaluate", "b", "--queries", "7")
    assert (said.status, "queries 7: expected 1 to 6, the budget of b" in said.error) == (2, True)
