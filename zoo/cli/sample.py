"""``zoo sample``: draw from a generative checkpoint, and write a grid of pictures (or an ``.npz`` of the values)."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig, ListConfig
from rich.console import Console
from torch import Tensor, nn

from zoo.checkpoints.checkpoint import CheckpointInfo, open_checkpoint
from zoo.checkpoints.files import refuse_existing, replacing
from zoo.config import build as config
from zoo.config import hardware
from zoo.data.splits import shape_text
from zoo.plots import images as pictures


def sample(cfg: DictConfig) -> Tensor:
    """Returns the samples, n x shape; a net with label units gives them class by class unless told otherwise.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint, one that is not generative, or no such class.
        FileExistsError: the output is there already.
    """
    refuse_existing(cfg.output, overwrite=cfg.overwrite)
    for key in ("n", "steps"):
        if cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]}: at least 1 is needed")
    config.check_seed(cfg.seed)
    output = Path(cfg.output)
    if output.suffix not in (".png", ".npz"):
        raise ValueError(f"output={cfg.output}: a .png or an .npz file is needed")
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    net: Any
    net, about = open_checkpoint(cfg.checkpoint)
    _refuse(net, about, cfg.checkpoint)
    numbers = _labels(cfg.labels, cfg.n, net, about)
    torch.manual_seed(cfg.seed)
    drawn = net.to(device).sample(cfg.n, cfg.steps, labels=numbers).cpu()
    with replacing(output) as temporary:
        if output.suffix == ".png":
            rows = [about.classes[int(k)] for k in numbers] if numbers is not None else None
            pictures.grid(drawn, temporary, columns=10, names=rows)
        else:
            arrays = {"x": drawn.numpy()} | ({} if numbers is None else {"y": numbers.numpy()})
            with temporary.open("wb") as file:
                np.savez(file, **arrays)
    text = f"{cfg.n:,} samples of {shape_text(about.transforms().shape)} in {output}"
    Console().print(text, soft_wrap=True, highlight=False)
    return drawn


def _refuse(net: nn.Module, about: CheckpointInfo, checkpoint: str) -> None:
    """Raise ValueError where a net does not generate, or has unlearned to."""
    if not hasattr(net, "sample"):
        raise ValueError(f"{checkpoint}: {about.name} is not generative; rbm, dbn and dbn_generative are")
    if about.task.get("_target_") == "zoo.tasks.Classification":
        raise ValueError(
            f"{checkpoint}: {about.name} was fine-tuned to classify, after which its layers no longer generate; "
            "train one with model.stages.finetune.epochs=0, or dbn_generative"
        )


def _labels(wanted: Any, n: int, net: nn.Module, about: CheckpointInfo) -> Tensor | None:
    """Class numbers of the samples, n, sorted so that each class stands together; None without label units."""
    if not getattr(net, "label_units", 0):
        if wanted is not None:
            raise ValueError(f"labels={wanted}: this net has no label units; dbn_generative has")
        return None
    if isinstance(wanted, ListConfig) and not wanted:
        raise ValueError("labels=[]: name at least one class, or leave labels out")
    names = [str(name) for name in (wanted if isinstance(wanted, (list, ListConfig)) else [wanted])]
    for name in names:
        if wanted is not None and name not in about.classes:
            raise ValueError(f"labels={name}: no such class; the checkpoint knows {', '.join(about.classes)}")
    numbers = range(len(about.classes)) if wanted is None else [about.classes.index(name) for name in names]
    return torch.tensor([numbers[i * len(numbers) // n] for i in range(n)])


if __name__ == "__main__":
    from zoo.cli.main import main

    main("sample")
