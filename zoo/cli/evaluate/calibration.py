"""``zoo evaluate calibrate=true``: fit a temperature on the validation split, and store it in the checkpoint."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor, nn

from zoo.analysis.calibration import fit_temperature
from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import hub
from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.cli.checkpoint_task import build_task
from zoo.cli.evaluate.examples import Evaluated
from zoo.config import catalogue, hardware
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.protocols import eval_mode
from zoo.tasks import Classification
from zoo.training.fit.trainer import measure

CHANGED = ("loss", "calibration_error")  # the metrics that depend on the temperature


class Calibrated(NamedTuple):
    """A calibrated checkpoint.

    Attributes:
        about: its description, whose task has the temperature.
        task: that task; the attributes that a test sets are those of the split to evaluate.
        examples: number of validation examples that the temperature was fitted to.
        before: the metrics without the temperature, as `measure` returns them: ``val/…`` and ``test/…``.
        after: the same metrics with it.
    """

    about: CheckpointInfo
    task: Classification
    examples: int
    before: dict[str, float]
    after: dict[str, float]

    def metrics(self) -> dict[str, float]:
        """The metrics with the temperature, those that depend on it also without it, and the temperature."""
        without = {
            f"{name}_uncalibrated": value for name, value in self.before.items() if name.partition("/")[2] in CHANGED
        }
        return {**self.after, **without, "temperature": self.about.temperature}


def check(checkpoint: str) -> None:
    """Raise ValueError or PermissionError if a temperature cannot be stored in this checkpoint."""
    path, sha256 = checkpoints.locate(checkpoint)
    is_shipped = path.resolve().parent == catalogue.CHECKPOINTS.resolve() and path.stem in catalogue.index()
    if sha256 is not None or is_shipped or checkpoint.startswith(hub.PREFIX):
        raise ValueError(
            f"calibrate=true changes the checkpoint, and {checkpoint} is a published one; copy {path} and name the copy"
        )
    if not (os.access(path, os.W_OK) and os.access(path.resolve().parent, os.W_OK)):
        raise PermissionError(f"calibrate=true: {path} is write-protected; copy it, and name the copy")


def calibrate(
    net: nn.Module, about: CheckpointInfo, data: Evaluated, preprocess: Preprocess, trainer_kwargs: dict[str, Any]
) -> Calibrated:
    """Fit a temperature to the validation split, and measure the net without and with it.

    Args:
        net: the net, in evaluation mode.
        about: the description of its checkpoint.
        data: the data, with the split to evaluate.
        preprocess: the preprocessing from raw values to the net's input.
        trainer_kwargs: the accelerator config, as arguments of a Trainer.

    Raises:
        ValueError: the net does not predict one class for each input, its outputs are not logits, the data have no
            validation split, or there is no best temperature.
    """
    # Start from a net without a temperature, even if the checkpoint has one already.
    about = _with_temperature(about, 1.0)
    task = build_task(about, net)
    if not isinstance(task, Classification) or type(task).__module__.partition(".")[0] != "zoo":
        raise ValueError("calibrate=true needs a checkpoint that was trained with the task Classification")
    if task.loss_name == "quadratic":
        raise ValueError(
            "calibrate=true divides logits; the outputs of a net trained with loss=quadratic are not logits"
        )
    if data.validation is None:
        raise ValueError(
            f"calibrate=true needs a validation split, which dataset {data.name} lacks here: leave dataset.root= out, "
            "or set dataset.validation=0.2"
        )

    # Compute the outputs of all validation examples, and fit the temperature.
    validation = replace(data.splits, validation=data.validation, test=None)
    module = DataModule(validation, preprocess=preprocess, workers=data.workers)
    views, y = _outputs(net, module, hardware.device(trainer_kwargs), mirror=task.mirror_average)
    try:
        temperature = fit_temperature(views, y, loss=task.loss_name)
    except ValueError as error:
        raise ValueError(
            f"calibrate=true: no temperature fits the {len(y):,} examples of the validation split ({error}); the "
            "checkpoint is unchanged; use more validation examples"
        ) from error

    # Measure without and with it. The split to evaluate takes the place of the test split.
    both = replace(data.splits, validation=None if data.split == "validation" else data.validation)
    module = DataModule(both, preprocess=preprocess, workers=data.workers)
    before = measure(task, module, trainer_kwargs=trainer_kwargs)
    about = _with_temperature(about, temperature)
    task = build_task(about, net)
    assert isinstance(task, Classification)
    after = measure(task, module, trainer_kwargs=trainer_kwargs)
    return Calibrated(about, task, len(y), before, after)


def _with_temperature(about: CheckpointInfo, temperature: float) -> CheckpointInfo:
    """The same description with another temperature; 1 is not stored, so that the file is as before calibration."""
    task = {key: value for key, value in about.task.items() if key != "temperature"}
    return replace(about, task=task if temperature == 1 else {**task, "temperature": temperature})


def _outputs(net: nn.Module, module: DataModule, device: torch.device, *, mirror: bool) -> tuple[list[Tensor], Tensor]:
    """The outputs of the validation split, N x K on the CPU, with ``mirror`` also of mirrored images; and N classes."""
    views: list[list[Tensor]] = [[], []] if mirror else [[]]
    targets: list[Tensor] = []
    net = net.to(device)
    with eval_mode(net), torch.inference_mode():
        for raw, y in module.val_dataloader():
            x = module.preprocess(raw.to(device))  # N x C x H x W
            views[0].append(net(x).float().cpu())
            if mirror:
                views[1].append(net(x.flip(-1)).float().cpu())
            targets.append(y.long())
    return [torch.cat(view) for view in views], torch.cat(targets)


def store(checkpoint: str, calibrated: Calibrated, data: Evaluated, metrics: dict[str, float]) -> str:
    """Write the temperature into the checkpoint; its weights stay the same to the bit.

    The stored metrics that depend on the temperature are replaced; those that were not measured again are left out.

    Args:
        checkpoint: as given by the user.
        calibrated: the result of `calibrate`.
        data: the data, which say whether the metrics are those of the stored splits.
        metrics: the metrics with the temperature, named by their splits.

    Returns:
        A note: the temperature, and its effect on the calibration error.
    """
    path, _ = checkpoints.locate(checkpoint)
    tensors, about = checkpoints.read(checkpoint)
    outdated = {f"{split}/{name}" for split in ("val", "test") for name in CHANGED}
    kept = {name: value for name, value in about.metrics.items() if name not in outdated}
    # Only metrics of the same examples take the place of the stored ones.
    if data.is_stored or data.has_stored_validation:
        splits = {"val"} if data.has_stored_validation else set()
        splits |= {"val" if data.split == "validation" else data.split} if data.is_stored else set()
        measured = {name: value for name, value in metrics.items() if name.partition("/")[0] in splits}
        kept |= {name: measured[name] for name in about.metrics if name in measured}
    _write(tensors, path, replace(about, task=calibrated.about.task, metrics=kept))

    # Compare the calibration error on each split that was measured.
    effects = [
        f"{name.partition('/')[0]}/calibration_error {metrics[f'{name}_uncalibrated']:.4f} -> {value:.4f}"
        for name, value in sorted(metrics.items())
        if name.partition("/")[2] == "calibration_error"
    ]
    return (
        f"temperature {calibrated.about.temperature:.4f}, fitted to the {calibrated.examples:,} examples of the "
        f"validation split and stored in {path}: {', '.join(effects)}"
    )


@rank_zero_only
def _write(tensors: dict[str, Tensor], path: Path, about: CheckpointInfo) -> None:
    checkpoints.write(tensors, path, about)
