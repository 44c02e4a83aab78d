"""Every notebook runs from top to bottom in a new kernel and an empty folder; its own assertions are the test."""

import re

import nbformat
import pytest
from nbclient import NotebookClient
from support import ROOT

from zoo.config.catalogue import list_models, model_config

FOLDER = ROOT / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
OWNER = "reference-zoo/reference-zoo"
NAMES = [path.stem for path in NOTEBOOKS]


def code(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def test_there_are_ten_notebooks_in_order():
    assert [name[:2] for name in NAMES] == [f"0{k}" for k in range(10)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_has_no_outputs_and_one_figure_in_the_gallery(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert not any(cell.outputs or cell.execution_count for cell in code(notebook))
    assert sum("gallery" in cell.metadata.get("tags", []) for cell in code(notebook)) == 1
    assert (FOLDER / "gallery" / f"{path.stem}.png").is_file()
    # In Colab, the first code cell installs the zoo.
    colab = f"(https://colab.research.google.com/github/{OWNER}/blob/main/notebooks/{path.name})"
    assert colab in notebook.cells[0].source
    assert notebook.cells[1].metadata["tags"] == ["install"]
    assert "%pip install" in notebook.cells[1].source
    readme = (ROOT / "README.md").read_text()
    assert f"notebooks/{path.name}" in readme
    assert f"notebooks/gallery/{path.stem}.png" in readme


@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_long_cells_say_what_they_do_and_links_lead_somewhere(path):
    """A code cell of nine lines or more has a comment of its own line; the first cell and magics are exempt."""
    notebook = nbformat.read(path, as_version=4)
    for cell in code(notebook)[1:]:
        lines = cell.source.splitlines()
        if len(lines) >= 9 and not lines[0].startswith("%"):
            assert any(line.lstrip().startswith("#") for line in lines), cell.source
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    for target in re.findall(r"\]\(([^)\s#]+)\)", text):
        assert target.startswith("http") or (FOLDER / target).is_file(), target


def test_the_overview_has_a_color_for_each_kind_of_net():
    """The last figure of the first notebook draws all models that need no optional package."""
    source = (FOLDER / "00_start_here.ipynb").read_text()
    kinds = {str(model_config(name)["net"]["_target_"]).removeprefix("zoo.models.") for name in list_models()}
    assert [kind for kind in kinds - {"TimmNet"} if f'\\"{kind}\\"' not in source] == []


@pytest.mark.notebooks
@pytest.mark.parametrize("path", NOTEBOOKS, ids=NAMES)
def test_a_notebook_runs_from_top_to_bottom(path, tmp_path):
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()
    outputs = [output for cell in code(notebook) for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert "".join(output.text for output in outputs if output.get("name") == "stderr") == ""
