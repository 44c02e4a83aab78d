"""``zoo evaluate``: measure a checkpoint on the test part of a dataset, by default the one it was trained for."""

import json

from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table

from zoo import config, prepare, schemas
from zoo.checkpoints import open_checkpoint, refuse_existing, replacing
from zoo.data.module import DataModule
from zoo.data.splits import Splits
from zoo.fit import measure


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Prints the metrics beside those the checkpoint was saved with; returns them.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint or dataset, or they do not belong together.
        FileExistsError: the output is there already.
    """
    if cfg.output is not None:
        refuse_existing(cfg.output, overwrite=cfg.overwrite)
    place = prepare.place(cfg.accelerator)
    net, about = open_checkpoint(cfg.checkpoint)
    node = cfg.dataset
    if node is None:
        node = OmegaConf.merge(OmegaConf.structured(schemas.Dataset), OmegaConf.create(about.dataset_config))
    splits = prepare.dataset(node)
    preprocess = about.transforms()
    preprocess.check(splits.shape, where=f"dataset {node.name}")
    if net.num_classes is not None and list(splits.classes) != about.classes:
        raise ValueError(
            f"dataset {node.name} has the classes {', '.join(splits.classes) or 'none'}; "
            f"the checkpoint knows {', '.join(about.classes) or 'none'}"
        )
    if splits.test is None:
        raise ValueError(f"dataset {node.name} has no test part")
    task = config.build(about.task, net, where="task")
    only_test = Splits(splits.train, None, splits.test, splits.shape, splits.classes, splits.targets)
    metrics = measure(task, DataModule(only_test, preprocess=preprocess, workers=node.workers), place=place)
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


if __name__ == "__main__":
    from zoo.cli import main

    main("evaluate")
