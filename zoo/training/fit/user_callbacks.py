"""The callbacks of the group ``callbacks``: their checks, their instances for one fit, and the names of their errors.

Each fit gets new instances, and ``last.ckpt`` has their state. A key ``stages`` limits a callback to some stages.
"""

import re
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback
from lightning.pytorch.callbacks import (
    BackboneFinetuning,
    BatchSizeFinder,
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateFinder,
    ModelCheckpoint,
    ModelPruning,
    ModelSummary,
    OnExceptionCheckpoint,
    RichModelSummary,
    SpikeDetection,
    StochasticWeightAveraging,
    WeightAveraging,
)

from zoo.config.build import build, check
from zoo.config.catalogue import suggest

Nodes = Mapping[str, Mapping[str, Any]]

# Callbacks of Lightning that do not work in a run, and what to use instead.
REFUSED: dict[type[Callback], str] = {
    BackboneFinetuning: "a run freezes layers itself: use stage@model.stages.STAGE=gradual",
    BatchSizeFinder: "the number of steps of a run is fixed before it starts: set batch_size=",
    GradientAccumulationScheduler: "the number of steps of a run is fixed before it starts: use "
    "trainer.accumulate_grad_batches=",
    LearningRateFinder: "the learning rate of a run is fixed before it starts: sweep over lr= with -m",
    ModelPruning: "it changes the names of the weights, so the checkpoint could not be loaded",
    OnExceptionCheckpoint: "a run saves checkpoints/last.ckpt itself: use model.stages.STAGE.checkpoint_every_steps=",
    SpikeDetection: "it stops at a NaN or Inf, which a run does itself",
    WeightAveraging: "use model.stages.STAGE.ema=",
}


def check_callbacks(nodes: Mapping[str, Any], stages: Sequence[str]) -> None:
    """Check the callbacks of a config, and build each one once.

    Args:
        nodes: name -> a ``_target_`` and its arguments.
        stages: names of the enabled stages.

    Raises:
        ValueError: an invalid name, target, argument or path, or a callback that does not work in a run.
    """
    for name, node in nodes.items():
        where = f"callbacks.{name}"
        if not re.fullmatch(r"\w[\w-]{0,59}", name):
            raise ValueError(
                f"{where}: the name must have at most 60 letters, digits, _ and -, and must not begin with -"
            )
        if not isinstance(node, Mapping):
            raise ValueError(f"{where}={node} must be a mapping with a _target_; callbacks=NAME chooses a file")
        _check_stages(node.get("stages"), where=where, stages=stages)
        target, _ = check(_arguments(node), where=where)
        if not isinstance(target, type) or not issubclass(target, Callback):
            raise ValueError(f"{where}._target_={node['_target_']} is not a callback of Lightning")
        # RichModelSummary is a ModelSummary; the plain one writes to a log that is not shown.
        for kind, reason in REFUSED.items():
            if issubclass(target, kind):
                raise ValueError(f"{where}: {target.__name__} does not work in a run; {reason}")
        if issubclass(target, ModelSummary) and not issubclass(target, RichModelSummary):
            raise ValueError(f"{where}: the text of ModelSummary goes to a log that is not shown; use RichModelSummary")
    for stage in stages:
        callbacks_of(nodes, stage, Path())


def check_conflicts(nodes: Nodes, stage: str, *, ema: bool, own: Sequence[Callback]) -> None:
    """Raise ValueError if callbacks of the config conflict with each other, or with what a stage does itself.

    Args:
        nodes: the checked callbacks.
        stage: name of the stage.
        ema: whether the stage averages its weights.
        own: the callbacks of the stage's patience.
    """
    # Lightning stores the state of each callback under a key, so two callbacks must not have the same one.
    keys = {callback.state_key: f"model.stages.{stage}.patience" for callback in own}
    for name, callback in callbacks_of(nodes, stage, Path()).items():
        if isinstance(callback, StochasticWeightAveraging) and (own or ema):
            key = "ema" if ema else "patience"
            raise ValueError(
                f"callbacks.{name}: model.stages.{stage}.{key} chooses other weights than StochasticWeightAveraging; "
                f"set {key} to null, or leave the callback out"
            )
        if type(callback).state_dict is Callback.state_dict:
            continue
        other = keys.setdefault(callback.state_key, f"callbacks.{name}")
        if other != f"callbacks.{name}":
            raise ValueError(f"callbacks.{name} does the same as {other} ({type(callback).__name__}); leave one out")


def callbacks_of(nodes: Nodes, fit: str, folder: Path) -> dict[str, Callback]:
    """New instances of the callbacks of a fit, by their names in the config.

    Args:
        nodes: the checked callbacks.
        fit: name of the fit, which begins with that of its stage.
        folder: the run folder. Relative paths of a `ModelCheckpoint` begin there.

    Raises:
        ValueError: an argument that the callback refuses, or a path out of the run folder.
    """
    callbacks: dict[str, Callback] = {}
    for name, node in nodes.items():
        if node.get("stages") and fit.partition(".")[0] not in node["stages"]:
            continue
        where = f"callbacks.{name}"
        arguments = _arguments(node)
        target, _ = check(arguments, where=where)
        if isinstance(target, type) and issubclass(target, ModelCheckpoint):
            arguments["dirpath"] = _dirpath(arguments, where=where, default=f"checkpoints/{name}/{fit}", folder=folder)
        try:
            callbacks[name] = build(arguments, where=where)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(f"{where}: {_one_line(error)}") from error
    return callbacks


@contextmanager
def named_errors(callbacks: Mapping[str, Callback]) -> Iterator[None]:
    """Turn an error within a callback into a ValueError that begins with its key in the config.

    A ValueError or OSError is left as it is: such as that of a full disk.
    """
    try:
        yield
    except (ValueError, OSError):
        raise
    except Exception as error:
        # Find the callback among the objects whose methods were running.
        running = [frame.f_locals.get("self") for frame, _ in traceback.walk_tb(error.__traceback__)]
        for name, callback in callbacks.items():
            if any(caller is callback for caller in running):
                text = _one_line(error)
                # Stages log different metrics.
                fix = f": set callbacks.{name}.monitor=, or limit it to stages by +callbacks.{name}.stages=[STAGE]"
                raise ValueError(f"callbacks.{name}: {text}{fix if 'not available' in text else ''}") from error
        raise


def steps_within_epochs(callbacks: Iterable[Callback]) -> bool:
    """Whether a fit with these callbacks can be resumed within an epoch.

    `StochasticWeightAveraging` changes the schedule at the start of an epoch, which such a resumed fit would skip.
    """
    return not any(isinstance(callback, StochasticWeightAveraging) for callback in callbacks)


def patience_callbacks(monitor: str, mode: str, patience: int, folder: Path, name: str) -> list[Callback]:
    """The callbacks of a stage's patience: stop early, and save the weights of the best epoch as ``best.NAME.ckpt``."""
    best = ModelCheckpoint(folder, f"best.{name}", monitor=monitor, mode=mode, enable_version_counter=False)
    return [EarlyStopping(monitor, mode=mode, patience=patience), best]


def _arguments(node: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in node.items() if key != "stages"}


def _check_stages(given: Any, *, where: str, stages: Sequence[str]) -> None:
    """Raise ValueError unless the key ``stages`` is absent or lists stages that are trained."""
    if given is None:
        return
    if not isinstance(given, list) or not given:
        raise ValueError(f"{where}.stages={given} must be a list of stages, such as [{stages[0]}]")
    for name in given:
        if name not in stages:
            raise ValueError(f"{where}.stages: no stage {name!r} is trained; {suggest(str(name), list(stages))}")


def _dirpath(arguments: Mapping[str, Any], *, where: str, default: str, folder: Path) -> str:
    """The folder of a ModelCheckpoint, inside the run folder."""
    # A resumed run reads its config from a file, which must not make it write elsewhere.
    for key in ("dirpath", "filename"):
        path = Path(str(arguments.get(key) or ""))
        if path.is_absolute() or ".." in path.parts:
            raise ValueError(f"{where}.{key}={path} must be relative to the run folder, and not lead out of it")
    path = folder / (arguments.get("dirpath") or default)
    if not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{where}: {path} is a link out of the run folder; remove it")
    return str(path)


def _one_line(error: Exception) -> str:
    """The message of an error in one line, at most 300 characters."""
    return " ".join(str(error).split())[:300] or type(error).__name__
