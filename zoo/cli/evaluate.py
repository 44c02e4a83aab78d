"""``zoo evaluate``: evaluate a checkpoint on the test split of a dataset, by default the one it was trained on."""

import json
import sys
from dataclasses import replace
from math import prod
from typing import Any, cast

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from zoo.analysis import likelihood
from zoo.checkpoints.checkpoint import CheckpointInfo, open_checkpoint
from zoo.checkpoints.files import refuse_existing, replacing
from zoo.cli.checkpoint_task import task_class
from zoo.config import hardware, schemas
from zoo.config.build import build
from zoo.config.console import print_table
from zoo.data.datamodule import DataModule
from zoo.data.splits import Splits
from zoo.models import DBN, RBM
from zoo.protocols import Generative, RBMLayer, layers_of
from zoo.training import checks
from zoo.training.trainer import measure

CHUNK = 1000  # number of examples whose log-likelihood is computed at a time
# Minimum values of keys. A standard error needs two chains.
MINIMUM = {"chains": 2, "temperatures": 1}


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Print the metrics next to those stored in the checkpoint.

    Returns:
        The metrics on the test split by name, such as ``test/accuracy``.

    Raises:
        FileNotFoundError, ValueError: an invalid value, no such checkpoint or dataset, or they do not match.
        FileExistsError: the output exists already.
    """
    # Refuse invalid values before anything is read, even of keys that only some nets use.
    for key, minimum in MINIMUM.items():
        if cfg[key] < minimum:
            raise ValueError(f"{key}={cfg[key]} must be >= {minimum}")
    if cfg.output is not None:
        refuse_existing(cfg.output, overwrite=cfg.overwrite)
    trainer_kwargs = hardware.trainer_kwargs(cfg.accelerator)
    net, about = open_checkpoint(cfg.checkpoint)
    preprocess = about.transforms()

    # Read the dataset, with the preprocessing of the checkpoint.
    node = _dataset_config(cfg, about)
    splits = checks.dataset(node)
    preprocess.check(splits.shape, where=f"dataset {node.name}")
    splits = splits.with_preprocess(preprocess)
    _check_classes(splits, about, dataset=node.name)
    if splits.test is None:
        raise ValueError(f"dataset {node.name} has no test split")

    # Evaluate on the test split only: Lightning would also evaluate a validation split.
    task = build(about.task, net, where="task")
    test_only = replace(splits, validation=None)
    data = DataModule(test_only, preprocess=preprocess, workers=node.workers)
    metrics = measure(task, data, trainer_kwargs=trainer_kwargs)

    # A generative net has a likelihood, unless it was fine-tuned with supervision afterwards.
    is_generative = isinstance(net, Generative) and task_class(about).targets == "none"
    if cfg.likelihood and is_generative:
        x = preprocess(checks.sample(replace(splits, train=splits.test)))  # N x in_shape
        device = hardware.device(trainer_kwargs)
        metrics |= _likelihood(net, x, device, chains=cfg.chains, temperatures=cfg.temperatures)

    # Write the metrics, and print them next to those stored in the checkpoint.
    if cfg.output is not None:
        with replacing(cfg.output) as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n")
    _print_metrics(metrics, about, dataset=node.name)
    return metrics


def _dataset_config(cfg: DictConfig, about: CheckpointInfo) -> Any:
    """The config of ``dataset=``, or else of the dataset that the checkpoint was trained on."""
    if cfg.dataset is not None:
        return cfg.dataset
    return OmegaConf.merge(OmegaConf.structured(schemas.Dataset), OmegaConf.create(about.dataset_config))


def _check_classes(splits: Splits, about: CheckpointInfo, *, dataset: str) -> None:
    """Raise ValueError unless dataset and checkpoint have the same classes.

    A checkpoint without classes whose task needs no targets fits every dataset.
    """
    needs_targets = task_class(about).targets != "none"
    if (needs_targets or about.classes) and list(splits.classes) != about.classes:
        raise ValueError(
            f"dataset {dataset} has the classes {', '.join(splits.classes) or 'none'}; "
            f"the checkpoint has {', '.join(about.classes) or 'none'}"
        )


def _print_metrics(metrics: dict[str, float], about: CheckpointInfo, *, dataset: str) -> None:
    """Print the table of metrics, with the stored ones if the dataset is the one of the checkpoint."""
    rows: list[tuple[str, str, str]] = []
    for name, value in sorted(metrics.items()):
        saved = about.metrics.get(name) if dataset == about.dataset else None
        rows.append((name, f"{value:.4f}", "" if saved is None else f"{saved:.4f}"))
    title = f"{about.name} on the test split of {dataset}"
    print_table(title, ("metric", "now", "when saved"), rows, right=("now", "when saved"))


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
