"""``zoo evaluate``: evaluate a checkpoint on a split of a dataset, by default the test split of its own dataset."""

import json
import sys
import warnings
from dataclasses import replace
from math import isfinite, prod
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig
from torch import Tensor, nn

from zoo.analysis import likelihood
from zoo.checkpoints.checkpoint import CheckpointInfo, locate, open_checkpoint
from zoo.checkpoints.files import check_output, replacing
from zoo.cli import evaluate_data
from zoo.cli.checkpoint_task import build_task, task_class
from zoo.cli.predict_checks import InputCheck, preprocess_for
from zoo.cli.predict_tables import far_columns
from zoo.config import hardware
from zoo.config.console import print_table, say
from zoo.data.datamodule import DataModule
from zoo.data.image_files import ImageFiles
from zoo.models import DBN, RBM
from zoo.protocols import Generative, RBMLayer, SharesWeights, layers_of
from zoo.tasks import Classification, MultiLabelClassification
from zoo.training import class_statistics, data_checks
from zoo.training.trainer import measure

CHUNK = 1000  # number of examples whose log-likelihood is computed at a time
CHECKED = 256  # number of examples that must be read to check the scale of their values
# Minimum values of keys. A standard error needs two chains.
MINIMUM = {"chains": 2, "temperatures": 1}


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Print the metrics next to those stored in the checkpoint.

    Returns:
        The metrics by name, such as ``test/accuracy``; the name begins with the split: train, val, test or all.

    Raises:
        FileNotFoundError, ValueError: an invalid value, no such checkpoint, dataset or split, or they do not match.
        FileExistsError: the output exists already.
        OSError: the output cannot be written.
    """
    # Refuse invalid values before anything is read, even of keys that only some nets use.
    for key, minimum in MINIMUM.items():
        if cfg[key] < minimum:
            raise ValueError(f"{key}={cfg[key]} must be >= {minimum}")
    if cfg.output is not None:
        inputs = [locate(cfg.checkpoint)[0]]
        check_output(cfg.output, overwrite=cfg.overwrite, suffixes=[".json"], inputs=inputs)
        for path in _tables(cfg.output):
            check_output(path, overwrite=cfg.overwrite, suffixes=[".csv"], inputs=inputs)
    trainer_kwargs = hardware.trainer_kwargs(cfg.accelerator)
    net, about = open_checkpoint(cfg.checkpoint)

    # Read the examples, and check that they are on the scale of the training data.
    data = evaluate_data.load(cfg, about)
    assert data.splits.test is not None
    is_files = isinstance(data.splits.train, ImageFiles)
    preprocess = preprocess_for(about.transforms(), files=is_files, scale=cfg.scale, invert=cfg.invert)
    check = InputCheck(preprocess, where=f"dataset {data.name}", files=is_files, stated=cfg.scale is not None)
    sample = data_checks.sample(replace(data.splits, train=data.splits.test), CHECKED)
    # The columns of a table have different ranges: each is compared with its own.
    if data.splits.table is None:
        check.add(sample)
        notes = [*data.notes, *check.finish()]
    else:
        notes = [*data.notes, *far_columns(sample, data.splits.table, about.transforms())]

    # Lightning evaluates them as a test split, whichever split they are.
    task = build_task(about, net)
    module = DataModule(data.splits, preprocess=preprocess, workers=data.workers)
    with warnings.catch_warnings():
        # Hide this warning of the calibration error; the error message below is clearer.
        warnings.filterwarnings("ignore", "Encountered `nan` values")
        metrics = measure(task, module, trainer_kwargs=trainer_kwargs)
    if not isfinite(metrics.get("test/loss", 0.0)):
        raise ValueError(f"{cfg.checkpoint}: its loss on {data.title} is NaN or Inf; use another checkpoint")

    # A generative net has a likelihood, unless it was fine-tuned with supervision afterwards.
    is_generative = isinstance(net, Generative) and task_class(about).targets == "none"
    if cfg.likelihood and is_generative:
        x = preprocess(data_checks.sample(replace(data.splits, train=data.splits.test)))  # N x in_shape
        device = hardware.device(trainer_kwargs)
        metrics |= _likelihood(net, x, device, chains=cfg.chains, temperatures=cfg.temperatures)
    prefix = evaluate_data.PREFIXES.get(data.split, data.split)
    metrics = {name.replace("test/", f"{prefix}/", 1): value for name, value in metrics.items()}

    # Write the metrics, and print them next to those stored in the checkpoint.
    if cfg.output is not None:
        content: dict[str, Any] = dict(metrics)
        statistics, counts = _tables(cfg.output)
        if isinstance(task, Classification):
            content["classes"] = class_statistics.per_class(task.confusion, about.classes)
            class_statistics.write_tables(task.confusion, about.classes, statistics=statistics, counts=counts)
        if isinstance(task, MultiLabelClassification):
            content["labels"] = class_statistics.per_label(task.counts, about.classes)
            class_statistics.write_statistics(content["labels"], statistics)
        with replacing(cfg.output) as temporary:
            temporary.write_text(json.dumps(content, indent=2) + "\n")
    _print(metrics, about, data, notes)
    return metrics


def _tables(output: str) -> tuple[Path, Path]:
    """The CSV files of a classifier beside ``output``, NAME.json: NAME_per_class.csv and NAME_confusion.csv."""
    path = Path(output)
    names = (class_statistics.PER_CLASS, class_statistics.CONFUSION)
    statistics, counts = (path.with_name(f"{path.stem}_{name}") for name in names)
    return statistics, counts


@rank_zero_only  # all processes of a distributed run have the same metrics
def _print(metrics: dict[str, float], about: CheckpointInfo, data: evaluate_data.Evaluated, notes: list[str]) -> None:
    """Print the notes and the table of metrics, with the stored ones if they are of the same examples."""
    for note in notes:
        say(f"note: {note}")
    title = f"{about.name} on {data.title}"
    if not data.is_stored:
        rows = [(name, f"{value:.4f}") for name, value in sorted(metrics.items())]
        print_table(title, ("metric", "value"), rows, right=("value",))
        return
    compared: list[tuple[str, str, str]] = []
    for name, value in sorted(metrics.items()):
        saved = about.metrics.get(name)
        compared.append((name, f"{value:.4f}", "" if saved is None else f"{saved:.4f}"))
    print_table(title, ("metric", "now", "when saved"), compared, right=("now", "when saved"))


def _likelihood(net: nn.Module, x: Tensor, device: torch.device, *, chains: int, temperatures: int) -> dict[str, float]:
    """The mean log p(x) of the inputs in nats; a lower bound for a DBN. Inputs of binary units are binarized.

    If log Z cannot be computed exactly, it is estimated by annealed importance sampling (AIS) and by reverse AIS. The
    log-likelihood tends to be too high by AIS and too low by reverse AIS.

    Args:
        net: a generative net whose layers are RBMs.
        x: N x in_shape, preprocessed.
        device: where to compute.
        chains: number of annealing chains, >= 2.
        temperatures: number of temperatures of each chain, >= 1.

    Returns:
        ``test/log_likelihood`` if log Z is exact. Otherwise ``test/log_likelihood_METHOD`` and the standard error of
        log Z, ``test/log_partition_METHOD_error``, for the methods ``ais`` and ``reverse_ais``. Empty if neither
        works for the net, or if an estimate for binary data is above 0, which shows that the chains missed most of Z.
    """
    net = net.to(device)
    x = x.to(device)
    layers = list(layers_of(net).values())
    bottom = layers[0]
    top = layers[-1]
    assert isinstance(bottom, RBMLayer)
    assert isinstance(top, RBMLayer)

    # The likelihood functions are for weight matrices, not for shared kernels.
    if isinstance(top, SharesWeights):
        return {}
    # Annealing does not work for Gaussian hidden units. The exact log Z is then a sum over all visible states, which
    # may be too many.
    if not top.hidden.binary and prod(top.visible_shape) > likelihood.MAX_UNITS:
        return {}

    # The likelihood functions are typed for the zoo's own nets.
    model = cast("RBM | DBN", net)
    top_rbm = cast("RBM", top)
    inputs = likelihood.binarize(x) if bottom.visible.binary else x
    generator = torch.Generator(device).manual_seed(0)
    with torch.inference_mode():
        # First compute log p(x) + log Z, which needs no annealing.
        unnormalized = [
            likelihood.log_likelihood(model, chunk, log_z=0.0, generator=generator)
            for chunk in torch.split(inputs, CHUNK)
        ]
        mean = float(torch.cat(unnormalized).mean())

        # Compute log Z exactly if the top RBM is small enough.
        try:
            exact = likelihood.log_partition(top_rbm, "exact")
            return {"test/log_likelihood": mean - float(exact.value)}
        except ValueError:
            data = model.encode(inputs, len(layers) - 1)  # N x V: the inputs of the top RBM

        # Otherwise estimate it, by AIS and by reverse AIS.
        metrics = {}
        for method in ("ais", "reverse_ais"):
            estimate = likelihood.log_partition(
                top_rbm, method, chains=chains, temperatures=temperatures, data=data, generator=generator
            )
            metrics[f"test/log_likelihood_{method}"] = mean - float(estimate.value)
            metrics[f"test/log_partition_{method}_error"] = estimate.standard_error

    # Leave out estimates that are impossible for binary data.
    highest = max(value for name, value in metrics.items() if name.startswith("test/log_likelihood"))
    if bottom.visible.binary and highest > 0:
        sys.stderr.write(
            f"note: the log-likelihood is left out: its estimate with temperatures={temperatures} is {highest:.1f} "
            "nats, but that of binary data cannot be above 0; increase temperatures=\n"
        )
        return {}
    return metrics


if __name__ == "__main__":
    from zoo.cli.main import main

    main("evaluate")
