"""Turn an accelerator config into arguments of Lightning's Trainer or into a device.

Imports torch, OmegaConf and `zoo.config.ranges` only.
"""

import os
from typing import Any

import torch
from omegaconf import DictConfig

from zoo.config.ranges import check_numbers

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
STRATEGIES = ("auto", "ddp")
LAUNCHERS = ("SLURM_NTASKS", "TORCHELASTIC_RUN_ID", "MASTER_ADDR")  # environment variables for several machines


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
    kwargs = {str(key): value for key, value in node.items()}
    _check_counts(kwargs)
    # Lightning would warn, and train in another precision than the config says.
    if node.precision == "16-mixed" and device(kwargs).type == "cpu":
        raise ValueError("accelerator.precision=16-mixed needs a GPU; use bf16-mixed or 32-true")
    return kwargs


def _check_counts(kwargs: dict[str, Any]) -> None:
    """Raise ValueError if the number of devices or of machines is invalid, or larger than this machine allows."""
    devices = kwargs["devices"]
    if devices != "auto" and (not isinstance(devices, int) or isinstance(devices, bool)):
        raise ValueError(f"accelerator.devices={devices} must be auto or the number of devices")
    if devices == -1:
        raise ValueError("accelerator.devices=-1 must be >= 1, or auto for all devices")
    # Without a launcher, the first process would wait for the others for half an hour.
    if kwargs["num_nodes"] > 1 and not any(name in os.environ for name in LAUNCHERS):
        raise ValueError(
            f"accelerator.num_nodes={kwargs['num_nodes']}: start one process per device with srun or torchrun, or set "
            "MASTER_ADDR and NODE_RANK on every machine"
        )
    numbers = {key: kwargs[key] for key in ("devices", "num_nodes") if kwargs[key] != "auto"}
    check_numbers(numbers, kind="accelerator", where="accelerator")

    # The config must not ask for more GPUs than this machine has.
    kind = device(kwargs).type
    found = {"cuda": torch.cuda.device_count(), "mps": 1}.get(kind)
    if found is not None and devices != "auto" and devices > found:
        raise ValueError(
            f"accelerator.devices={devices}: this machine has {found}; use accelerator.devices=auto for all"
        )


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


def processes(kwargs: dict[str, Any]) -> int:
    """The number of processes that train together.

    Args:
        kwargs: as returned by `trainer_kwargs`.
    """
    devices = kwargs["devices"]
    if devices == "auto":
        devices = torch.cuda.device_count() if device(kwargs).type == "cuda" else 1
    return int(devices) * int(kwargs["num_nodes"])
