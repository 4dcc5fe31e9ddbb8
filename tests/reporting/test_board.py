"""The leaderboard: ranks, tables that are kept apart, the files, and the page in a browser."""

import hashlib
import json
import os
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

import iqattack
from iqattack.auditing import WORST, Card, CardCheck, Finding, Value
from iqattack.cli import main
from iqattack.errors import InputError
from iqattack.reporting.board import Board, board_schema, rank_text, ranks

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"
AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text(encoding="utf-8")
SCHEMA = Path(__file__).resolve().parents[2] / "docs" / "leaderboard.schema.json"
CONSTRAINTS = ("bands:2.5", "linf:3")


def line(attack, constraint, queries, gain, srocc, best=None, drop=None):
    measures = {"gain": gain, "gain_sd": gain, "srocc": srocc} | (
        {} if drop is None else {"srocc_drop": drop}
    )
    return {"attack": attack, "constraint": constraint, "queries": queries, "images": 12,
            "measures": measures, "best": best or {}}  # fmt: skip


def value(middle, width):
    return {"value": middle, "low": middle - width, "high": middle + width}


def card(name, gain, width=0.02, *, suite="mine-v1", digest="d" * 64, pixels="p" * 64, **changes):
    """A card whose worst case at 100 queries has that gain."""
    lines, seen = [], []
    for k, constraint in enumerate(CONSTRAINTS):
        for queries, share in ((20, 0.5), (100, 1.0)):
            gains = value((gain + 0.1 * k) * share, width)
            lines.append(line(WORST, constraint, queries, gains, value(0.5, 0.1),
                              {"noise": 0.25, "square": 0.75}, value(0.1, 0.05)))  # fmt: skip
            lines.append(line("square", constraint, queries, gains, value(0.5, 0.1)))
        seen.append({"attack": "square", "constraint": constraint, "seed": 0, "jod": 9.0,
                     "jod_least": 8.25 - k, "ssim": 0.9})  # fmt: skip
    data = {
        "suite": {"id": suite, "digest": digest},
        "model": {"name": name, "score_range": [0.0, 100.0], "lower_better": True, "files": {}},
        "images": {"count": 12, "attacked": 12, "digest": pixels},
        "runs": [],
        "lines": lines,
        "seen": seen,
    }
    return Card.model_validate_json(json.dumps(data | changes))


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of(name, *args, **options):
        path = tmp_path / f"{name}.json"
        path.write_text(card(*args, **options).model_dump_json())
        return path

    return of


def rows_of(board, constraint="bands:2.5"):
    ranking = next(r for r in board.sections[0].rankings if r.constraint == constraint)
    return [(rank_text(row.rank), row.model) for row in ranking.rows]


def check_of(path, level, *findings):
    return CardCheck(submission=path.name, model="m", suite="s", wanted="model", level=level,
                     sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
                     findings=findings)  # fmt: skip


def ranked(entries, out="site", **options):
    """The leaderboard of cards whose files were verified before."""
    known = [check_of(Path(entry), "files") for entry in entries]
    checks = [*options.pop("checks", []), *known]
    return iqattack.leaderboard(entries, out, checks=checks, **options)


# -- ranks ----------------------------------------------------------------------------------------


def values(*ends):
    return [Value(value=(low + high) / 2, low=low, high=high) for low, high in ends]


def test_ranks_by_hand():
    assert ranks(values((0, 1), (2, 3), (4, 5))) == [(1, 1), (2, 2), (3, 3)]
    assert ranks(values((4, 5), (0, 1), (2, 3))) == [(3, 3), (1, 1), (2, 2)]
    assert ranks(values((0, 2), (1, 3), (4, 5))) == [(1, 2), (1, 2), (3, 3)]
    assert ranks(values((0, 2), (1, 4), (3, 5))) == [(1, 2), (1, 3), (2, 3)]  # a chain
    assert ranks(values((0, 1), (1, 2))) == [(1, 2), (1, 2)]  # they touch
    assert ranks([Value(value=1.0), Value(value=1.0), Value(value=2.0)]) == [(1, 2), (1, 2), (3, 3)]
    assert ranks([Value(value=None), Value(value=0.5)]) == [None, (1, 1)]
    assert ranks([Value(value=float("nan")), *values((0, 1))]) == [None, (1, 1)]
    assert [rank_text(rank) for rank in ((1, 1), (2, 4), None)] == ["1", "2–4", "–"]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 6)), min_size=1, max_size=12))
def test_a_rank_holds_whatever_the_intervals_hide(pairs):
    """The place of every model in the order of any values within the intervals is in its rank."""
    ends = [(low, low + width) for low, width in pairs]
    found = ranks(values(*ends))
    n = len(ends)
    for pick in (lambda k, j: (k == j, k != j), lambda k, j: (k != j, k == j)):
        for j in range(n):
            chosen = [ends[k][0] if pick(k, j)[0] else ends[k][1] for k in range(n)]
            place = 1 + sum(chosen[k] < chosen[j] for k in range(n) if k != j)
            last = n - sum(chosen[k] > chosen[j] for k in range(n) if k != j)
            low, high = found[j]
            assert low <= place <= last <= high
    for j, (low, high) in enumerate(found):  # and no wider: the ends are reached
        best = 1 + sum(ends[k][1] < ends[j][0] for k in range(n) if k != j)
        assert (low, high) == (best, n - sum(ends[k][0] > ends[j][1] for k in range(n) if k != j))


# -- what it shows --------------------------------------------------------------------------------


def test_the_most_robust_comes_first_and_overlaps_share_ranks(write, tmp_path):
    entries = [write("c", "weak", 0.5), write("a", "good", 0.10), write("b", "close", 0.12)]
    board = ranked(entries)
    assert rows_of(board) == [("1–2", "good"), ("1–2", "close"), ("3", "weak")]
    row = board.sections[0].rankings[0].rows[0]
    assert (row.strongest, row.share, row.jod_least, row.level) == ("square", 0.75, 8.25, "files")
    assert [gain.value for gain in row.gains] == pytest.approx([0.05, 0.10])
    assert (row.srocc.value, row.srocc_drop.value) == (0.5, 0.1)
    assert board.sections[0].rankings[1].rows[0].jod_least == 7.25
    text = Path("site/leaderboard.json").read_text()
    assert Board.model_validate_json(text) == board
    jsonschema.Draft202012Validator(board_schema()).validate(json.loads(text))
    assert json.loads(SCHEMA.read_text(encoding="utf-8")) == board_schema(), "run `make schema`"
    for row in board.sections[0].rankings[0].rows:
        copy = Path("site") / row.card
        assert copy.read_bytes() in [path.read_bytes() for path in entries]
    page = Path("site/index.html").read_text()
    assert page.count('<span class="badge level-files">files</span>') >= 6
    assert "http" not in page.replace("http-equiv", "")
    assert str(tmp_path) not in page


@pytest.mark.parametrize(
    "other", [{"suite": "mine-v2"}, {"digest": "e" * 64}, {"pixels": "q" * 64}]
)
def test_other_suites_and_images_have_tables_of_their_own(write, other):
    board = ranked([write("a", "one", 0.1), write("b", "two", 0.2, **other)])
    assert len(board.sections) == 2
    for section in board.sections:
        assert all(len(ranking.rows) == 1 for ranking in section.rankings)
        assert section.rankings[0].rows[0].rank == (1, 1)


def test_a_card_without_a_line_is_last_and_not_ranked(write):
    less = card("less", 0.0).model_dump(mode="json")
    less["lines"] = [x for x in less["lines"] if x["queries"] == 20]
    Path("less.json").write_text(json.dumps(less))
    board = ranked([write("a", "one", 0.3), "less.json"])
    assert rows_of(board) == [("1", "one"), ("–", "less")]


def test_names_are_text_and_nothing_else(write):
    entry = write("a", HOSTILE, 0.1)
    board = iqattack.leaderboard([entry, write("b", "../../up/\x1b[31m", 0.2)], "site")
    page = Path("site/index.html").read_text()
    assert HOSTILE not in page
    assert "\x1b" not in page
    for row in board.sections[0].rankings[0].rows:
        assert Path("site", row.card).resolve().parent == Path("site/cards").resolve()


def test_an_earlier_check_counts_for_the_same_bytes_alone(write):
    one, two = write("a", "one", 0.1), write("b", "two", 0.2)
    board = iqattack.leaderboard([one, two], "site", checks=[check_of(one, "model")])
    assert [row.level for row in board.sections[0].rankings[0].rows] == ["model", "card"]
    known = check_of(one, "model")
    one.write_text(one.read_text() + " ")
    board = iqattack.leaderboard([one, two], "site", checks=[known])
    assert [row.level for row in board.sections[0].rankings[0].rows] == ["card", "card"]


def test_what_is_refuted_is_not_ranked(write, capsys):
    one, two = write("a", "one", 0.1), write("b", "two", 0.2)
    wrong = check_of(two, "card", Finding(state="refuted", where="card.json", what="gain is odd"))
    board = ranked([one, two], checks=[wrong])
    assert [refused.reasons for refused in board.refused] == [("card.json: gain is odd",)]
    assert rows_of(board) == [("1", "one")]
    assert "gain is odd" not in Path("site/index.html").read_text()
    assert len(list(Path("site/cards").iterdir())) == 1
    kept = ranked([one, two], checks=[wrong], keep_refuted=True)
    assert rows_of(kept) == [("1", "one")]
    assert "gain is odd" in Path("site/index.html").read_text()
    with pytest.raises(InputError, match="no other card is left"):
        iqattack.leaderboard([two], "site", checks=[wrong])


def test_a_card_of_a_published_suite_needs_its_digest(write):
    with pytest.raises(InputError, match="the versions differ"):
        iqattack.leaderboard([write("a", "one", 0.1, suite="quick-v1")], "site")
    assert not Path("site").exists()


# -- files ----------------------------------------------------------------------------------------


def test_only_a_leaderboard_is_replaced(write):
    entry = write("a", "one", 0.1)
    iqattack.leaderboard([entry], "site")
    Path("site/.nojekyll").touch()
    other = write("b", "two", 0.1)
    iqattack.leaderboard([other], "site")
    assert "two" in Path("site/index.html").read_text()
    assert len(list(Path("site/cards").iterdir())) == 1
    assert Path("site/.nojekyll").exists()
    Path("site/thesis.tex").touch()
    with pytest.raises(InputError, match=r"but has thesis\.tex"):
        iqattack.leaderboard([entry], "site")
    Path("site/thesis.tex").rename("site/cards/thesis.tex")
    with pytest.raises(InputError, match=r"but has cards/thesis\.tex"):
        iqattack.leaderboard([entry], "site")
    Path("mine").mkdir()
    Path("mine/index.html").touch()
    with pytest.raises(InputError, match="not a leaderboard"):
        iqattack.leaderboard([entry], "mine")
    Path("link").symlink_to("site")
    with pytest.raises(InputError, match="is a link, expected a folder"):
        iqattack.leaderboard([entry], "link")
    with pytest.raises(InputError, match="working folder"):
        iqattack.leaderboard([entry], Path("site", ".."))
    assert sorted(path.name for path in Path().iterdir()) == sorted(
        ["a.json", "b.json", "link", "mine", "site"]
    )


def test_an_earlier_leaderboard_is_replaced_even_without_a_working_folder(write, tmp_path):
    entry = write("a", "one", 0.1)
    iqattack.leaderboard([entry], tmp_path / "site")
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)  # monkeypatch in `write` goes back
    gone.rmdir()
    iqattack.leaderboard([entry], tmp_path / "site")
    assert "one" in (tmp_path / "site" / "index.html").read_text()


def test_bad_entries(write):
    entry = write("a", "one", 0.1)
    Path("empty").mkdir()
    Path("odd.json").write_text("{}")
    for entries, said in (([], "no card"), ([entry, "nowhere"], "does not exist"),
                          (["empty"], "no other card is left"),
                          (["odd.json"], r"is not a card \(suite: Field required\)")):  # fmt: skip
        with pytest.raises(InputError, match=said):
            iqattack.leaderboard(entries, "site")
    assert not Path("site").exists()


def test_what_holds_no_card_leaves_the_others_ranked(write, capsys):
    entry = write("a", "one", 0.1)
    Path("empty").mkdir()
    Path("odd.json").write_text("[")
    board = ranked([entry], keep_refuted=True)
    Path("check.json").write_text(
        json.dumps({"checks": [check_of(entry, "files").model_dump(mode="json")]})
    )
    asked = ["leaderboard", "empty", "a.json", "odd.json", "--out", "site", "--keep-refuted"]
    assert main([*asked, "--checks", "check.json"]) == 1
    err = capsys.readouterr().err
    assert "empty: not an audit, not ranked: card.json: is not a card" in err
    assert "odd.json: not an audit, not ranked: is not a card" in err
    written = Board.model_validate_json(Path("site/leaderboard.json").read_text())
    assert [refused.submission for refused in written.refused] == ["empty", "odd.json"]
    assert written.sections == board.sections


def test_a_submission_is_there_once_however_it_is_written(write):
    one = write("a", "one", 0.1)
    Path("again.json").write_text(one.read_text() + "\n")
    two = write("b", "two", 0.2)
    board = iqattack.leaderboard(
        [one, two, "again.json"], "site", checks=[check_of(Path("again.json"), "model")]
    )
    rows = board.sections[0].rankings[0].rows
    assert [(row.model, row.level) for row in rows] == [("one", "model"), ("two", "card")]


def test_cards_that_are_not_verified_shift_no_rank(write):
    good, weak = write("a", "good", 0.2), write("b", "weak", 0.5)
    fake = write("c", "fake", 0.0)
    checks = [check_of(good, "files"), check_of(weak, "model")]
    board = iqattack.leaderboard([fake, weak, good], "site", checks=checks)
    assert rows_of(board) == [("1", "good"), ("2", "weak"), ("–", "fake")]
    assert board.sections[0].rankings[0].rows[-1].unranked == ("not verified",)
    assert "no rank: not verified" in Path("site/index.html").read_text()


def test_notes_are_shown_and_some_bar_a_rank(write):
    good, lost = write("a", "good", 0.2), write("b", "lost", 0.1)
    ran = Finding(state="note", where="model", what="was run with input size=8x8")
    odd = Finding(state="note", where="model", what="its score range was given", unranked=True)
    checks = [check_of(good, "files", ran), check_of(lost, "files", odd)]
    board = iqattack.leaderboard([good, lost], "site", checks=checks)
    assert rows_of(board) == [("1", "good"), ("–", "lost")]
    page = Path("site/index.html").read_text()
    assert "no rank: its score range was given" in page
    assert "model: was run with input size=8x8" in page


def test_images_that_failed_bar_a_rank(write):
    images = {"count": 12, "attacked": 12, "partly": 2, "digest": "p" * 64}
    entries = [write("a", "good", 0.2), write("b", "partly", 0.1, images=images)]
    board = ranked(entries)
    assert rows_of(board) == [("1", "good"), ("–", "partly")]
    (reason,) = board.sections[0].rankings[0].rows[1].unranked
    assert reason == "2 of 12 images failed with some attacks"


def test_a_badge_says_what_share_was_asked_again(write):
    entry = write("a", "one", 0.1)
    check = check_of(entry, "model").model_copy(update={"sampled": ("00.png",), "pictures": 8})
    iqattack.leaderboard([entry], "site", checks=[check])
    assert "model (1 of 8 images)</span>" in Path("site/index.html").read_text()


def test_one_card_does_not_decide_what_a_table_shows(write):
    """Its budgets are those of most cards, among the best verified."""
    entries = [write(name, name, 0.1 * k) for k, name in enumerate("abc", 1)]
    less = card("less", 0.1).model_dump(mode="json")
    less["lines"] = [x for x in less["lines"] if x["queries"] == 20]
    Path("less.json").write_text(json.dumps(less))
    for order in ([Path("less.json"), *entries], [*entries, Path("less.json")]):
        assert ranked(order).sections[0].budgets == (20, 100)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"value": float("nan")}, "gain.value nan: expected a number"),
        ({"low": -float("inf")}, "gain.low -inf: expected a number"),
        ({"low": 0.9, "high": 0.1}, "expected low ≤ value ≤ high"),
        ({"value": 0.9}, "expected low ≤ value ≤ high"),
    ],
)
def test_numbers_that_no_audit_writes_are_refuted(write, changes, said):
    entry = write("a", "one", 0.1)
    data = json.loads(write("b", "odd", 0.2).read_text())
    data["lines"][0]["measures"]["gain"].update(changes)
    Path("b.json").write_text(json.dumps(data))
    board = ranked([entry, "b.json"])
    assert rows_of(board) == [("1", "one")]
    assert said in board.refused[0].reasons[0]


def test_the_page_is_one_file_beside_its_data(write):
    """Earlier versions had style sheets and scripts beside it, which are replaced."""
    entry = write("a", "one", 0.1)
    ranked([entry])
    for name in ("page.css", "board.css", "theme.js", "board.js"):
        Path("site", name).write_text("earlier")
    ranked([entry])
    assert {path.name for path in Path("site").iterdir()} == {
        "index.html", "leaderboard.json", "cards",
    }  # fmt: skip
    page = Path("site/index.html").read_text()
    assert '<link rel="stylesheet"' not in page
    assert "<script src" not in page
    assert "script-src &#39;sha256-" in page


def test_the_command(write, capsys):
    one, two = write("a", "one", 0.1), write("b", "two", 0.5)
    assert main(["leaderboard", str(one), str(two), "--out", "site"]) == 0
    out = capsys.readouterr().out
    assert "one: no rank: not verified" in out
    assert "mine-v1, linf:3, 12 images" in out
    assert "site/index.html" in out
    wrong = check_of(two, "card", Finding(state="refuted", where="card.json", what="gain is odd"))
    Path("check.json").write_text(json.dumps({"checks": [wrong.model_dump(mode="json")]}))
    asked = ["leaderboard", str(one), str(two), "--out", "site", "--checks", "check.json"]
    assert main(asked) == 1
    assert "b.json: refuted, not ranked: card.json: gain is odd" in capsys.readouterr().err


# -- in a browser ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Five models of one suite, one of them verified, and one model of another suite."""
    folder = tmp_path_factory.mktemp("board")
    gains = {"zeta": 0.1, "cnniqa": 0.12, "pyiqa:niqe": 0.35, HOSTILE: 0.5, "scnn": 0.6}
    paths = []
    for name, gain in gains.items():
        path = folder / f"{len(paths)}.json"
        path.write_text(card(name, gain).model_dump_json())
        paths.append(path)
    path = folder / "other.json"
    path.write_text(card("zeta", 0.2, suite="other-v1").model_dump_json())
    checks = [check_of(paths[0], "model"), check_of(paths[1], "files")]
    iqattack.leaderboard([*paths, path], folder / "site", checks=checks)
    return folder / "site" / "index.html"


@pytest.fixture
def browser(chromium, site):
    chromium.size(1280, 900)
    chromium.dark(False)
    chromium.requests()
    chromium.open(site)
    chromium.js("localStorage.clear(); document.documentElement.removeAttribute('data-theme')")
    yield chromium
    assert chromium.complaints() == []


def models(browser, table=0):
    return browser.js(
        "return [...document.querySelectorAll('table.board')[arguments[0]].tBodies[0].rows]"
        ".filter(r => r.checkVisibility()).map(r => r.querySelector('a').textContent)",
        table,
    )


def headers(browser, name, table=0):
    """The button of a column of a table."""
    found = browser.driver.find_elements(By.CSS_SELECTOR, "table.board")[table]
    return next(b for b in found.find_elements(By.CSS_SELECTOR, "thead button")
                if b.text.startswith(name))  # fmt: skip


def sorted_by(browser, table=0):
    return browser.js(
        "return [...document.querySelectorAll('table.board')[arguments[0]]"
        ".querySelectorAll('th[aria-sort]')].map(h => [h.textContent, h.ariaSort])",
        table,
    )


def faults(browser):
    browser.js(AXE)
    found = browser.driver.execute_async_script(
        "const done = arguments[0]; axe.run({preload: false}).then(done)"
    )
    assert found["passes"]  # it did look
    return [(fault["id"], [node["html"] for node in fault["nodes"]])
            for fault in found["violations"]]  # fmt: skip


ORDER = ["zeta", "cnniqa", "pyiqa:niqe", HOSTILE, "scnn"]


@pytest.mark.slow
def test_the_page_asks_for_nothing_else(browser, site):
    asked = [address for address in browser.requests() if not address.startswith("data:")]
    assert site.absolute().as_uri() in asked
    folder = site.parent.absolute().as_uri()
    assert [address for address in asked if not address.startswith(folder)] == []


@pytest.mark.slow
def test_badges_are_as_wide_as_their_text(browser):
    widths = browser.js(
        "return [...document.querySelectorAll('.badge')].map(badge => {"
        "  const text = document.createRange(); text.selectNodeContents(badge);"
        "  return [badge.getBoundingClientRect().width, text.getBoundingClientRect().width]; })"
    )
    assert len(widths) > 6
    assert all(0 < text < whole < text + 40 for whole, text in widths)


@pytest.mark.slow
def test_sorts_by_click_and_by_keyboard(browser):
    assert models(browser) == ORDER
    assert sorted_by(browser) == [["gain, SD", "ascending"]]
    headers(browser, "gain, SD").click()
    assert models(browser) == ORDER[::-1]
    assert sorted_by(browser) == [["gain, SD", "descending"]]
    button = headers(browser, "model")
    browser.js("arguments[0].focus()", button)
    ActionChains(browser.driver).send_keys(Keys.ENTER).perform()
    assert sorted_by(browser) == [["model", "ascending"]]
    assert models(browser) == [HOSTILE, "cnniqa", "pyiqa:niqe", "scnn", "zeta"]
    ActionChains(browser.driver).send_keys(Keys.SPACE).perform()
    assert models(browser) == ["zeta", "scnn", "pyiqa:niqe", "cnniqa", HOSTILE]
    headers(browser, "verified").click()
    headers(browser, "verified").click()
    assert models(browser)[:2] == ["zeta", "cnniqa"]
    assert models(browser, 1) == ORDER  # of the other constraint, as it was


@pytest.mark.slow
def test_search_and_constraint(browser):
    field = browser.driver.find_element(By.ID, "search")
    field.send_keys(":NIQ")
    browser.settle()
    assert models(browser) == ["pyiqa:niqe"]
    assert browser.js("return document.getElementById('count').textContent") == "1 of 5 models"
    field.clear()
    field.send_keys("z")
    browser.settle()
    assert models(browser) == ["zeta"]
    field.clear()
    browser.js(
        "const s = document.getElementById('constraint'); s.value = 'linf:3';"
        "s.dispatchEvent(new Event('change'))"
    )
    assert models(browser) == []
    assert models(browser, 1) == ORDER


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 390])
@pytest.mark.parametrize("dark", [False, True])
def test_everybody_can_read_it(browser, width, dark):
    browser.size(width, 900)
    browser.dark(dark)
    assert faults(browser) == []
    assert browser.js("return document.documentElement.scrollWidth") <= width


@pytest.mark.slow
def test_without_scripts_the_tables_are_there(chromium, site):
    chromium.size(1280, 900)
    chromium.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        chromium.driver.get(site.absolute().as_uri())
        tables = chromium.driver.find_elements(By.CSS_SELECTOR, "table.board")
        assert len(tables) == 4
        assert [row.text for row in tables[0].find_elements(By.CSS_SELECTOR, "tbody a")] == ORDER
        assert not chromium.driver.find_element(By.ID, "controls").is_displayed()
    finally:
        chromium.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    chromium.complaints()


@pytest.mark.slow
def test_no_script_of_a_name_runs(browser):
    assert browser.js("return document.querySelectorAll('main script, main img').length") == 0
    assert HOSTILE in models(browser)
