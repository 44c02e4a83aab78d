"""Where a net is trained or used: an accelerator config as arguments of Lightning's Trainer, or as a device.

Imports torch and OmegaConf only.
"""

import os
from typing import Any

import torch
from omegaconf import DictConfig

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed")
STRATEGIES = ("auto", "ddp")


def trainer_kwargs(node: DictConfig) -> dict[str, Any]:
    """An accelerator config as keyword arguments of a Trainer.

    Raises:
        ValueError: an unknown value, or an accelerator that this machine does not have.
    """
    # The accelerator must be known, and present.
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if node.accelerator not in ("auto", "cpu", *available):
        raise ValueError(f"accelerator.accelerator={node.accelerator} must be auto, cpu, cuda or mps")
    if not available.get(node.accelerator, True):
        raise ValueError(f"accelerator: this machine has no {node.accelerator}; use accelerator=auto or cpu")
    # Sharded strategies are refused with the reason, since users know them from Lightning.
    if node.strategy == "fsdp":
        raise ValueError(
            "accelerator.strategy=fsdp: contrastive divergence and layer-wise training update whole weights by their "
            "own rules, but FSDP gives each process a shard of them; use ddp: every net here fits on one device"
        )
    for key, choices in {"precision": PRECISIONS, "strategy": STRATEGIES}.items():
        if node[key] not in choices:
            raise ValueError(f"accelerator.{key}={node[key]}: choose one of: {', '.join(choices)}")
    if node.devices != "auto" and not isinstance(node.devices, int):
        raise ValueError(f"accelerator.devices={node.devices} must be auto or a number of devices")
    return {str(key): value for key, value in node.items()}


def device(kwargs: dict[str, Any]) -> torch.device:
    """The device of this process, for work outside a Trainer; ``kwargs`` as `trainer_kwargs` gives them."""
    kind = kwargs["accelerator"]
    # "auto" is what Lightning would choose.
    if kind == "auto":
        if torch.cuda.is_available():
            kind = "cuda"
        elif torch.backends.mps.is_available():
            kind = "mps"
        else:
            kind = "cpu"
    # Each process of a distributed run has a GPU of its own.
    if kind == "cuda":
        return torch.device(kind, int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device(kind)
