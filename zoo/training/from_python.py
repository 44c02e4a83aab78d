"""`zoo.train`: train from Python, by the same code as ``zoo train``.

The arguments become a config, which is composed and checked as that of the command (`zoo.training.given_config`). A net
or data that the program passes replace those of the config; everything else, the seeds included, is the same. So the
same keys give the same weights, to the bit.
"""

import random
import shutil
import signal
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from omegaconf import DictConfig
from torch import nn

from zoo.checkpoints import weight_files
from zoo.checkpoints.checkpoint import open_checkpoint
from zoo.config import compose, hardware
from zoo.data.preprocess import Preprocess
from zoo.training import checks, outputs, run_folder, signals, stage_checks, summary
from zoo.training.given_config import Data, Prepared, Validation, prepare, readable_errors
from zoo.training.given_net import unwrapped
from zoo.training.lock import locked
from zoo.training.notebook import in_notebook
from zoo.training.plan import Plan
from zoo.training.run import Run
from zoo.training.signals import Stopped


class EpochRow(dict[str, float]):
    """What was logged in one epoch of a fit: name -> value, such as {"epoch": 0, "train/loss": 0.8, "val/loss": 0.4}.

    Attributes:
        fit: the name of the fit, such as "fit" or "pretrain.layer0".
    """

    def __init__(self, fit: str, values: Mapping[str, float]) -> None:
        super().__init__(values)
        self.fit = fit


@dataclass(frozen=True)
class Result:
    """What `zoo.train` returns.

    Attributes:
        net: the trained net, in evaluation mode.
        metrics: the metrics on the validation and the test split: name -> value, such as {"val/accuracy": 0.97}. Empty
            if the data have neither split.
        history: one row for each epoch: the epoch (counted from 0) and the metrics that were logged in it, such as
            {"epoch": 0, "train/loss": 0.8, "val/loss": 0.4}. The attribute ``fit`` of a row names its fit.
        folder: the run folder; None if no folder was given.
        preprocess: turns raw inputs, as they were passed for training, into inputs of ``net``.
        classes: names of the classes (or labels) in the order of the outputs; empty for other targets.
    """

    net: nn.Module
    metrics: dict[str, float]
    history: list[EpochRow]
    folder: Path | None
    preprocess: Preprocess
    classes: tuple[str, ...]


def train(
    net: str | nn.Module,
    data: Data,
    *,
    stage: str | Sequence[str] | None = None,
    validation_data: Validation | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    seed: int = 1,
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> Result:
    """Train a net; see `zoo.api.train`."""
    if resume and folder is None:
        raise ValueError("resume=True needs folder=, the folder of the run")
    keys: dict[str, object] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    # Hydra's state and the random numbers belong to the process, so only one thread trains at a time.
    with compose.RUN_LOCK, _random_numbers_kept(), readable_errors():
        run_parts = prepare(net, data, stage=stage, validation_data=validation_data, keys=keys, overrides=overrides)
        cfg = run_parts.cfg
        cfg.progress = in_notebook() if progress is None else progress
        # Without folder=, the run is deleted at the end, so it need not be saved after every epoch.
        if folder is None:
            for node in cfg.model.stages.values():
                node.checkpoint_every = 0
        with _folder(folder) as path, _stopping_as_python(None if folder is None else path):
            run, metrics = _run(run_parts, path, keep=folder is not None, resume=resume, loud=bool(progress))
    trained = run.plan.net if run_parts.given.net is None else run_parts.given.net
    return Result(
        net=trained.eval(),
        metrics=metrics,
        history=_history(run),
        folder=None if folder is None else path,
        preprocess=run.plan.preprocess,
        classes=run.plan.splits.classes,
    )


def _run(parts: Prepared, folder: Path, *, keep: bool, resume: bool, loud: bool) -> tuple[Run, dict[str, float]]:
    """Begin or resume a run in a folder, and train it to its end.

    Args:
        parts: the config, and the net and data that were passed.
        folder: the run folder.
        keep: whether its files are kept.
        resume: whether to continue the run in the folder, if there is one.
        loud: whether to print what the command prints.

    Returns:
        The run and its metrics.
    """
    with signals.stop_on_signals() as stop, locked(folder):
        if resume and (folder / run_folder.CONFIG).exists():
            run_folder.check_files(folder)
            _check_unchanged(folder, parts.cfg)
            run = Run.resume(folder, parts.given)
            if outputs.is_finished(folder):
                return _with_trained_net(run), run_folder.read_metrics(folder)
        else:
            if keep:
                outputs.refuse_run(folder, from_python=True)
            # The YAMLs of loggers name Hydra's folder.
            if parts.cfg.logger is not None and "save_dir" in parts.cfg.logger:
                parts.cfg.logger.save_dir = str(folder)
            plan = checks.plan(parts.cfg, given=parts.given)
            if hardware.processes(plan.trainer_kwargs) > 1:
                _check_processes(plan, keep=keep)
            with stop.held():
                run = Run.begin(plan, folder, parts.command, keep=keep)

        # Print what the command prints. Without it, notes that need attention become warnings.
        if loud:
            outputs.announce([*summary.lines(run.plan), *run.plan.notes])
        else:
            for note in run.plan.notes:
                if note.startswith(("note: ", "warning: ")):
                    warnings.warn(note.partition(": ")[2], stacklevel=4)
        with run.fitting() as unfinished:
            for fit in run.remaining_fits():
                with run.guarded(fit, stop):
                    fit.train(stop)
        metrics = run.finish(finished=not unfinished)
        if loud:
            outputs.print_metrics(run.plan, metrics, folder if keep else None)
        for line in unfinished:
            reason = line.partition("; ")[0]  # what follows is for the command line
            warnings.warn(f"{reason}; {_how_to_continue(folder if keep else None)}", stacklevel=4)
        return run, metrics


def _check_unchanged(folder: Path, asked: DictConfig) -> None:
    """Raise ValueError if the seed or a key of the stages is not that with which the run in the folder began."""
    began, _ = run_folder.read_config(folder)
    # A copy, since the keys for all stages, such as epochs=, are set in each of them.
    old, new = (
        _flat({"seed": cfg.seed, "model": {"stages": stage_checks.enabled_stages(deepcopy(cfg))}})
        for cfg in (began, asked)
    )
    # An earlier version may have had other keys.
    for key in old:
        if key in new and old[key] != new[key]:
            raise ValueError(
                f"the run in {folder} began with {key}={old[key]}, but now {key}={new[key]}: set {key} to its "
                "earlier value to resume the run, or set another folder="
            )


def _flat(values: Any, key: str = "") -> dict[str, Any]:
    """Nested mappings as one, with keys such as model.stages.fit.epochs."""
    if not isinstance(values, Mapping):
        return {key: values}
    parts = [_flat(value, f"{key}.{name}" if key else str(name)) for name, value in values.items()]
    return {name: value for part in parts for name, value in part.items()}


def _check_processes(plan: Plan, *, keep: bool) -> None:
    """Raise ValueError if a run cannot be trained by several processes."""
    if not keep:
        raise ValueError("accelerator.devices: several devices share the files of a run, so they need folder=")
    if plan.splits.train.loader() is not None:
        raise ValueError("accelerator.devices: a DataLoader trains on one device; pass Splits or tensors for several")


def _with_trained_net(run: Run) -> Run:
    """A finished run, with the weights of its folder in the net."""
    path = run.folder / "model.safetensors"
    state = open_checkpoint(path)[0].state_dict() if run.plan.net_config else weight_files.read(path)
    net = unwrapped(run.plan.net)
    with run_folder.naming(path):
        try:
            net.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f"its weights are not those of this net: {error}") from error
    return run


@contextmanager
def _folder(folder: str | Path | None) -> Iterator[Path]:
    """The run folder; a temporary one, removed after the block, for None."""
    if folder is not None:
        path = Path(folder).absolute()
        path.mkdir(parents=True, exist_ok=True)
        try:
            yield path
        finally:
            # Leave no folder behind in which nothing was written.
            if not any(path.iterdir()):
                path.rmdir()
        return
    path = Path(tempfile.mkdtemp(prefix="zoo-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _stopping_as_python(folder: Path | None) -> Iterator[None]:
    """Turn `Stopped` into what a program expects of a signal: KeyboardInterrupt, or the signal's own handler.

    Args:
        folder: the folder that is kept; None if none is.
    """
    try:
        yield
    except Stopped as stop:
        number = stop.status - 128
        how = _how_to_continue(folder)
        if number == signal.SIGINT:
            raise KeyboardInterrupt(f"training was stopped; {how}") from None
        # The handlers of the program are installed again: by default, this ends the process.
        sys.stderr.write(f"training was stopped; {how}\n")
        sys.stderr.flush()
        signal.raise_signal(number)
        raise


def _how_to_continue(folder: Path | None) -> str:
    """The message for a program whose run was stopped; ``folder`` is None if no folder is kept."""
    if folder is not None and (folder / run_folder.CONFIG).exists():
        return f"continue with zoo.train(…, folder={str(folder)!r}, resume=True)"
    return "nothing was saved yet" if folder is not None else "without folder=, it cannot be continued"


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Within the block, training may seed the global random number generators; afterwards, restore their state."""
    python = random.getstate()
    numpy = np.random.get_state()
    # A GPU that the program has not used yet has no random numbers to keep.
    used = cast(Any, torch.cuda).is_initialized()
    devices = range(torch.cuda.device_count()) if used else []
    with torch.random.fork_rng(devices=devices):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _history(run: Run) -> list[EpochRow]:
    """The rows of ``metrics.csv``, those of one epoch of a fit merged into one."""
    epochs: dict[tuple[str, int], EpochRow] = {}
    for row in run.logger.rows:
        merged = epochs.setdefault((row["fit"], row["epoch"]), EpochRow(row["fit"], {}))
        merged.update({key: value for key, value in row.items() if key not in ("fit", "step")})
    return list(epochs.values())
