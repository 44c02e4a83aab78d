"""Number of test images of a checkpoint, and the spread of its metric over them, which intervals need.

    python -m zoo.release.images            # measure all checkpoints of recipes again, and update the index
    python -m zoo.release.images NAME …     # only these

The spread of a metric that is a fraction, such as the accuracy, follows from its value and is not measured. May import
config, data, models, checkpoints, analysis and the other files of this folder.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from omegaconf import OmegaConf
from torch import Tensor, nn

from zoo.analysis import likelihood
from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.config import catalogue
from zoo.config.build import build
from zoo.data.splits import InMemory, Splits
from zoo.models import DBN, RBM, StackedAutoencoder
from zoo.release import claims, index

CHUNK = 1000  # number of images that are computed at a time


def measure(checkpoint: str | Path, metric: str, dataset: Mapping[str, Any] | None = None) -> dict[str, float]:
    """Count the test images and measure the spread of a metric over them.

    Args:
        checkpoint: a file, a run folder or a name, as `zoo.load` takes them.
        metric: one of `claims.METRICS`.
        dataset: config of the dataset; None: the one stored in the checkpoint.

    Returns:
        ``count``, and ``std`` unless the metric is a fraction.

    Raises:
        ValueError: a test split that is not in memory, or a metric that the net does not have.
    """
    # Load the test split of the run.
    net, about = checkpoints.open_checkpoint(checkpoint)
    splits = _splits(dataset or about.dataset_config)
    test = splits.test
    if not isinstance(test, InMemory):
        raise ValueError(f"{checkpoint}: its dataset has no test split in memory")
    if claims.METRICS[metric].is_fraction:
        return {"count": len(test.x)}

    # Compute the metric of each image; ddof 1, as for the seeds.
    values = _each(metric, net, about, test.x)
    return {"count": len(test.x), "std": round(float(values.double().std()), 4)}


def _splits(dataset: Mapping[str, Any]) -> Splits:
    """The splits of the config of a dataset."""
    node = OmegaConf.create(dict(dataset))
    splits: Splits = build(node.source, where="dataset.source")
    return splits


def _each(metric: str, net: nn.Module, about: CheckpointInfo, raw: Tensor) -> Tensor:
    """The metric of each image, N, up to a constant; ``raw`` is N x shape."""
    # Preprocess as `zoo evaluate` does. Binarize all images together, so that the random numbers are the same, too.
    x = about.transforms()(raw)
    if metric == "test_log_likelihood_nats":
        x = likelihood.binarize(x)
    with torch.inference_mode():
        chunks = torch.split(x, CHUNK)
        if metric == "test_log_likelihood_nats":
            # log Z is the same for all images, so it does not change their spread.
            model = cast("RBM | DBN", net)
            return torch.cat([likelihood.log_likelihood(model, chunk, log_z=0.0) for chunk in chunks])
        if metric == "squared_error_per_image" and isinstance(net, StackedAutoencoder):
            errors = [(chunk - net.reconstruct(chunk).reshape(chunk.shape)) ** 2 for chunk in chunks]
            return torch.cat([error.flatten(1).sum(dim=1) for error in errors])
    raise ValueError(f"{about.name} has no {metric} of single images")


def main(names: list[str]) -> None:
    """Measure checkpoints of recipes again, and write the index."""
    entries = catalogue.index()
    chosen = names or [name for name, entry in entries.items() if "claim" in entry]
    for name in chosen:
        if "claim" not in entries.get(name, {}):
            sys.exit(f"{name}: not a shipped checkpoint, or one without a recipe")
        entry = entries[name]
        entry["images"] = measure(name, entry["claim"]["metric"])
        entry["distortions"] = claims.distortions(checkpoints.info(name).dataset_config)
        sys.stdout.write(f"{name}: {entry['images']}, distortions: {entry['distortions']}\n")
    index.write(entries)


if __name__ == "__main__":
    main(sys.argv[1:])
