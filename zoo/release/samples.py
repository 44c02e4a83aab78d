"""The figure of samples: what the shipped RBMs and deep belief networks draw, one panel for each checkpoint.

The panels are those of `zoo sample` with its default values: chains of Gibbs sampling that start at noise. The hashes
of the checkpoints are stored in the file, so that a test can tell whether it shows the shipped ones. May import
protocols, config, checkpoints, plots and the other files of this folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.checkpoints import files
from zoo.plots.figure import default_style
from zoo.release import figure

if TYPE_CHECKING:
    from torch import Tensor

# The checkpoints that can draw, in the order of the panels. Those that are not in the index are left out.
RECIPES = ("rbm-mnist", "dbn_generative-mnist", "rbm-fashion_mnist", "dbn_generative-fashion_mnist")
NETS = {"rbm": "RBM", "dbn_generative": "deep belief network"}
COUNT = 100  # samples in a panel, as many as `zoo sample` draws
COLUMNS = 10
STEPS = 1000
SEED = 1

Entries = Mapping[str, Mapping[str, Any]]


def data(entries: Entries) -> dict[str, Any]:
    """What the figure shows: the checkpoints by name, with their hashes, and the settings of the chains."""
    shown = {name: entries[name]["sha256"] for name in RECIPES if name in entries}
    return {"checkpoints": shown, "count": COUNT, "steps": STEPS, "seed": SEED} if shown else {}


def is_current(path: Path, entries: Entries) -> bool:
    """Whether the file shows the shipped checkpoints; if none of them can draw, the file may be missing."""
    return figure.shows(path, data(entries))


def title(name: str) -> str:
    """The title of a panel, such as "RBM, MNIST"."""
    net, _, dataset = name.partition("-")
    return f"{NETS[net]}, {figure.TITLES[dataset]}"


def drawn(name: str) -> "Tensor":
    """The samples of a checkpoint as one image with a gap around each: rows x columns x 1. Classes take turns."""
    import torch

    from zoo.checkpoints import checkpoint as checkpoints
    from zoo.plots import tiling
    from zoo.protocols import Generative

    net, about = checkpoints.open_checkpoint(name)
    if not isinstance(net, Generative):
        raise ValueError(f"{name}: {about.name} is not generative")
    # A net with label units draws one row for each class.
    labels = torch.arange(COUNT) // (COUNT // len(about.classes)) if about.classes else None  # COUNT
    torch.manual_seed(SEED)
    with torch.inference_mode():
        return tiling.mosaic(net.sample(COUNT, STEPS, labels=labels).cpu(), COLUMNS)


@default_style()
def draw(path: Path, entries: Entries) -> None:
    """Draw the panels side by side and write the PNG file."""
    from matplotlib.figure import Figure

    # One panel for each checkpoint; gaps are light, so that the tiles of a panel stand apart.
    content = data(entries)
    names = list(content["checkpoints"])
    plot = Figure(figsize=(3.2 * len(names), 3.5), layout="constrained")
    for axes, name in zip(plot.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        axes.imshow(drawn(name), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_facecolor("0.6")
        axes.set_title(title(name), fontsize=10)
        axes.set_xticks([])
        axes.set_yticks([])
    path.parent.mkdir(parents=True, exist_ok=True)
    with files.replacing(path) as temporary:
        plot.savefig(temporary, format="png", dpi=150, metadata={figure.KEY: json.dumps(content)})
