"""The page of an audit in a real browser."""

import json
import runpy
from itertools import pairwise
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from iqattack.auditing import WORST, read_card
from iqattack.reporting import write_card_page

pytestmark = pytest.mark.slow
_cards = runpy.run_path(str(Path(__file__).with_name("cards.py")))
made_up, curve, line = _cards["card"], _cards["curve"], _cards["line"]


@pytest.fixture
def browser(chromium, audit):
    """The page of the audit, just opened, 1280 pixels wide."""
    chromium.size(1280, 900)
    chromium.dark(False)
    chromium.open(audit / "index.html")
    chromium.js("localStorage.clear(); document.documentElement.removeAttribute('data-theme')")
    yield chromium
    assert chromium.complaints() == []


def drawn(browser):
    """The names of the curves that are drawn, without the ends of bands."""
    return browser.js(
        "return document.getElementById('chart-gain').data.filter(t => t.name).map(t => t.name)"
    )


def test_opens_from_disk_and_asks_for_nothing_else(chromium, audit):
    chromium.requests()
    chromium.open(audit / "index.html")
    asked = [address for address in chromium.requests() if not address.startswith("data:")]
    assert asked == [(audit / "index.html").absolute().as_uri()]
    assert chromium.complaints() == []


def test_the_policy_lets_no_script_in(browser):
    browser.js(
        "const s = document.createElement('script'); s.textContent = 'window.injected = 1';"
        "document.body.append(s)"
    )
    assert browser.js("return window.injected === undefined")
    assert any("Content Security Policy" in text for text in browser.complaints())


def test_draws_the_curves_of_the_card(browser, audit):
    card = read_card(audit)
    found = browser.js(
        "return document.getElementById('chart-gain').data.filter(t => t.name)"
        ".map(t => [t.name, t.x, t.y])"
    )
    expected = {f"{one.attack}, {one.constraint}": one for one in card.curves}
    assert {name for name, _, _ in found} == set(expected)
    for name, queries, gain in found:
        assert queries == list(expected[name].queries)
        assert gain == pytest.approx(expected[name].gain, abs=1e-6)
    assert found[-1][0].startswith(WORST)  # over the others
    assert browser.js("return document.querySelectorAll('#chart-gain .js-fill').length") == 1


def test_the_legend_hides_and_shows_curves_by_keyboard(browser, audit):
    every = drawn(browser)
    box = browser.driver.find_element(By.CSS_SELECTOR, "[data-curves='1']")
    box.send_keys(Keys.SPACE)
    browser.settle()
    hidden = set(every) - set(drawn(browser))
    assert hidden == {"noise, linf:3"}
    box.send_keys(Keys.SPACE)
    browser.settle()
    assert drawn(browser) == every


def test_the_slider_moves_by_keyboard_and_by_pointer(browser):
    slide = browser.driver.find_element(By.CSS_SELECTOR, ".telling input")
    assert "line between clean and attacked image" in slide.accessible_name
    over = "return document.querySelector('.telling .over-it').style.clipPath"
    assert browser.js(over).endswith("50%)")
    slide.send_keys(Keys.ARROW_LEFT)
    assert browser.js(over).endswith("49%)")
    slide.send_keys(Keys.END)
    assert browser.js(over).endswith("100%)")
    edge = browser.driver.find_element(By.CSS_SELECTOR, ".telling .edge")
    box = slide.rect
    assert abs(edge.rect["x"] - box["x"] - box["width"]) <= 3
    slide.click()
    assert abs(int(slide.get_property("value")) - 50) <= 1


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(browser, dark):
    browser.dark(dark)
    ground = browser.js("return getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(20, 23, 26)" if dark else "rgb(255, 255, 255)")
    browser.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.faults() == []


@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_window(browser, width):
    browser.size(width, 844)
    browser.driver.refresh()
    browser.still()
    browser.js("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert browser.js("return document.documentElement.scrollWidth") == width


def test_paper_is_light_and_narrower_than_the_screen(browser):
    browser.dark(True)
    colour = "return document.getElementById('chart-gain').layout.font.color"
    light_and_width = browser.js(
        "window.dispatchEvent(new Event('beforeprint'));"
        "const { layout } = document.getElementById('chart-gain');"
        "return [getComputedStyle(document.body).backgroundColor, layout.width, layout.font.color]"
    )
    assert light_and_width[:2] == ["rgb(255, 255, 255)", 680]
    browser.js("window.dispatchEvent(new Event('afterprint'))")
    browser.still()
    assert browser.js("return getComputedStyle(document.body).backgroundColor") == "rgb(20, 23, 26)"
    assert browser.js(colour) != light_and_width[2]
    assert browser.js("return document.getElementById('chart-gain')._fullLayout.width") > 800
    pdf = browser.driver.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert len(json.dumps(pdf)) > 10_000


def test_reference_models_are_grey(chromium, tmp_path, monkeypatch):
    own = made_up(
        line("linf:3", 100, 0.2), name="mine", curves=[curve("linf:3", 0.2)], runs=(), seen=()
    )
    names = "<b>first</b>", "second"
    others = [
        made_up(line("linf:3", 100, 0.1), name=name, curves=[curve("linf:3", 0.1)])
        for name in names
    ]
    (tmp_path / "references").mkdir()
    for k, other in enumerate((own, *others)):
        (tmp_path / "references" / f"{k}.json").write_text(other.model_dump_json())
    monkeypatch.setattr("iqattack.auditing.reference.CARDS", tmp_path / "references")
    chromium.size(1280, 900)
    chromium.open(write_card_page(tmp_path, own))
    lines = chromium.js(
        "const faint = window.iqattack.theme.colour('faint');"
        "return document.getElementById('chart-gain').data.filter(t => t.name)"
        ".map(t => [t.name, t.line.color === faint])"
    )
    assert lines == [
        ["reference <b>first</b>", True],
        ["reference second", True],
        ["worst case, linf:3", False],
    ]
    labels = chromium.js(
        "return [...document.querySelectorAll('#chart-gain .annotation-text')]"
        ".map(e => e.textContent)"
    )
    assert sorted(labels) == ["<b>first</b>", "linf:3", "second"]
    places = chromium.js(
        "return [...document.querySelectorAll('#chart-gain .annotation-text')]"
        ".map(e => e.getBoundingClientRect().top).sort((a, b) => a - b)"
    )
    assert min(b - a for a, b in pairwise(places)) > 10
    assert chromium.js("return document.querySelectorAll('main b').length") == 0
    assert chromium.faults() == []
    assert chromium.complaints() == []
