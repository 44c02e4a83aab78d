"""What the settings of a trainer switch on around a fit or a run: PyTorch's flags, torch.compile, profilers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.profilers import AdvancedProfiler, PassThroughProfiler, Profiler, PyTorchProfiler, SimpleProfiler
from torch import nn

from zoo.training.fit.trainer_settings import TrainerSettings

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"  # environment variable; cuBLAS is deterministic with this setting only
PROFILE = "profile"  # subfolder of the run folder


@contextmanager
def flags(settings: TrainerSettings) -> Iterator[None]:
    """Within the block, set PyTorch's flags as the settings say; afterwards restore those of the process."""
    deterministic = torch.are_deterministic_algorithms_enabled()
    warn_only = torch.is_deterministic_algorithms_warn_only_enabled()
    benchmark = torch.backends.cudnn.benchmark
    workspace = os.environ.get(WORKSPACE)
    try:
        # The Trainer sets the flags, too; but features of frozen layers are computed outside of it.
        if settings.deterministic:
            os.environ[WORKSPACE] = ":4096:8"
            torch.use_deterministic_algorithms(True, warn_only=settings.deterministic == "warn")
        yield
    finally:
        torch.use_deterministic_algorithms(deterministic, warn_only=warn_only)
        torch.backends.cudnn.benchmark = benchmark
        if workspace is None:
            os.environ.pop(WORKSPACE, None)
        else:
            os.environ[WORKSPACE] = workspace


@contextmanager
def compiled(net: nn.Module, *, enabled: bool) -> Iterator[None]:
    """Within the block, calls of ``net`` run the code that torch.compile makes of its ``forward``.

    The names of the weights stay the same, since the net is compiled in place.
    """
    if not enabled:
        yield
        return
    net.compile()
    try:
        yield
    finally:
        # PyTorch has no public way back. Without the attribute, the net is called as before.
        vars(net).pop("_compiled_call_impl", None)
        torch.compiler.reset()


@contextmanager
def readable_errors(settings: TrainerSettings) -> Iterator[None]:
    """Turn PyTorch's errors about what a setting has found into a ValueError that names the setting."""
    try:
        yield
    except RuntimeError as error:
        text = " ".join(str(error).split())
        if settings.deterministic is True and "deterministic" in text:
            reason = text.partition(". ")[0]
            raise ValueError(f"trainer.deterministic=true: {reason}; use trainer.deterministic=warn") from error
        if settings.detect_anomaly and "returned nan values" in text:
            shown = "debug=true shows which operation of the forward pass it belongs to"
            raise ValueError(f"trainer.detect_anomaly: {text.rstrip('.')}; {shown}") from error
        raise


class NoProfiler(PassThroughProfiler):
    """Measures nothing. Lightning enters its context some fifty times a step, so it must cost nothing, too."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> Any:
        return self._nothing


def profiler(settings: TrainerSettings, folder: Path, name: str) -> Profiler:
    """The profiler of one fit, which writes to the subfolder ``profile`` of the run folder."""
    place = folder / PROFILE
    if settings.profiler is None:
        return NoProfiler()
    if place.is_symlink():
        raise ValueError(f"{place}: a link; remove it, since profiles are written there")
    kinds: dict[str, type[SimpleProfiler | AdvancedProfiler | PyTorchProfiler]] = {
        "simple": SimpleProfiler,
        "advanced": AdvancedProfiler,
        "pytorch": PyTorchProfiler,
    }
    return kinds[settings.profiler](dirpath=place, filename=name)
