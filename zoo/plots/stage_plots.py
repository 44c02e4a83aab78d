"""The pictures by which a net that codes or generates is judged, drawn when a stage without labels is through."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.data.preprocess import Preprocess
from zoo.data.splits import Splits
from zoo.plots import images as pictures
from zoo.protocols import eval_mode

FILTERS = 100
MAPPED = 2000  # examples on the map of codes
CHAIN = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500)  # Gibbs steps after which a chain is shown
SAMPLE_STEPS = 500


@torch.no_grad()
def draw(net: nn.Module, splits: Splits, preprocess: Preprocess, folder: Path, *, prefix: str, latent_map: str) -> None:
    """Write ``PREFIX-filters.png``, ``-reconstructions``, ``-codes`` and, if it generates, ``-chains``, ``-samples``.

    Examples are of the validation part, or of the training part where there is none. Chance is the pictures' own.

    Args:
        net: with ``reconstruct``, and ``sample`` where it is generative.
        splits, preprocess: the data, and what the net takes of them.
        folder: the run folder.
        prefix: of the files' names.
        latent_map: pca or tsne.
    """
    device = next(net.parameters()).device
    examples = splits.train if splits.validation is None else splits.validation
    raw, y = examples.__getitems__(range(min(MAPPED, len(examples))))
    x: Tensor = preprocess(raw.to(device))
    model: Any = net
    layers = getattr(model, "layers", [model])
    kinds = ("filters", "reconstructions", "codes", "chains", "samples")
    path = {kind: folder / f"{prefix}-{kind}.png" for kind in kinds}
    with eval_mode(net), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first = layers[0].weight[:FILTERS, : x[0].numel()]  # one row a hidden unit, labels left out
        pictures.grid(first.unflatten(1, model.in_shape), path["filters"], signed=True)
        _reconstructions(model, x, path["reconstructions"])
        classes = splits.classes
        pictures.codes(model.encode(x), y.tolist() if classes else [], classes, path["codes"], method=latent_map)
        if hasattr(model, "sample"):
            _chains(model, layers, x[:10], y[:10], path["chains"])
            numbers = torch.arange(len(classes)).repeat_interleave(10) if getattr(model, "label_units", 0) else None
            drawn = model.sample(100 if numbers is None else len(numbers), SAMPLE_STEPS, labels=numbers)
            rows = None if numbers is None else [classes[int(k)] for k in numbers]
            pictures.grid(drawn, path["samples"], names=rows)


def _reconstructions(model: Any, x: Tensor, path: Path) -> None:
    """Rows of ten examples, each above what the net makes of them."""
    rows, names = [], []
    for originals in x[: len(x) // 10 * 10 or len(x)][:30].split(10):  # whole rows
        rows += [originals, model.reconstruct(originals)]
        names += ["original"] * len(originals) + ["reconstructed"] * len(originals)
    pictures.grid(torch.cat(rows), path, columns=min(10, len(x)), names=names)


def _chains(model: Any, layers: Any, x: Tensor, y: Tensor, path: Path) -> None:
    """Gibbs chains in the (top) RBM that begin at examples: a row for each number of steps."""
    top = getattr(model, "top", model)
    v = top.with_labels(model.encode(x, len(layers) - 1), y)
    shown = []
    for before, steps in zip((0, *CHAIN), CHAIN, strict=False):
        v = top.gibbs(v, steps - before)
        shown.append(model.generate(v))
    names = [str(steps) for steps in CHAIN for _ in x]
    pictures.grid(torch.cat(shown), path, columns=len(x), names=names)
