"""Markdown of the repository, as the site needs it."""

import json

import pytest

from docs_site import links


def test_links_lead_to_pages_of_the_site():
    text = "[a](runs.md#the-log) [b](../examples/a.py) [c](../CONTRIBUTING.md) ![d](d.png)"
    assert links.relinked(text, "docs", "models.md") == (
        "[a](runs.md#the-log) [b](source/examples/a.py.md) [c](contributing.md) ![d](d.png)\n"
    )
    assert links.relinked("[a](docs/runs.md) [b](LICENSE)", ".", "contributing.md") == (
        "[a](runs.md) [b](source/LICENSE.md)\n"
    )
    assert links.relinked("[a](runs.md)", "docs", "deep/er.md") == "[a](../runs.md)\n"


@pytest.mark.parametrize(
    "text",
    [
        "[a](https://example.org/x.md)\n",
        "[a](#here)\n",
        "```\n[a](docs/runs.md)\n```\n",
        "````\n```\n[a](docs/runs.md)\n````\n",
    ],
)
def test_other_links_and_code_stay(text):
    assert links.relinked(text, ".", "index.md") == text


def test_targets_are_paths_in_the_repository():
    text = (
        "[a](../examples/a.py) [b](runs.md#x) `[c](no.md)` [d](https://x.org)\n```\n[e](e.md)\n```"
    )
    assert links.targets(text, "docs") == {"examples/a.py", "docs/runs.md"}


def test_a_list_gets_the_blank_line_that_it_needs():
    text = "From the files:\n- one\n  more\n- two\n\nThen:\n1. three\n2. four\n\nend\n"
    assert links.readable(text) == text.replace("files:\n", "files:\n\n").replace(
        "Then:\n", "Then:\n\n"
    )
    code = "```\nlist:\n- one\n```\n"
    assert links.readable(code) == code


def test_comments_do_not_end_up_in_tables():
    assert links.readable("| a |\n<!-- end -->\n") == "| a |\n\n"


def test_sections():
    text = "# T\n\nOpening.\n\n## One\nfirst\n\n### Deep\nx\n\n## Two\nsecond\n"
    assert links.section(text, "") == "\nOpening.\n\n"
    assert links.section(text, "One") == "## One\nfirst\n\n### Deep\nx\n\n"
    with pytest.raises(KeyError, match="Three"):
        links.section(text, "Three")


def test_files_are_shown_as_code_and_notebooks_by_cells(tmp_path):
    script = tmp_path / "a.py"
    script.write_text("print()\n")
    page = links.shown(script, "a.py")
    assert page.startswith("# a.py\n")
    assert "````python\nprint()\n````" in page
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "text"]},
        {"cell_type": "code", "source": ["1 + 1"]},
    ]
    notebook = tmp_path / "n.ipynb"
    notebook.write_text(json.dumps({"cells": cells}))
    page = links.shown(notebook, "n.ipynb")
    assert "# Title\ntext" in page
    assert "````python\n1 + 1\n````" in page
    assert "cell_type" not in page


def test_numbers_keep_a_line_and_what_scrolls_takes_the_focus():
    html = (
        '<table><td>41.0 [35.5, 46.0]</td><td style="text-align: right;">−0.75</td>'
        "<td>a 1</td></table>"
        "<pre><span></span><code>x &lt; y\nz</code></pre><p><code>in a line</code></p>"
    )
    made = links.accessible(html)
    assert made.count('class="number"') == 2
    assert "<td>a 1</td>" in made
    assert made.startswith('<div class="md-typeset__scrollwrap" tabindex="0"')
    assert '<code><span tabindex="0">x &lt; y\nz</span></code>' in made
    assert "<code>in a line</code>" in made
