"""`zoo.train`: train from Python, by the same code as ``zoo train``.

The arguments become a config, which is composed and checked as that of the command. A net or data that the program
passes replace those of the config (`zoo.training.plan.Given`); everything else, the seeds included, is the same. So the
same keys give the same weights, to the bit.
"""

import shlex
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from zoo.config import catalogue, compose
from zoo.config.given import GIVEN
from zoo.config.overrides import readable
from zoo.data.arrays import ArrayLike, splits_of
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Splits
from zoo.protocols import Net
from zoo.training import checks, outputs, run_folder, signals, summary
from zoo.training.lock import locked
from zoo.training.plan import Given
from zoo.training.run import Run

Data: TypeAlias = str | Splits | Tensor | tuple[ArrayLike, ArrayLike]
Validation: TypeAlias = float | tuple[ArrayLike, ArrayLike]
Row: TypeAlias = dict[str, float | str]


@dataclass(frozen=True)
class Result:
    """What `zoo.train` returns.

    Attributes:
        net: the trained net, in evaluation mode.
        metrics: the metrics on the validation and the test split: name -> value, such as {"val/accuracy": 0.97}. Empty
            if the data have neither split.
        history: one row for each epoch: the name of the fit, the epoch (counted from 0), and the metrics that were
            logged in it, such as {"fit": "fit", "epoch": 0, "train/loss": 0.8, "val/loss": 0.4}.
        folder: the run folder; None if no folder was given.
        preprocess: turns raw inputs, as they were passed for training, into inputs of ``net``.
        classes: names of the classes in the order of the outputs; empty for other targets.
    """

    net: nn.Module
    metrics: dict[str, float]
    history: list[Row]
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
    keys: dict[str, object] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "seed": seed}
    loud = bool(progress)
    # Hydra's state and the random numbers belong to the process, so only one thread trains at a time.
    with compose.RUN_LOCK, _random_numbers_kept():
        cfg, given, command = _config(net, data, stage, validation_data, keys, overrides)
        cfg.progress = loud
        with _folder(folder) as path:
            run, metrics = _run(cfg, given, path, command, keep=folder is not None, resume=resume, loud=loud)
    return Result(
        net=(given.net or run.plan.net).eval(),
        metrics=metrics,
        history=_history(run),
        folder=None if folder is None else path,
        preprocess=run.plan.preprocess,
        classes=run.plan.splits.classes,
    )


# The config


def _config(
    net: str | nn.Module,
    data: Data,
    stage: str | Sequence[str] | None,
    validation_data: Validation | None,
    keys: dict[str, object],
    overrides: Sequence[str],
) -> tuple[DictConfig, Given, str]:
    """The composed config, what replaces its parts, and a command line or call that describes the run."""
    if isinstance(overrides, str):
        raise ValueError(f"overrides={overrides!r} must be a list, such as ['model.net.dropout=0.5']")
    given = Given(net=_given_net(net), splits=_given_splits(net, data, validation_data))

    # The arguments as overrides of the command line; those that the caller wrote out come last, so they win.
    model = net if isinstance(net, str) else GIVEN
    dataset = data if isinstance(data, str) else GIVEN
    arguments = [f"model={model}", f"dataset={dataset}"]
    arguments += [f"{key}={value}" for key, value in keys.items() if value is not None]
    if given.splits is None and validation_data is not None:
        arguments.append(f"dataset.validation={validation_data}")
    arguments += overrides
    stages = _stage_names(net, stage, given)
    cfg = compose.compose("train", [*readable("train", arguments), *_stage_overrides(net, stages)])

    # A net or data that were passed get a name; a stage for single layers needs a net that has some.
    if stages:
        chosen = _stage_keys(stages)
        for name in [name for name in cfg.model.stages if name not in chosen]:
            del cfg.model.stages[name]
    if given.net is not None:
        cfg.model.name = type(given.net).__name__
        if "layers" not in dict(given.net.named_children()):
            for node in cfg.model.stages.values():
                node.order = "joint"
    if given.net is None and given.splits is None and not stages:
        command = shlex.join(["zoo", "train", *arguments])
    else:
        command = f"zoo.train({', '.join([cfg.model.name, cfg.dataset.name, *arguments[2:]])})"
    return cfg, given, command


def _stage_names(net: str | nn.Module, stage: str | Sequence[str] | None, given: Given) -> tuple[str, ...]:
    """The files of ``conf/stage`` to train by; empty: those of the model's own config."""
    if stage is not None:
        names = (stage,) if isinstance(stage, str) else tuple(stage)
        known = sorted(path.stem for path in (catalogue.CONF / "stage").glob("*.yaml"))
        for name in names:
            if name not in known:
                raise ValueError(f"stage={name}: no such file in conf/stage; {catalogue.suggest(name, known)}")
        return names
    if isinstance(net, str):
        return ()
    # Without a name there is no config: the targets decide.
    values = given.splits is not None and given.splits.num_targets > 0
    if given.splits is not None and not given.splits.labeled:
        raise ValueError("the data have no labels: choose a stage that needs none, such as stage='reconstruct'")
    return ("regress",) if values else ("classify",)


def _stage_keys(stages: Sequence[str]) -> list[str]:
    """The keys of the stages in the config: a single one is named as in most models, several after their files."""
    return ["fit"] if len(stages) == 1 else list(stages)


def _stage_overrides(net: str | nn.Module, stages: Sequence[str]) -> list[str]:
    """The overrides that add the stages to the model's own, or replace those of the same name."""
    own = list(compose.compose("train", [f"model={net}"]).model.stages) if stages and isinstance(net, str) else []
    return [
        f"{'' if key in own else '+'}stage@model.stages.{key}={name}"
        for key, name in zip(_stage_keys(stages), stages, strict=True)
    ]


def _given_net(net: str | nn.Module) -> nn.Module | None:
    """The net, if it is one; None for a name."""
    if isinstance(net, nn.Module):
        return net
    if isinstance(net, str):
        return None
    raise TypeError(f"net: a {type(net).__name__}, expected the name of a model or a torch.nn.Module")


def _given_splits(net: str | nn.Module, data: Data, validation_data: Validation | None) -> Splits | None:
    """The data as splits; None for the name of a dataset."""
    is_pair = isinstance(validation_data, tuple)
    if isinstance(data, str | Splits) and is_pair:
        raise ValueError("validation_data: a pair goes with a pair of tensors; this dataset has its own splits")
    if isinstance(data, str):
        return None
    if isinstance(data, Splits):
        if validation_data is not None:
            raise ValueError("validation_data: splits have their own validation split")
        return data
    # A single tensor has no labels.
    x, y = data if isinstance(data, tuple) else (data, None)
    outputs = net.num_classes if isinstance(net, Net) else None
    return splits_of(x, y, validation=validation_data or 0, num_classes=outputs)


# The run


def _run(
    cfg: DictConfig, given: Given, folder: Path, command: str, *, keep: bool, resume: bool, loud: bool
) -> tuple[Run, dict[str, float]]:
    """Begin or resume a run in a folder, and train it to its end."""
    with signals.stop_on_signals() as stop, locked(folder):
        if resume and (folder / run_folder.CONFIG).exists():
            run_folder.check_files(folder)
            run = Run.resume(folder, given)
        else:
            if keep:
                outputs.refuse_run(folder, from_python=True)
            plan = checks.plan(cfg, given=given)
            with stop.held():
                run = Run.begin(plan, folder, command, keep=keep)
        # Print what the command prints. If nothing is to be printed, what needs attention becomes a warning.
        if loud:
            outputs.announce([*summary.lines(run.plan), *run.plan.notes])
        else:
            for note in run.plan.notes:
                if note.startswith(("note: ", "warning: ")):
                    warnings.warn(note, stacklevel=4)
        for fit in run.remaining_fits():
            with run.guarded(fit, stop):
                fit.train(stop)
        metrics = run.finish()
        if loud:
            outputs.print_metrics(run.plan, metrics, folder if keep else None)
        return run, metrics


@contextmanager
def _folder(folder: str | Path | None) -> Iterator[Path]:
    """The run folder; a temporary one, removed after the block, for None."""
    if folder is not None:
        path = Path(folder).absolute()
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    path = Path(tempfile.mkdtemp(prefix="zoo-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _random_numbers_kept() -> Iterator[None]:
    """Within the block, training may seed the global random number generators; afterwards, restore their state."""
    import random

    import numpy as np

    python = random.getstate()
    numpy = np.random.get_state()
    with torch.random.fork_rng():
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)


def _history(run: Run) -> list[Row]:
    """The rows of ``metrics.csv``, those of one epoch of a fit merged into one."""
    epochs: dict[tuple[str, int], Row] = {}
    for row in run.logger.rows:
        merged = epochs.setdefault((row["fit"], row["epoch"]), {})
        merged.update({key: value for key, value in row.items() if key != "step"})
    return list(epochs.values())
