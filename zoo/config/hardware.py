"""Turn an accelerator config into arguments of Lightning's Trainer or into a device.

Imports torch and OmegaConf only.
"""

import os
from typing import Any

import torch
from omegaconf import DictConfig

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed")
STRATEGIES = ("auto", "ddp")


def trainer_kwargs(node: DictConfig) -> dict[str, Any]:
    """Keyword arguments of a Trainer for an accelerator config.

    Raises:
        ValueError: an unknown value, or an accelerator that this machine does not have.
    """
    # The accelerator must be a known one, and this machine must have it.
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if node.accelerator not in ("auto", "cpu", *available):
        raise ValueError(f"accelerator.accelerator={node.accelerator} must be auto, cpu, cuda or mps")
    if not available.get(node.accelerator, True):
        found = {"cuda": "CUDA GPU", "mps": "Apple GPU (MPS)"}[node.accelerator]
        raise ValueError(f"accelerator.accelerator={node.accelerator}: no {found} found; use accelerator=auto or cpu")
    # FSDP is refused with the reason, because users know it from Lightning.
    if node.strategy == "fsdp":
        raise ValueError(
            "accelerator.strategy=fsdp is not supported: contrastive divergence and layer-wise training need unsharded "
            "weights; use accelerator.strategy=ddp"
        )
    for key, choices in {"precision": PRECISIONS, "strategy": STRATEGIES}.items():
        if node[key] not in choices:
            raise ValueError(f"accelerator.{key}={node[key]} must be one of: {', '.join(choices)}")
    if node.devices != "auto" and not isinstance(node.devices, int):
        raise ValueError(f"accelerator.devices={node.devices} must be auto or the number of devices")
    return {str(key): value for key, value in node.items()}


def device(kwargs: dict[str, Any]) -> torch.device:
    """The device of this process, for computations outside a Trainer.

    Args:
        kwargs: as returned by `trainer_kwargs`.
    """
    kind = kwargs["accelerator"]
    # For "auto", choose as Lightning does.
    if kind == "auto":
        if torch.cuda.is_available():
            kind = "cuda"
        elif torch.backends.mps.is_available():
            kind = "mps"
        else:
            kind = "cpu"
    # Each process of a distributed run has one GPU.
    if kind == "cuda":
        return torch.device(kind, int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device(kind)
