"""The quickstart notebook runs from top to bottom, and shows what it did."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import features
import pipeline

NOTEBOOK = Path(__file__).parents[2] / "pipeline" / "quickstart.ipynb"


def code_cells() -> list[str]:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def test_its_cells_are_python_and_import_public_names_alone():
    imported = set()
    for cell in code_cells():
        # %pip is Jupyter's own; an indented one stands alone in its block.
        for node in ast.walk(ast.parse(re.sub(r"^(\s*)%.*$", r"\1pass", cell, flags=re.M))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("features", "pipeline"):
                imported |= {(node.module, alias.name) for alias in node.names}
    assert imported
    assert all(module in ("features", "pipeline") for module, _ in imported)
    assert {name for _, name in imported} <= {*features.__all__, *pipeline.__all__}


@pytest.mark.slow
def test_it_runs(tmp_path: Path):
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    ran = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    outputs = [output for cell in ran.cells for output in cell.get("outputs", [])]
    text = "".join(output.get("text", "") for output in outputs)
    assert "(244, 512) (153, 512) ('ants', 'bees')" in text
    assert re.search(r"logistic regression +0\.9\d\d", text)
    assert "simulator=lightning" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) == 3
