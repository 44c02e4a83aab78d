"""``zoo evaluate``: measure a checkpoint on the test split of a dataset, by default the one it was trained on."""

import json
import sys
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from zoo.analysis import likelihood
from zoo.checkpoints.checkpoint import CheckpointInfo, open_checkpoint
from zoo.checkpoints.files import refuse_existing, replacing
from zoo.cli.checkpoint_task import task_class
from zoo.cli.console import print_table
from zoo.config import hardware, schemas
from zoo.config.build import build
from zoo.data.datamodule import DataModule
from zoo.data.splits import Splits
from zoo.models import DBN, RBM
from zoo.protocols import layers_of
from zoo.training import checks
from zoo.training.trainer import measure

CHUNK = 1000  # examples whose log-likelihood is computed at a time


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Print the metrics beside those that the checkpoint was saved with.

    Returns:
        The metrics on the test split by name, such as ``test/accuracy``.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint or dataset, or they do not belong together.
        FileExistsError: the output exists already.
    """
    # Refuse what cannot work before anything is read.
    if cfg.output is not None:
        refuse_existing(cfg.output, overwrite=cfg.overwrite)
    trainer_kwargs = hardware.trainer_kwargs(cfg.accelerator)
    net, about = open_checkpoint(cfg.checkpoint)
    preprocess = about.transforms()

    # Read the dataset, prepared as the checkpoint's training data were.
    node = _dataset_config(cfg, about)
    splits = checks.dataset(node)
    preprocess.check(splits.shape, where=f"dataset {node.name}")
    splits = splits.with_preprocess(preprocess)
    _check_classes(splits, about, dataset=node.name)
    if splits.test is None:
        raise ValueError(f"dataset {node.name} has no test split")

    # Measure on the test split alone: a validation split would be measured as well.
    task = build(about.task, net, where="task")
    test_only = replace(splits, validation=None)
    data = DataModule(test_only, preprocess=preprocess, workers=node.workers)
    metrics = measure(task, data, trainer_kwargs=trainer_kwargs)

    # A distribution over inputs has a likelihood, unless supervised fine-tuning has changed its layers since.
    is_distribution = isinstance(net, RBM | DBN) and task_class(about).targets == "none"
    if cfg.likelihood and is_distribution:
        x = preprocess(checks.sample(replace(splits, train=splits.test)))  # N x in_shape
        device = hardware.device(trainer_kwargs)
        metrics |= _likelihood(net, x, device, chains=cfg.chains, temperatures=cfg.temperatures)

    # Write the metrics, and print them beside those of the checkpoint.
    if cfg.output is not None:
        with replacing(cfg.output) as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n")
    _print_metrics(metrics, about, dataset=node.name)
    return metrics


def _dataset_config(cfg: DictConfig, about: CheckpointInfo) -> Any:
    """The config of the dataset that was asked for, or else of the one that the checkpoint was trained on."""
    if cfg.dataset is not None:
        return cfg.dataset
    return OmegaConf.merge(OmegaConf.structured(schemas.Dataset), OmegaConf.create(about.dataset_config))


def _check_classes(splits: Splits, about: CheckpointInfo, *, dataset: str) -> None:
    """Raise ValueError if the dataset has other classes than the checkpoint, and its task needs them."""
    needs_targets = task_class(about).targets != "none"
    if (needs_targets or about.classes) and list(splits.classes) != about.classes:
        raise ValueError(
            f"dataset {dataset} has the classes {', '.join(splits.classes) or 'none'}; "
            f"the checkpoint has {', '.join(about.classes) or 'none'}"
        )


def _print_metrics(metrics: dict[str, float], about: CheckpointInfo, *, dataset: str) -> None:
    """The table of metrics; what was saved is shown only for the dataset that it was measured on."""
    rows: list[tuple[str, str, str]] = []
    for name, value in sorted(metrics.items()):
        saved = about.metrics.get(name) if dataset == about.dataset else None
        rows.append((name, f"{value:.4f}", "" if saved is None else f"{saved:.4f}"))
    title = f"{about.name} on the test split of {dataset}"
    print_table(title, ("metric", "now", "when saved"), rows, right=("now", "when saved"))


def _likelihood(net: nn.Module, x: Tensor, device: torch.device, *, chains: int, temperatures: int) -> dict[str, float]:
    """Mean log p(x) in nats of the inputs, binarized for Bernoulli units; for a DBN it is a lower bound.

    Where log Z cannot be summed exactly, it is estimated by annealing, from both sides: with ``_ais`` the result tends
    to be too high, with ``_reverse_ais`` too low. A log p of binary data is never above 0: a result above 0 shows that
    the chains missed most of Z, and nothing is returned.

    Args:
        net: an RBM or a DBN.
        x: N x in_shape, preprocessed.
        device: where to compute.
        chains: number of annealing chains.
        temperatures: number of temperatures of each chain.
    """
    net = net.to(device)
    x = x.to(device)
    layers = list(layers_of(net).values())
    bottom = layers[0]
    top = layers[-1]
    assert isinstance(net, RBM | DBN)
    assert isinstance(bottom, RBM)
    assert isinstance(top, RBM)

    # A Gaussian layer too large to sum over can be annealed by no method.
    if top.hidden_units != "bernoulli" and top.weight.shape[1] > likelihood.MOST_UNITS:
        return {}

    inputs = x if bottom.visible_units == "gaussian" else likelihood.binarize(x)
    generator = torch.Generator(device).manual_seed(0)
    with torch.inference_mode():
        # log p(x) + log Z first, which needs no annealing.
        unnormalized = [
            likelihood.log_likelihood(net, chunk, log_z=0.0, generator=generator)
            for chunk in torch.split(inputs, CHUNK)
        ]
        mean = float(torch.cat(unnormalized).mean())

        # Sum over all states where there are few enough.
        try:
            exact = likelihood.log_partition(top, "exact")
            return {"test/log_likelihood": mean - float(exact.value)}
        except ValueError:
            data = net.encode(inputs, len(layers) - 1)  # N x V: what the top RBM sees

        # Otherwise anneal, from above and from below.
        metrics = {}
        for method in ("ais", "reverse_ais"):
            estimate = likelihood.log_partition(
                top, method, chains=chains, temperatures=temperatures, data=data, generator=generator
            )
            metrics[f"test/log_likelihood_{method}"] = mean - float(estimate.value)
            metrics[f"test/log_partition_{method}_error"] = estimate.standard_error

    highest = max(value for name, value in metrics.items() if name.startswith("test/log_likelihood"))
    if bottom.visible_units == "bernoulli" and highest > 0:
        sys.stderr.write(
            f"note: the log-likelihood is left out: with temperatures={temperatures} its estimate is {highest:.1f} "
            "nats, but that of binary data is never above 0, so the chains missed most of Z\n"
        )
        return {}
    return metrics


if __name__ == "__main__":
    from zoo.cli.main import main

    main("evaluate")
