"""No figure in the README or a page is typed in: a program printed it into a generated page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
PRINTED = "Printed by `python benchmarks/"
INTERVAL = re.compile(r"-?\d+\.\d+ \[-?\d+\.\d+, -?\d+\.\d+\]")
DECIMAL = re.compile(r"(?<![\w.:/])-?\d+\.\d+(?![\w./])")
# Decimals of the README that are settings and no figures: visible contrast, JOD, shares of the JND.
SETTINGS = {"2.5", "9.75", "9.5", "0.38", "0.95", "3.11"}


def text_of(path: Path) -> str:
    """A page with plain minus signs and no code."""
    text = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    return text.replace("−", "-").replace("–", "-")


def generated() -> str:
    """All that programs printed."""
    return "\n".join(text for text in map(text_of, PAGES) if PRINTED in text)


@pytest.mark.parametrize(
    "page",
    [README, *(page for page in PAGES if PRINTED not in page.read_text("utf-8"))],
    ids=lambda page: page.name,
)
def test_intervals_are_those_of_a_program(page):
    printed = generated()
    assert [found for found in INTERVAL.findall(text_of(page)) if found not in printed] == []


def test_figures_of_the_readme_are_those_of_a_program():
    found = set(DECIMAL.findall(re.sub(r"`[^`]*`|\(https?:[^)]*\)", "", text_of(README))))
    assert len(found - SETTINGS) > 10
    printed = set(DECIMAL.findall(generated()))
    assert sorted(found - SETTINGS - printed) == []


def test_a_typed_in_figure_is_found():
    assert INTERVAL.findall("gain 12.3 [1.0, 23.4] points") == ["12.3 [1.0, 23.4]"]
    assert "12.3 [1.0, 23.4]" not in generated()
    assert DECIMAL.findall("41.5 points, bands:2.5, 3.1.2, v0.1") == ["41.5"]
