"""The built site: complete, consistent, and independent of other hosts."""

import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from selenium.webdriver.common.by import By

import iqattack

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[2]
PAGES = ("index", "tutorial", "python", "cli", "strength")
# What a browser fetches by itself, and from which attribute.
FETCHED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "embed": "src",
    "audio": "src",
    "video": "src",
    "object": "data",
    "link": "href",
}


class Elements(HTMLParser):
    """What a page fetches, where its links lead, and what can be led to."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.fetched, self.links, self.ids = [], [], {""}
        self.feed(page.read_text("utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in FETCHED and given.get(FETCHED[tag]):
            self.fetched.append(given[FETCHED[tag]])
        self.fetched += [part.split()[0] for part in (given.get("srcset") or "").split(",") if part]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built as `make docs` does; a warning would be an error."""
    folder = tmp_path_factory.mktemp("site") / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        check=False,
        cwd=REPOSITORY,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    return folder


@pytest.fixture(scope="module")
def elements(site):
    return {page: Elements(page) for page in sorted(site.rglob("*.html"))}


def test_every_page_of_docs_is_there(site):
    sources = sorted((REPOSITORY / "docs").glob("*.md"))
    assert len(sources) > 50
    assert [path.name for path in sources if not (site / f"{path.stem}.html").is_file()] == []


def test_nothing_is_fetched_from_another_host(site, elements):
    foreign = [
        (page.name, address)
        for page, found in elements.items()
        for address in found.fetched
        if urlsplit(address).scheme not in ("", "data") or urlsplit(address).netloc
    ]
    assert foreign == []
    sheets = sorted(site.rglob("*.css"))
    assert len(sheets) >= 3
    for sheet in sheets:
        text = sheet.read_text("utf-8")
        addresses = re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", text)
        for address in (one or other for one, other in addresses):
            assert not re.match(r"(?!data:)[a-z]+:|//", address), (sheet.name, address)


def test_every_link_and_every_anchor_leads_somewhere(site, elements):
    broken = []
    for page, found in elements.items():
        if page.name == "404.html":  # which has addresses of a server's root
            continue
        for address in found.links + found.fetched:
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            inside = target.is_relative_to(site.resolve())
            known = elements.get(site / target.relative_to(site.resolve())) if inside else None
            there = inside and target.is_file()
            if not there or (known and unquote(parts.fragment) not in known.ids):
                broken.append((page.name, address))
    assert broken == []


def test_search_index(site):
    index = json.loads((site / "search" / "search_index.json").read_text("utf-8"))
    text = " ".join(entry["text"] for entry in index["docs"])
    assert len(index["docs"]) > 300
    assert "filter-search" in text
    assert (site / "search" / "search_index.js").read_text("utf-8").startswith("var __index = {")


def test_the_reference_of_python_has_all_names(elements, site):
    found = elements[site / "python.html"].ids
    assert [
        name
        for name in iqattack.__all__
        if name not in ("api", "__version__") and f"iqattack.{name}" not in found
    ] == []
    text = (site / "python.html").read_text("utf-8")
    assert text.count("doc-section-title") > 40
    assert "a share such as 0.25, by default 1 if the device is a GPU." in text


def test_files_beside_docs_are_on_the_site(site):
    page = (site / "source" / "examples" / "server.py.html").read_text("utf-8")
    assert "FastAPI" in page
    raw = site / "source" / "examples" / "server.py"
    assert raw.read_bytes() == (REPOSITORY / "examples" / "server.py").read_bytes()
    assert "How far can an attacker move" in (site / "index.html").read_text("utf-8")
    assert "Attacks propose, the engine asks" in (site / "contributing.html").read_text("utf-8")


def test_lists_and_tables_are_lists_and_tables(elements, site):
    """Where Python-Markdown differs from what shows the files in the repository."""
    text = (site / "leaderboard.html").read_text("utf-8")
    assert re.search(r"<p>From the files:</p>\s*<ul>", text)
    for page in elements:
        body = page.read_text("utf-8").partition("<article")[2].partition("</article")[0]
        assert not re.search(r"<p>[^<]*\n[-*] ", body), page.name
        assert "<!--" not in body, page.name


def shown(chromium, page, *, width=1280, dark=False):
    chromium.size(width, 900)
    chromium.dark(dark)
    chromium.open(page)
    chromium.js("localStorage.clear()")  # where Material keeps the colours of the first visit
    chromium.open(page)
    scheme = "slate" if dark else "default"
    chromium.until(
        f"return document.body.getAttribute('data-md-color-scheme') === '{scheme}'"
        " && !document.querySelector('.md-header').matches(':empty')"
    )
    chromium.still()


def test_pages_open_from_disk_and_ask_for_nothing_else(chromium, site):
    chromium.requests()
    chromium.complaints()
    asked = []
    for name in PAGES:
        chromium.open(site / f"{name}.html")
        chromium.settle()
        asked += [address for address in chromium.requests() if not address.startswith("data:")]
    assert len(asked) > 10
    assert [address for address in asked if not address.startswith(site.as_uri())] == []
    assert chromium.complaints() == []


def test_search_finds_from_disk(chromium, site):
    shown(chromium, site / "index.html")
    box = chromium.driver.find_element(By.CSS_SELECTOR, ".md-search__input")
    box.click()
    box.send_keys("filter search")  # what is typed so far is a query, and "filter-" is none
    chromium.until("return document.querySelectorAll('.md-search-result__item').length >= 5")
    titles = [
        element.text
        for element in chromium.driver.find_elements(By.CSS_SELECTOR, ".md-search-result h1")
    ]
    assert "The filter-search attack" in titles
    assert chromium.faults() == []
    assert chromium.complaints() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_pages_have_no_faults(chromium, site, name, dark):
    for width in (1280,) if dark else (1280, 390):  # the colours are the same at both
        shown(chromium, site / f"{name}.html", width=width, dark=dark)
        assert chromium.faults() == []


@pytest.mark.parametrize("name", [*PAGES, "visibility", "measures", "filter-search", "pyiqa"])
def test_pages_fit_narrow_screens(chromium, site, name):
    """Tables and code scroll within themselves, and figures shrink."""
    shown(chromium, site / f"{name}.html", width=390)
    width, window = chromium.js("return [document.documentElement.scrollWidth, innerWidth]")
    assert width <= window == 390
    over = chromium.js(
        "return [...document.querySelectorAll('article img')]"
        ".filter(i => i.getBoundingClientRect().right > innerWidth).map(i => i.src)"
    )
    assert over == []
