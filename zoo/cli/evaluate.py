"""``zoo evaluate``: measure a checkpoint on the test part of a dataset, by default the one it was trained for."""

import json
import sys
from dataclasses import replace
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch import Tensor

from zoo.analysis import likelihood
from zoo.checkpoints.checkpoint import open_checkpoint
from zoo.checkpoints.files import refuse_existing, replacing
from zoo.config import build as config
from zoo.config import hardware, schemas
from zoo.data.datamodule import DataModule
from zoo.data.splits import Splits
from zoo.training import checks as prepare
from zoo.training.trainer import measure


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Prints the metrics beside those the checkpoint was saved with; returns them.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint or dataset, or they do not belong together.
        FileExistsError: the output is there already.
    """
    if cfg.output is not None:
        refuse_existing(cfg.output, overwrite=cfg.overwrite)
    place = hardware.trainer_kwargs(cfg.accelerator)
    net, about = open_checkpoint(cfg.checkpoint)
    node = cfg.dataset
    if node is None:
        node = OmegaConf.merge(OmegaConf.structured(schemas.Dataset), OmegaConf.create(about.dataset_config))
    splits = prepare.dataset(node)
    preprocess = about.transforms()
    preprocess.check(splits.shape, where=f"dataset {node.name}")
    splits = splits.with_preprocess(preprocess)
    needs_labels = config.check(about.task, where="task")[0].targets != "none"  # type: ignore[attr-defined]
    if (needs_labels or about.classes) and list(splits.classes) != about.classes:
        raise ValueError(
            f"dataset {node.name} has the classes {', '.join(splits.classes) or 'none'}; "
            f"the checkpoint knows {', '.join(about.classes) or 'none'}"
        )
    if splits.test is None:
        raise ValueError(f"dataset {node.name} has no test part")
    task = config.build(about.task, net, where="task")
    only_test = Splits(splits.train, None, splits.test, splits.shape, splits.classes, splits.num_targets)
    metrics = measure(task, DataModule(only_test, preprocess=preprocess, workers=node.workers), trainer_kwargs=place)
    if cfg.likelihood and hasattr(net, "sample") and about.task.get("_target_") != "zoo.tasks.Classification":
        x = preprocess(prepare.sample(replace(splits, train=splits.test)))
        metrics |= _likelihood(net, x, hardware.device(place), chains=cfg.chains, temperatures=cfg.temperatures)
    if cfg.output is not None:
        with replacing(cfg.output) as temporary:
            temporary.write_text(json.dumps(metrics, indent=2) + "\n")
    table = Table(title=f"{about.name} on the test part of {node.name}", title_justify="left")
    table.add_column("metric")
    table.add_column("now", justify="right")
    table.add_column("when saved", justify="right")
    for name, value in sorted(metrics.items()):
        saved = about.metrics.get(name) if node.name == about.dataset else None
        table.add_row(name, f"{value:.4f}", "" if saved is None else f"{saved:.4f}")
    Console().print(table)
    return metrics


def _likelihood(
    net: Any, x: Tensor, device: torch.device, *, chains: int, temperatures: int, part: int = 1000
) -> dict[str, float]:
    """Mean log p(x) in nats, of pixels drawn to zeros and ones; a DBN's is a lower bound.

    With log Z annealed there are two: ``_ais`` errs to above, ``_reverse_ais`` to below. Zeros and ones have no log p
    above 0: where one comes out there, the chains have missed most of Z, and none is given.
    """
    net, x = net.to(device), x.to(device)
    machine, layers = getattr(net, "top", net), getattr(net, "layers", [net])
    if machine.hidden_units != "bernoulli" and machine.weight.shape[1] > likelihood.MOST_UNITS:
        return {}  # neither to be summed over nor annealed
    inputs = x if layers[0].visible_units == "gaussian" else likelihood.binarize(x)
    generator = torch.Generator(device).manual_seed(0)
    with torch.inference_mode():
        unnormalised = [
            likelihood.log_likelihood(net, chunk, log_z=0.0, generator=generator) for chunk in inputs.split(part)
        ]
        mean = float(torch.cat(unnormalised).mean())
        try:
            exact = likelihood.log_partition(machine, "exact")
            return {"test/log_likelihood": mean - float(exact.value)}
        except ValueError:  # too large
            data = net.encode(inputs, len(layers) - 1)  # what the machine, the top one of a stack, sees
        metrics = {}
        for method in ("ais", "reverse_ais"):
            estimate = likelihood.log_partition(
                machine, method, chains=chains, temperatures=temperatures, data=data, generator=generator
            )
            metrics[f"test/log_likelihood_{method}"] = mean - float(estimate.value)
            metrics[f"test/log_partition_{method}_error"] = estimate.standard_error
    found = max(value for name, value in metrics.items() if name.startswith("test/log_likelihood"))
    if layers[0].visible_units == "bernoulli" and found > 0:
        sys.stderr.write(
            f"note: no log p is given: by {temperatures} temperatures it is {found:.1f} nats; of zeros and ones it "
            "is never above 0: the chains missed most of Z\n"
        )
        return {}
    return metrics


if __name__ == "__main__":
    from zoo.cli.main import main

    main("evaluate")
