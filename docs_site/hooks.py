"""Hooks of MkDocs: pages that are made of the program and of files beside docs/."""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs_site import commands, links

REPOSITORY = Path(__file__).resolve().parent.parent
DIALOG = 'data-md-component="search" role="dialog"'
README = re.compile(r"^<!-- README(?:: (.*))? -->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference of the command line, the pages beside docs/ and the files linked to."""
    made = {"cli.md": commands.as_markdown()}
    for source, page in links.PAGES.items():
        text = (REPOSITORY / source).read_text("utf-8")
        made[page] = links.relinked(text, ".", page)
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    wanted = links.targets(readme, ".")
    for name in links.PAGES:
        wanted |= links.targets((REPOSITORY / name).read_text("utf-8"), ".")
    for file in files.documentation_pages():
        wanted |= links.targets(file.content_string, links.DOCS)
    for path in sorted(wanted):
        page = links.page_of(path)
        if page.startswith(f"{links.SOURCE}/") and (REPOSITORY / path).is_file():
            made[page] = links.shown(REPOSITORY / path, Path(path).name)
            raw = File.generated(
                config, f"{links.SOURCE}/{path}", abs_src_path=str(REPOSITORY / path)
            )
            files.append(raw)
    for page, text in made.items():
        files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Put sections of the README where a page asks for them, and mend links and lists."""
    name = page.file.src_uri
    if page.file.generated_by is None:
        markdown = links.relinked(markdown, links.DOCS, name)

    def quoted(found: re.Match[str]) -> str:
        readme = (REPOSITORY / "README.md").read_text("utf-8")
        return links.relinked(links.section(readme, found[1] or ""), ".", name)

    return links.readable(README.sub(quoted, markdown))


def on_page_content(html: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001
    """Make tables and code fit for keyboards and narrow screens."""
    return links.accessible(html)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:  # noqa: ARG001
    """Name the dialog of the search, which Material leaves without a name."""
    return output.replace(DIALOG, f'{DIALOG} aria-label="Search"')
