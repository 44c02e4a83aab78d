"""``zoo sample``: draw samples from a generative checkpoint, as a grid of images or an ``.npz``."""

import inspect
from collections.abc import Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig
from torch import Tensor, nn

from zoo.checkpoints.checkpoint import CheckpointInfo, info, locate, open_checkpoint
from zoo.checkpoints.files import check_output, replacing
from zoo.cli.checkpoint_task import task_class
from zoo.config import build, hardware
from zoo.config.catalogue import list_checkpoints
from zoo.config.console import say
from zoo.plots import images as plots
from zoo.plots.tiling import max_count
from zoo.protocols import Generative, shape_text

COLUMNS = 10  # number of images in a row of the grid
SUFFIXES = (".png", ".npz")
MAX_VALUES = 2**27  # values of all samples; the chains need several times that memory


def sample(cfg: DictConfig) -> Tensor:
    """Draw samples and write them. By default, a net with label units draws equally many of each class.

    Returns:
        The samples, n x in_shape.

    Raises:
        FileNotFoundError, ValueError: an invalid value, no such checkpoint, one that is not generative, or no such
            class.
        FileExistsError: the output exists already.
    """
    # Refuse invalid values before anything is computed.
    output = Path(cfg.output)
    _check(cfg, output)
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    net, about = open_checkpoint(cfg.checkpoint)
    generative = _as_generative(net, about, cfg.checkpoint)
    _check_size(cfg.n, about.transforms().shape, output)
    class_numbers = _class_numbers(cfg.labels, cfg.n, about)

    # The Gibbs chains use torch's global random number generator.
    net.to(device)
    torch.manual_seed(cfg.seed)
    samples = generative.sample(cfg.n, cfg.steps, labels=class_numbers).cpu()  # n x in_shape

    # Write the samples in the format of the suffix.
    with replacing(output) as temporary:
        if output.suffix.lower() == ".png":
            names = None if class_numbers is None else _row_names(class_numbers, about.classes)
            plots.grid(about.transforms().images(samples), temporary, columns=COLUMNS, names=names)
        else:
            _write_arrays(temporary, samples, class_numbers)
    say(f"{cfg.n:,} sample{'' if cfg.n == 1 else 's'} of {shape_text(about.transforms().shape)} in {output}")
    return samples


def _check(cfg: DictConfig, output: Path) -> None:
    """Raise ValueError or FileExistsError for invalid values, before the checkpoint is read."""
    for key in ("n", "steps"):
        if cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]} must be >= 1")
    build.check_seed(cfg.seed)
    check_output(output, overwrite=cfg.overwrite, suffixes=SUFFIXES, inputs=[locate(cfg.checkpoint)[0]])


def _check_size(n: int, shape: tuple[int, ...], output: Path) -> None:
    """Raise ValueError if ``n`` samples of this shape do not fit in memory or, for a ``.png``, on one grid."""
    most = MAX_VALUES // prod(shape)
    if n > most:
        raise ValueError(f"n={n} must be <= {most:,} for samples of {shape_text(shape)}")
    most_drawn = max_count(shape, COLUMNS)
    if output.suffix.lower() == ".png" and n > most_drawn:
        raise ValueError(f"n={n} must be <= {most_drawn:,} for a .png file; use output=NAME.npz for more samples")


def _as_generative(net: nn.Module, about: CheckpointInfo, checkpoint: str) -> Generative:
    """Return the net if it is generative.

    Raises:
        ValueError: the net is not generative, or no longer generative after supervised fine-tuning.
    """
    if not isinstance(net, Generative):
        use = " or ".join(_generative_checkpoints())
        raise ValueError(f"{checkpoint}: {about.name} is not generative; use a checkpoint such as {use}")
    # Supervised fine-tuning trains the layers for the targets, so that they no longer model the inputs.
    if task_class(about).targets != "none":
        raise ValueError(
            f"{checkpoint}: {about.name} was fine-tuned with supervision and is no longer generative; train it with "
            f"model.stages.finetune.epochs=0, or use a checkpoint such as {' or '.join(_generative_checkpoints())}"
        )
    return net


def _generative_checkpoints(*, label_units: bool = False) -> list[str]:
    """The names of the shipped generative checkpoints; with ``label_units``, only of those that sample by class."""
    names: list[str] = []
    for name in list_checkpoints():
        about = info(name)
        net_class, _ = build.check(about.net, where="net")
        # `Generative` has only methods, so `issubclass` can check the class without an instance.
        generates = inspect.isclass(net_class) and issubclass(net_class, Generative)
        if generates and task_class(about).targets == "none" and (about.classes or not label_units):
            names.append(name)
    return names


def _class_numbers(wanted: Any, n: int, about: CheckpointInfo) -> Tensor | None:
    """The class number of each sample, n, sorted so that the samples of a class stand together.

    Args:
        wanted: ``labels=`` of the command: a class, a list of classes, or None for all of them.
        n: number of samples.
        about: description of a generative checkpoint, which has classes only if the net has label units.

    Returns:
        The class numbers, or None if the net has no label units.

    Raises:
        ValueError: a class that the checkpoint does not have, or no class at all.
    """
    # Without label units, samples cannot be conditioned on a class.
    if not about.classes:
        if wanted is not None:
            use = " or ".join(_generative_checkpoints(label_units=True))
            raise ValueError(f"labels={wanted}: {about.name} has no label units; use a checkpoint such as {use}")
        return None

    # All classes, or those of ``labels=`` in their order.
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

    # The same number of samples per class, up to rounding.
    return torch.tensor([numbers[i * len(numbers) // n] for i in range(n)])


def _row_names(class_numbers: Tensor, classes: Sequence[str]) -> list[str]:
    """The name of the grid row of each sample: the classes in that row."""
    names: list[str] = []
    # Row by row, as in the grid.
    for row in torch.split(class_numbers, COLUMNS):
        in_row = dict.fromkeys(classes[k] for k in row.tolist())  # each class once, in order
        names += [", ".join(in_row)] * len(row)
    return names


def _write_arrays(path: Path, samples: Tensor, class_numbers: Tensor | None) -> None:
    """Write ``x`` and, if there are classes, ``y``."""
    with path.open("wb") as file:  # numpy would append .npz to a path
        if class_numbers is None:
            np.savez(file, x=samples.numpy())
        else:
            np.savez(file, x=samples.numpy(), y=class_numbers.numpy())
