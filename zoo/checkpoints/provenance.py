"""Where a checkpoint was made: commit, library versions and hardware. Imports Lightning and torchvision when called."""

import platform
import subprocess
from pathlib import Path
from typing import Any

import torch

from zoo import __version__
from zoo.config import catalogue


def provenance() -> dict[str, Any]:
    """The fields ``commit``, ``versions`` and ``hardware`` of a `CheckpointInfo`, as they are here and now."""
    import lightning
    import torchvision

    # Lightning and torchvision compute, too: a result may depend on their versions.
    versions = {"zoo": __version__, "torch": str(torch.__version__)}
    versions |= {module.__name__: module.__version__ for module in (torchvision, lightning)}
    return {"commit": _commit(), "versions": versions, "hardware": _hardware()}


def _commit() -> str:
    """The commit of the checkout; empty in an installed package."""
    # The checkpoints of a checkout are in its root; those of an installed package are in the package.
    root = catalogue.CHECKPOINTS.parent
    if not (root / ".git").exists():
        return ""
    command = ["git", "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _hardware() -> str:
    """Name of the GPU, or number of threads and name of the processor."""
    # A run on a GPU; its time says little of the processor beside it.
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    threads = torch.get_num_threads()
    plural = "s" if threads > 1 else ""
    return f"{threads} thread{plural} of {_processor()}"


def _processor() -> str:
    """The processor as Linux names it; elsewhere as Python does, which is less exact."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.is_file() else []
    for line in lines:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
