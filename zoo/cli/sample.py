"""``zoo sample``: draw samples from a generative checkpoint, and write them as a grid of images or as an ``.npz``."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor, nn

from zoo.checkpoints.checkpoint import CheckpointInfo, open_checkpoint
from zoo.checkpoints.files import refuse_existing, replacing
from zoo.cli.checkpoint_task import task_class
from zoo.cli.console import say
from zoo.config import hardware
from zoo.config.build import check_seed
from zoo.data.splits import shape_text
from zoo.plots import images as plots
from zoo.protocols import Generative

COLUMNS = 10  # images in a row of the grid


def sample(cfg: DictConfig) -> Tensor:
    """Draw the samples and write them; by default a net with label units gives samples of every class in turn.

    Returns:
        The samples, n x in_shape.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, one that is not generative, or no such class.
        FileExistsError: the output exists already.
    """
    # Refuse what cannot work before anything is computed.
    output = Path(cfg.output)
    _check(cfg, output)
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    net, about = open_checkpoint(cfg.checkpoint)
    generative = _as_generative(net, about, cfg.checkpoint)
    class_numbers = _class_numbers(cfg.labels, cfg.n, about)

    # The chains draw from the global generator.
    net.to(device)
    torch.manual_seed(cfg.seed)
    samples = generative.sample(cfg.n, cfg.steps, labels=class_numbers).cpu()  # n x in_shape

    # Write them in the format that the suffix names.
    with replacing(output) as temporary:
        if output.suffix == ".png":
            names = None if class_numbers is None else _row_names(class_numbers, about.classes)
            plots.grid(samples, temporary, columns=COLUMNS, names=names)
        else:
            _write_arrays(temporary, samples, class_numbers)
    say(f"{cfg.n:,} samples of {shape_text(about.transforms().shape)} in {output}")
    return samples


def _check(cfg: DictConfig, output: Path) -> None:
    """Raise for values that can be refused before the checkpoint is read."""
    refuse_existing(output, overwrite=cfg.overwrite)
    for key in ("n", "steps"):
        if cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]} must be >= 1")
    check_seed(cfg.seed)
    if output.suffix not in (".png", ".npz"):
        raise ValueError(f"output={output} must be a .png or an .npz file")


def _as_generative(net: nn.Module, about: CheckpointInfo, checkpoint: str) -> Generative:
    """The net as one that generates.

    Raises:
        ValueError: it does not generate, or it no longer does since it was fine-tuned.
    """
    if not isinstance(net, Generative):
        raise ValueError(f"{checkpoint}: {about.name} is not generative; use rbm, dbn or dbn_generative")
    # Supervised fine-tuning changes the layers for the head's sake, so that they no longer model the inputs.
    if task_class(about).targets != "none":
        raise ValueError(
            f"{checkpoint}: {about.name} was fine-tuned with targets, and its layers no longer generate; "
            "train it with model.stages.finetune.epochs=0, or use dbn_generative"
        )
    return net


def _class_numbers(wanted: Any, n: int, about: CheckpointInfo) -> Tensor | None:
    """The class number of each sample, n, sorted so that the samples of a class stand together.

    Args:
        wanted: ``labels=`` of the command: a class, a list of classes, or None for all of them.
        n: number of samples.
        about: of a generative checkpoint. It has classes only if the net has label units.

    Returns:
        The class numbers, or None if the net has no label units.

    Raises:
        ValueError: a class that the checkpoint does not have, or no class at all.
    """
    # Without label units, no class can be asked for.
    if not about.classes:
        if wanted is not None:
            raise ValueError(f"labels={wanted}: {about.name} has no label units; use dbn_generative")
        return None

    # All classes, or those that were asked for, in the order that was asked for.
    if wanted is None:
        numbers = list(range(len(about.classes)))
    else:
        names = [str(name) for name in (wanted if isinstance(wanted, ListConfig) else [wanted])]
        if not names:
            raise ValueError("labels=[] must name at least one class; leave it out for all classes")
        for name in names:
            if name not in about.classes:
                raise ValueError(f"labels={name}: no such class; choose from {', '.join(about.classes)}")
        numbers = [about.classes.index(name) for name in names]

    # Equal shares, as far as n allows.
    return torch.tensor([numbers[i * len(numbers) // n] for i in range(n)])


def _row_names(class_numbers: Tensor, classes: Sequence[str]) -> list[str]:
    """For each sample the name of its row in the grid: its class, or all classes of the row if it has several."""
    names: list[str] = []
    # Row by row, as the grid is drawn.
    for row in torch.split(class_numbers, COLUMNS):
        in_row = dict.fromkeys(classes[k] for k in row.tolist())  # each class once, in order
        names += [", ".join(in_row)] * len(row)
    return names


def _write_arrays(path: Path, samples: Tensor, class_numbers: Tensor | None) -> None:
    """Write ``x`` and, where there are classes, ``y``."""
    with path.open("wb") as file:  # numpy would append .npz to a path
        if class_numbers is None:
            np.savez(file, x=samples.numpy())
        else:
            np.savez(file, x=samples.numpy(), y=class_numbers.numpy())


if __name__ == "__main__":
    from zoo.cli.main import main

    main("sample")
