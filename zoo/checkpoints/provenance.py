"""Where a checkpoint was made: commit, library versions and hardware. Imports Lightning and torchvision when called."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from zoo import __version__
from zoo.config import catalogue


def provenance(device: torch.device) -> dict[str, Any]:
    """The fields ``commit``, ``versions`` and ``hardware`` of a `CheckpointInfo`, for training on ``device``."""
    import lightning
    import torchvision

    # Results may also depend on the versions of Lightning and torchvision.
    versions = {"zoo": __version__, "torch": str(torch.__version__)}
    versions |= {module.__name__: module.__version__ for module in (torchvision, lightning)}
    return {"commit": _commit(), "versions": versions, "hardware": hardware_name(device)}


def _commit() -> str:
    """The commit of the checkout; empty in an installed package."""
    # The checkpoints of a checkout are in its root; those of an installed package are in the package.
    root = catalogue.CHECKPOINTS.parent
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def hardware_name(device: torch.device) -> str:
    """Name of the GPU, or number of threads and name of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    plural = "s" if threads > 1 else ""
    return f"{threads} thread{plural} of {_processor()}"


def _processor() -> str:
    """Name of the processor: from /proc/cpuinfo on Linux, otherwise from `platform`, which is less exact."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
