"""Executes the notebooks and writes the picture of each one's cell tagged ``gallery`` to ``gallery/``, for the README.

python notebooks/render.py [NAME …]
"""

import base64
import io
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parent
WIDEST = 900  # pixels


def picture(path: Path) -> Image.Image:
    """What the cell tagged ``gallery`` shows, after the whole notebook was executed in an empty folder."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as empty:
        resources = {"metadata": {"path": empty}}
        NotebookClient(notebook, timeout=600, kernel_name="python3", resources=resources).execute()
    (cell,) = (cell for cell in notebook.cells if "gallery" in cell.metadata.get("tags", []))
    (shown,) = (output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
    return Image.open(io.BytesIO(base64.b64decode(shown))).convert("RGB")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        image = picture(FOLDER / f"{name}.ipynb")
        image.thumbnail((WIDEST, WIDEST), Image.Resampling.LANCZOS)
        (FOLDER / "gallery").mkdir(exist_ok=True)
        image.quantize(256).save(FOLDER / "gallery" / f"{name}.png", optimize=True)
