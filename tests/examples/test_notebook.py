"""The notebook, cell by cell, as a kernel runs it: the last expression of a cell is shown."""

import ast
import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "notebook.ipynb"


def cells():
    return json.loads(NOTEBOOK.read_text("utf-8"))["cells"]


def test_it_has_no_outputs():
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert code
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
def test_its_cells_run_and_show_something(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    names, shown = {}, []
    for cell in cells():
        if cell["cell_type"] != "code":
            continue
        source = "".join(cell["source"]).replace("queries=100", "queries=20")
        source = source.replace("limit=12", "limit=3").replace("resize=160", "resize=96")
        tree = ast.parse(source)
        last = tree.body[-1]
        if isinstance(last, ast.Expr):
            tree.body.pop()
        exec(compile(tree, str(NOTEBOOK), "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names)
            shown.append(value)
    assert len(shown) == 5
    for value in shown[:3]:
        assert value._repr_html_().startswith("<div")
    for figure in shown[3:]:
        assert figure._repr_png_().startswith(b"\x89PNG")
    assert (tmp_path / "gain.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "moved.png").is_file()
    assert names["runs"][0].settings.queries == 20
