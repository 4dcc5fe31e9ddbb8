"""Markdown that was written to be read in the repository, made fit for the site."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

DOCS = "docs"
SOURCE = "source"  # the folder of the site that shows files of the repository
# Pages of the site that are files beside docs/.
PAGES = {"CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#|/)([^)\s#]+)(#[^)\s]*)?(?=\))")
FENCE = re.compile(r"^\s*(```+|~~~+)")
CODE_SPAN = re.compile(r"(`+)(?:(?!\1).)+\1")
ITEM = re.compile(r"^(?:[-*] |1\. )")
NUMBER = re.compile(r"<td((?: style=\"[^\"]*\")?)>([-−–+\d.,\[\]()…% ]{1,28})</td>")
CODE = re.compile(r"(<pre[^>]*>(?:<span></span>)?<code[^>]*>)(.*?)(</code></pre>)", re.DOTALL)
FRAME = (
    '<div class="md-typeset__scrollwrap" tabindex="0" role="group" aria-label="Table">'
    '<div class="md-typeset__table">'
)
LANGUAGES = {".py": "python", ".toml": "toml", ".yml": "yaml", ".sh": "bash", ".json": "json"}


def outside_fences(text: str) -> Iterator[tuple[str, bool]]:
    """Each line of Markdown, and whether it is outside of blocks of code."""
    fence = ""
    for line in text.splitlines():
        found = FENCE.match(line)
        if found and (not fence or (found[1].startswith(fence) and line.strip() == found[1])):
            fence = "" if fence else found[1]
            yield line, False
        else:
            yield line, not fence


def targets(text: str, folder: str) -> set[str]:
    """The files that Markdown in a folder links to, as paths in the repository."""
    lines = (CODE_SPAN.sub("", line) for line, prose in outside_fences(text) if prose)
    return {
        posixpath.normpath(posixpath.join(folder, found[1]))
        for line in lines
        for found in LINK.finditer(line)
    }


def page_of(path: str) -> str:
    """Where the site has a file of the repository, as a path in docs/."""
    if path.startswith(f"{DOCS}/"):
        return path.removeprefix(f"{DOCS}/")
    return PAGES.get(path, f"{SOURCE}/{path}.md")


def relinked(text: str, folder: str, page: str) -> str:
    """Markdown of a folder of the repository, with links as they are on a page of the site.

    folder: of the repository, such as `docs`, or `.` for its root. page: its path in docs/.
    """

    def moved(found: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(folder, found[1]))
        there = posixpath.relpath(page_of(path), posixpath.dirname(page) or ".")
        return there + (found[2] or "")

    return _each_line(text, lambda line: LINK.sub(moved, line))


def readable(text: str) -> str:
    """Markdown as Python-Markdown wants it: a blank line before a list, and no comments."""
    lines: list[str] = []
    in_list = False
    for line, prose in outside_fences(text):
        if prose and line.startswith("<!--") and line.endswith("-->"):
            lines.append("")
            continue
        item = prose and bool(ITEM.match(line))
        if item and not in_list and lines and lines[-1].strip():
            lines.append("")
        if item or not line.strip():
            in_list = item or in_list
        elif lines and not lines[-1].strip() and not line.startswith(" "):
            in_list = False
        lines.append(line)
    return "\n".join(lines) + "\n"


def section(text: str, heading: str) -> str:
    """A section of Markdown with its heading; without one, what comes before the first section."""
    parts = re.split(r"^(?=## )", text, flags=re.MULTILINE)
    if not heading:
        return parts[0].partition("\n")[2]  # without the title
    found = [part for part in parts if part.startswith(f"## {heading}\n")]
    if not found:
        raise KeyError(f"README.md has no section '## {heading}'")
    return found[0]


def shown(path: Path, name: str) -> str:
    """A page that shows a file of the repository; of a notebook, its cells without outputs."""
    text = path.read_text("utf-8")
    lines = [f"[Download this file]({path.name}){{ download }}", ""]
    if path.suffix == ".ipynb":  # which has a title of its own
        for cell in json.loads(text)["cells"]:
            source = "".join(cell["source"]).rstrip()
            lines += [source if cell["cell_type"] == "markdown" else _fenced(source, "python"), ""]
    else:
        lines.insert(0, f"# {name}\n")
        lines.append(_fenced(text.rstrip(), LANGUAGES.get(path.suffix, "text")))
    return "\n".join(lines) + "\n"


def accessible(html: str) -> str:
    """HTML of a page whose numbers keep a line, and whose tables and code scroll by keyboard, too.

    A table gets the frame that Material's script would give it, and a place in the order of the tab
    key; a cell of numbers and intervals gets the class `number`. In a block of code, a span gets
    that place: the script takes it away from the block itself on screens without a mouse.
    """
    html = NUMBER.sub(r'<td class="number"\1>\2</td>', html)
    html = CODE.sub(r'\1<span tabindex="0">\2</span>\3', html)
    return html.replace("<table>", FRAME + "<table>").replace("</table>", "</table></div></div>")


def _fenced(code: str, language: str) -> str:
    return f"````{language}\n{code}\n````"


def _each_line(text: str, change: Callable[[str], str]) -> str:
    lines = (change(line) if prose else line for line, prose in outside_fences(text))
    return "\n".join(lines) + "\n"
