"""Where a net is trained or used: an accelerator config as arguments of a Trainer, or as a device."""

import os
from typing import Any

import torch
from omegaconf import DictConfig

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "bf16-true", "16-mixed")
STRATEGIES = ("auto", "ddp")


def place(node: DictConfig) -> dict[str, Any]:
    """An accelerator config as arguments of a Trainer.

    Raises:
        ValueError: this machine has no such accelerator.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not there.get(node.accelerator, True):
        raise ValueError(f"accelerator: this machine has no {node.accelerator}; use accelerator=auto or cpu")
    if node.accelerator not in ("auto", "cpu", *there):
        raise ValueError(f"accelerator.accelerator={node.accelerator}: choose auto, cpu, cuda or mps")
    if node.strategy == "fsdp":
        raise ValueError(
            "accelerator.strategy=fsdp: contrastive divergence and layer-wise training update whole weights by rules "
            "of their own, and FSDP leaves each process a shard of them; use ddp: every net here fits on one device"
        )
    for key, choices in {"precision": PRECISIONS, "strategy": STRATEGIES}.items():
        if node[key] not in choices:
            raise ValueError(f"accelerator.{key}={node[key]}: choose one of: {', '.join(choices)}")
    if node.devices != "auto" and not isinstance(node.devices, int):
        raise ValueError(f"accelerator.devices={node.devices}: choose auto or how many")
    return {str(key): value for key, value in node.items()}


def device(place: dict[str, Any]) -> torch.device:
    """The device of this process, for work outside a Trainer."""
    kind = place["accelerator"]
    if kind == "auto":
        kind = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    return torch.device(kind, int(os.environ.get("LOCAL_RANK", 0))) if kind == "cuda" else torch.device(kind)
