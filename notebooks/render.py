"""Run the notebooks and write the figure of each cell tagged ``gallery`` to ``gallery/``, for the README.

python notebooks/render.py [NAME …]
"""

import base64
import io
import sys
from pathlib import Path

from PIL import Image

from zoo.release.notebooks import run

FOLDER = Path(__file__).parent
MAX_SIDE = 900  # pixels


def gallery_figure(path: Path) -> Image.Image:
    """The figure of the cell tagged ``gallery``, after the whole notebook has run in an empty folder."""
    notebook = run(path)

    # Exactly one cell has the tag, and it shows exactly one image.
    (cell,) = (cell for cell in notebook.cells if "gallery" in cell.metadata.get("tags", []))
    (figure,) = (output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {}))
    return Image.open(io.BytesIO(base64.b64decode(figure))).convert("RGB")


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.ipynb")):
        image = gallery_figure(FOLDER / f"{name}.ipynb")

        # Reduce size and number of colors, to keep the repository small.
        image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
        (FOLDER / "gallery").mkdir(exist_ok=True)
        image.quantize(256).save(FOLDER / "gallery" / f"{name}.png", optimize=True)
