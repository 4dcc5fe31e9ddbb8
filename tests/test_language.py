"""Prose of the package and of the documents avoids phrases that readers stumble over."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What the field does not say, with what it says instead.
PHRASES = {
    r"\b(is|are|was|were|nobody|be) told\b": "reports, is notified, called with",
    r"\btells? of\b": "reports",
    r"\bscores? that (is|are) no number\b": "a non-finite score",
    r"\bthe way back\b": "return to the clean image",
    r"\bturned channels\b": "negated channels",
    r"\bcomes along\b": "is built in, ships with",
    r"\bthe so-manieth\b|(?<!that )\bso many\b(?! (that|small))": "the n-th, n",
    r"\bwhere nothing is said\b": "by default",
    r"\bwas looked at with\b": "was used with",
    r"\bof a noisy model the best\b": "for a stochastic model, the best",
    r"\bis told by very few\b": "has very few parameters",
    r"\bwas there after\b": "was reached by",
    r"\bis not told of a smaller budget\b": "is known for the full budget only",
    r"\bwere to look (better|worse) to the model\b": "the attack tried to raise",
    r"\bgo(es)? on with (it|--)|\bgone on with\b": "continue, resume",
    r"\bput (it|that one|that file) back\b|\bput back a copy\b": "restore",
    r"(?<!there )\bis no (card|folder|run|survey|regular expression|plain file)\b": "is not a",
    r"\b(laid|lays?) on\b": "applied to, projected onto",
    r"\bto (its|the) contrary\b|\bor the contrary\b": "negated",
    r"\bwhat (became|came) of\b": "the result for, the outcome of",
    r"\bgo(es)? on where\b": "continues where",
    r"\bnever asked\b": "unseen",
    r"\b(images|pictures) taught\b": "learnt from",
    r"\bas (it|each|they) likes?\b": "independently",
    r"\bgo(es)? before (it|the|that|those|a|an)\b": "takes precedence over, is better than",
    r"\b(low|high) is good\b": "lower is better, higher is better",
    r"\bmay be one of thousands\b": "may be a thousands separator",
    r"\bwith a number alone\b|\ba number alone\b": "only a number",
    r"\b(rows|images|runs|audits) that are there\b|\bfrom what is there\b": "existing",
    r"\bcode (is that )?of today\b|\btoday's code\b": "the current code",
    r"\b(is|are) no (set|vector) of\b": "is not a set of",
    r"\bare made up\b|\bmade-up (workers|models|runs)\b": "simulated, synthetic",
}
PACKAGE = sorted((ROOT / "src/iqattack").rglob("*.py"))
PAGES = [
    path
    for pattern in ("templates/*.html", "assets/*.js")
    for path in sorted((ROOT / "src/iqattack/reporting").glob(pattern))
    if "plotly" not in path.name
]
DOCUMENTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "src/iqattack").rglob("*.md")),
    *sorted((ROOT / "benchmarks").glob("*.md")),
]
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
# Text in their strings belongs to the fingerprints of benchmarks: comments alone may change.
FROZEN = ("attacks", "constraints", "directions", "perception", "defences")


def prose(source: str, *, strings: bool = True) -> Iterator[str]:
    """Docstrings and comments of Python source, and its other strings, on one line each."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(source)):
        if strings and isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value  # docstrings and parts of f-strings among them
        elif not strings and isinstance(node, documented):
            yield ast.get_docstring(node) or ""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    yield " ".join(t.string.lstrip("#: ") for t in tokens if t.type == tokenize.COMMENT)


def faults(texts: Iterator[str] | list[str]) -> list[str]:
    """Every phrase to avoid, with its surroundings and a better one."""
    found = []
    for text in (" ".join(text.split()) for text in texts):
        for phrase, better in PHRASES.items():
            for match in re.finditer(phrase, text, re.IGNORECASE):
                around = text[max(match.start() - 30, 0) : match.end() + 30]
                found.append(f"…{around}… (say: {better})")
    return found


@pytest.mark.parametrize("path", [*PACKAGE, *BENCHMARKS], ids=lambda p: str(p.relative_to(ROOT)))
def test_the_source_is_idiomatic(path):
    frozen = any(path.is_relative_to(ROOT / "src/iqattack" / folder) for folder in FROZEN)
    assert faults(prose(path.read_text("utf-8"), strings=not frozen)) == []


@pytest.mark.parametrize("path", [*PAGES, *DOCUMENTS], ids=lambda path: path.name)
def test_pages_and_documents_are_idiomatic(path):
    assert faults([path.read_text("utf-8")]) == []


def test_phrases_are_found_in_docstrings_comments_and_messages():
    source = '''
def f():
    """A score that is
    no number."""
    # progress: is
    # told (images)
    raise ValueError(f"{1}: put back a copy")
'''
    assert len(faults(prose(source))) == 3
    assert len(faults(prose(source, strings=False))) == 2
