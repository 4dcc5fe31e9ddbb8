"""The reference cards: an audit that goes on, its copy, and the page."""

import re
import sys
from functools import partial
from pathlib import Path

import pytest

from iqattack.auditing import read_card
from iqattack.evaluation import evaluate_scores
from iqattack.reporting.board import Board

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def cards(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import cards  # noqa: PLC0415 - from benchmarks/

    few = partial(evaluate_scores, resamples=20)
    for module in ("runs.summary", "auditing.from_runs"):
        monkeypatch.setattr(f"iqattack.{module}.evaluate_scores", few)
    yield cards
    for name in ("cards", "common", "scorers", "scnn"):
        sys.modules.pop(name, None)


def test_the_shipped_pages_are_those_of_their_data(cards, tmp_path):
    """But for the date and the machine, as `python benchmarks/cards.py --page` writes them."""
    site = ROOT / "docs" / "leaderboard"
    board = Board.model_validate_json((site / "leaderboard.json").read_text("utf-8"))
    shipped = (site / "index.html").read_text("utf-8")
    (date,) = re.findall(r"Made by iqattack \S+ on (\S+)\.</p>", shipped)
    assert cards.page_text(board, date) == shipped
    cards.write_page(board, tmp_path / "page.md")
    made, there = (
        re.sub(r"^(Printed by `[^`]+`).*", r"\1", path.read_text("utf-8"), flags=re.MULTILINE)
        for path in (tmp_path / "page.md", ROOT / "docs" / "leaderboard-figures.md")
    )
    assert made == there


@pytest.mark.slow
def test_a_card_its_copy_and_the_page(cards, tmp_path, capsys):
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\nversion = 1\nabout = ""\nbudgets = [3, 6]\n'
        'attempts = [{attack = "noise", constraint = "linf:8"}]\n'
    )
    asked = ["--models", "builtin", "--suite", str(tmp_path / "mine.toml"), "--limit", "2"]
    asked += ["--out", str(tmp_path / "out"), "--reference", str(tmp_path / "reference")]
    asked += ["--site", str(tmp_path / "site")]
    cards.main(asked)
    file = tmp_path / "reference" / "builtin.mine-v1.json"
    card = read_card(file)
    assert (card.model.name, card.images.count, card.budgets) == ("builtin", 2, [3, 6])
    assert str(tmp_path) not in file.read_text()
    board = Board.model_validate_json((tmp_path / "site" / "leaderboard.json").read_text())
    assert [row.level for row in board.sections[0].rankings[0].rows] == ["model"]
    before = file.read_bytes()
    cards.main([*asked, "--report"])  # nothing is asked again
    cards.main(asked)
    assert file.read_bytes() == before
    with pytest.raises(SystemExit):
        cards.main(["--limit", "2"])
    assert "give --reference and --site" in capsys.readouterr().err
