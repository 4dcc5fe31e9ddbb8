"""Pictures of the page of a real run, for the documents.

    python benchmarks/report_screenshots.py [--queries 200]

Attacks the 24 development images on CNNIQA with `filter-search`, writes the page, and has Chromium
take docs/report-1280.png and docs/report-390.png, the whole page on a screen and on a phone, and
docs/report-image.png and docs/report-visible.png, an image opened, and where its change is visible.
"""

from __future__ import annotations

import argparse
import runpy
import tempfile
from pathlib import Path
from typing import Any

import iqattack
from common import ROOT, declare_operators, shared_data

VIEWS = ((1280, 900), (390, 844))
WHOLE = "return document.documentElement.scrollHeight"
OPEN = "document.querySelector('.card').click()"
VISIBLE = "document.querySelector('input[value=visible]').click()"
OPENED = "return !document.getElementById('picture').hidden"


def take(page: Path, docs: Path) -> None:
    """Write the three pictures of a page into a folder."""
    browser: Any = runpy.run_path(str(ROOT / "tests" / "chromium.py"))["Browser"]()
    try:
        for width, height in VIEWS:
            browser.size(width, height)
            browser.open(page)
            browser.size(width, browser.js(WHOLE))  # so that every thumbnail is loaded
            browser.still()
            browser.screenshot(docs / f"report-{width}.png")
        browser.size(*VIEWS[0])
        browser.open(page)
        browser.js(OPEN)
        browser.until(OPENED)
        browser.still()
        browser.screenshot(docs / "report-image.png")
        browser.js(VISIBLE)
        browser.still()
        browser.screenshot(docs / "report-visible.png")
    finally:
        browser.close()


def main() -> None:
    """Attack, write the page, take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--queries", type=int, default=200)
    options = parser.parse_args()
    declare_operators()
    with tempfile.TemporaryDirectory() as folder:
        run = iqattack.attack(
            shared_data() / "dev",
            f"cnniqa:{shared_data() / 'models' / 'cnniqa_live.pth'}",
            out=Path(folder) / "run",
            attack="filter-search",
            constraint="linf:3",
            queries=options.queries,
        )
        take(iqattack.report(run), ROOT / "docs")
    names = ("1280", "390", "image", "visible")
    print(f"written: {', '.join(f'docs/report-{name}.png' for name in names)}")


if __name__ == "__main__":
    main()
