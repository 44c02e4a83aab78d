"""Run the notebooks for the documentation site; a notebook that has not changed is not run again.

The notebooks of the repository have no outputs. Those with outputs are written to ``build/notebooks``.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
SOURCES = ROOT / "notebooks"
EXECUTED = ROOT / "build" / "notebooks"
TIMEOUT = 1800  # seconds for a cell


def executed(name: str) -> Any:
    """A notebook with its outputs, as a `nbformat.NotebookNode`.

    Args:
        name: its file without the suffix, such as "00_start_here".
    """
    # The outputs of an earlier call, if they are of the same notebook.
    source = SOURCES / f"{name}.ipynb"
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    target = EXECUTED / f"{name}.ipynb"
    if target.is_file():
        notebook: Any = nbformat.read(target, as_version=4)
        if notebook.metadata.get("source_sha256") == digest:
            return notebook

    notebook = run(source)
    notebook.metadata["source_sha256"] = digest
    EXECUTED.mkdir(parents=True, exist_ok=True)
    nbformat.write(notebook, target)
    return notebook


def run(source: Path) -> Any:
    """A notebook with its outputs, after it has run in an empty folder."""
    notebook = nbformat.read(source, as_version=4)
    with tempfile.TemporaryDirectory() as empty:
        resources = {"metadata": {"path": empty}}
        NotebookClient(notebook, timeout=TIMEOUT, kernel_name="python3", resources=resources).execute()
    return notebook


if __name__ == "__main__":
    for path in sorted(SOURCES.glob("*.ipynb")):
        executed(path.stem)
