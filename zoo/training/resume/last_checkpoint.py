"""Read ``last.ckpt``, from which a run is resumed. A damaged one is refused before training starts.

Every error is a ValueError that begins with the path of the file.
"""

import traceback
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.optim import LBFGS, Adafactor, Optimizer

from zoo.checkpoints.safe_pickle import load as load_safely
from zoo.checkpoints.weight_files import is_plain
from zoo.protocols import shape_text
from zoo.training.resume.run_folder import CONFIG, LAST, naming

# The entries that every last.ckpt has, with their types.
CONTENT = {
    "fit": str,
    "state_dict": dict,
    "loops": dict,
    "callbacks": dict,
    "optimizer_states": list,
    "lr_schedulers": list,
    "global_step": int,
    "epoch": int,
    "pytorch-lightning_version": str,
}
OPTIMIZERS = Path(torch.optim.__file__).parent  # the source files of PyTorch's optimizers
# In the state of the loops, the values of keys with these endings must be mappings.
MAPPINGS = ("loop", "state_dict", "progress", "total", "current", "optimizer", "step", "zero_grad")


def read(folder: Path) -> dict[str, Any] | None:
    """The content of ``last.ckpt``; None if nothing was saved yet.

    Raises:
        ValueError: the file is damaged, or from another program or version.
    """
    path = folder / LAST
    if not path.exists():
        return None
    content = load_safely(path)
    with naming(path, "; delete it to start the run from the beginning"):
        if not isinstance(content, dict):
            raise ValueError(f"must hold a mapping, not {type(content).__name__}")
        for key, kind in CONTENT.items():
            if not isinstance(content.get(key), kind) or isinstance(content[key], bool):
                raise ValueError(f"{key} is missing or not of type {kind.__name__}")
        _check_version(content["pytorch-lightning_version"])
        _check_progress(content)
        _check_tensors(content)
    return content


def _check_version(version: str) -> None:
    """The checkpoint must be from the same major version of Lightning."""
    ours = lightning.__version__.partition(".")[0]
    if version.partition(".")[0] != ours:
        raise ValueError(f"was saved by Lightning {version[:20]}, which Lightning {ours} cannot resume")


def _check_progress(content: Mapping[str, Any]) -> None:
    """Counters must be numbers >= 0, and the state of the loop over epochs must be there."""
    for key in ("global_step", "epoch"):
        if content[key] < 0:
            raise ValueError(f"{key}={content[key]} must be >= 0")
    fit_loop = content["loops"].get("fit_loop")
    if not isinstance(fit_loop, dict) or "epoch_progress" not in fit_loop:
        raise ValueError("loops has no progress of the fit")
    _check_loops(content["loops"], "loops")
    # Each optimizer has a state and groups of parameters.
    states = content["optimizer_states"]
    if not states or not all(
        isinstance(state, dict) and isinstance(state.get("state"), dict) and "param_groups" in state for state in states
    ):
        raise ValueError("optimizer_states has no state of an optimizer")


def _check_loops(node: Mapping[str, Any], where: str) -> None:
    """The state of Lightning's loops: mappings of counters, which are integers >= 0 or booleans."""
    for key, value in node.items():
        if isinstance(value, dict):
            _check_loops(value, f"{where}.{key}")
        elif str(key).endswith(MAPPINGS) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{where}.{key} is damaged")


def _check_tensors(content: Mapping[str, Any]) -> None:
    """Weights must be finite tensors, optimizers have no NaN, and torch must accept the states of the generators."""
    for name, value in content["state_dict"].items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise ValueError(f"state_dict has no tensor {name!r}")
        # An expanded tensor stores few values, but a copy of it could need any amount of memory.
        if not is_plain(value):
            raise ValueError(f"{name} is not a plain tensor")
        if value.is_floating_point() and not torch.isfinite(value).all():
            raise ValueError(f"{name} is not finite")
    # The state of each optimizer: parameter -> name -> value. A second moment may have overflowed to Inf.
    for optimizer in content["optimizer_states"]:
        for entry in optimizer["state"].values():
            for name, value in entry.items() if isinstance(entry, dict) else ():
                if isinstance(value, Tensor) and (not is_plain(value) or value.isnan().any()):
                    raise ValueError(f"{name} of an optimizer contains NaN or is not a plain tensor")
    rng = content["callbacks"].get("SaveForResume")
    if not isinstance(rng, dict):
        raise ValueError("no state of the random number generators")
    cpu = rng.get("cpu")
    now = torch.get_rng_state()
    if not isinstance(cpu, Tensor) or cpu.shape != now.shape or cpu.dtype != now.dtype:
        raise ValueError("the state of the random number generator is damaged")
    try:
        torch.Generator().set_state(cpu)
    except RuntimeError as error:
        raise ValueError(f"the state of the random number generator is damaged ({error})") from error
    cuda = rng.get("cuda")
    if cuda is not None and not (isinstance(cuda, Tensor) and cuda.dtype == now.dtype and cuda.dim() == 1):
        raise ValueError("the state of the GPU's random number generator is damaged")


def check_weights(folder: Path, state: Mapping[str, Tensor], net: torch.nn.Module) -> None:
    """Raise ValueError if the weights in ``last.ckpt`` are not those of the net of ``config.yaml``."""
    expected = net.state_dict()
    wrong = [name for name in {**expected, **state} if name not in state or name not in expected]
    wrong += [
        name
        for name, value in expected.items()
        if name in state and (state[name].shape != value.shape or state[name].dtype != value.dtype)
    ]
    if wrong:
        raise ValueError(
            f"{folder / LAST}: {wrong[0]} does not fit the net of {CONFIG}; restore both files, or start a new run"
        )


def check_optimizers(path: Path, optimizers: Iterable[Optimizer]) -> None:
    """Raise ValueError if a restored optimizer does not fit its parameters: PyTorch's kernels do not check the shapes.

    Args:
        path: the ``last.ckpt`` from which the optimizers were restored.
        optimizers: those of the fit.
    """
    for optimizer in optimizers:
        # The state of these two has other shapes; they compute with operations that check them.
        if isinstance(optimizer, LBFGS | Adafactor):
            continue
        for parameter, state in optimizer.state.items():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.numel() != 1 and value.shape != parameter.shape:
                    raise ValueError(
                        f"{path}: {name} of the optimizer has shape {shape_text(value.shape)} for a parameter of "
                        f"{shape_text(parameter.shape)}; delete it to start the run from the beginning"
                    )


@contextmanager
def restoring(path: Path | None) -> Iterator[None]:
    """Turn an error while Lightning restores a checkpoint into a ValueError that begins with its path.

    An error of the optimizer about what was restored, such as a learning rate that is not a number, is turned into
    one, too.

    Args:
        path: the checkpoint; None if nothing is restored.
    """
    try:
        yield
    except Exception as error:
        # Only the stack frames distinguish an error of restoring from one of training.
        frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
        in_restore = any(
            Path(code.co_filename).name == "checkpoint_connector.py" and "restore" in code.co_name for code in frames
        )
        in_optimizer = any(Path(code.co_filename).parent == OPTIMIZERS for code in frames)
        has_wrong_values = in_optimizer and isinstance(error, (TypeError, KeyError, AttributeError))
        if path is None or not (in_restore or has_wrong_values):
            raise
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: damaged ({reason}); delete it to start the run from the beginning") from error
