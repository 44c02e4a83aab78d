"""Write the files of a run folder, except for ``metrics.csv`` and ``checkpoints/``.

At the start: ``.hydra``, ``splits.json``, ``preprocess.json`` and, last, ``config.yaml``. After each stage without
labels: the plots of `zoo.plots.stage_plots`. At the end: ``model.safetensors`` and ``metrics.json``, and only then
``curves.png`` and, for classifiers, ``confusion.png``; with ``report=true`` also ``report.html``. A plot or report that
cannot be drawn is a warning.
"""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from zoo.checkpoints import checkpoint as checkpoints
from zoo.checkpoints import files
from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.checkpoints.description import to_stored
from zoo.config import compose, hardware
from zoo.config.console import print_table, say
from zoo.plots import curves, stage_plots
from zoo.protocols import ChangesConfig, HasLabelUnits
from zoo.report import page
from zoo.tasks import Classification, MultiLabelClassification
from zoo.tasks.task import Task
from zoo.training import report as reports
from zoo.training.checks.given_net import unwrapped
from zoo.training.class_statistics import CONFUSION, PER_CLASS, per_label, write_statistics, write_tables
from zoo.training.fit.csv_logger import CSVLogger
from zoo.training.fit.trainer_options import PROFILE
from zoo.training.plan import Plan, StagePlan
from zoo.training.resume.run_folder import CONFIG, LAST, METRICS, PREPROCESS, SPLITS

REPORT = "report.html"


@rank_zero_only
def refuse_run(folder: Path, *, from_python: bool = False) -> None:
    """Raise FileExistsError if the folder already contains a run, or a file that the run would replace."""
    key = "folder" if from_python else "hydra.sweep.dir" if compose.in_sweep() else "hydra.run.dir"
    if (folder / CONFIG).exists():
        how = "resume=True" if from_python else f"resume={folder}"
        raise FileExistsError(f"{folder} already contains a run: resume it with {how}, or set another {key}=")
    # A start that was killed leaves only files that are written before the config. Any other file is the user's.
    for path in [folder / LAST, *(folder / name for name in sorted(files.RUN_FILES - {CONFIG, PREPROCESS, SPLITS}))]:
        if os.path.lexists(path):
            raise FileExistsError(f"{path} exists and would be replaced; set another {key}=")


@rank_zero_only
def begin(plan: Plan, folder: Path, command: str, composition: Mapping[str, str] | None = None) -> None:
    """Write the first files of a run folder.

    Args:
        plan: the checked plan.
        folder: the run folder.
        command: the command line, the first line of ``config.yaml``.
        composition: the files of the subfolder ``.hydra``, by name.

    Raises:
        FileExistsError: the folder already contains a run.
    """
    refuse_run(folder)
    # Write the config last: it marks the folder as a run folder, which must have the other files.
    for name, text in (composition or {}).items():
        _write(folder / ".hydra" / name, text)
    write_data(plan, folder)
    _write(folder / CONFIG, f"# {command}\n{plan.config_yaml}")


@rank_zero_only
def write_data(plan: Plan, folder: Path) -> None:
    """Write what a resumed run must find unchanged: the preprocessing, and the digest of each split."""
    _write(folder / SPLITS, json.dumps(plan.splits.fingerprints(), indent=2) + "\n")
    _write(folder / PREPROCESS, json.dumps(plan.preprocess.to_dict()) + "\n")


def _write(path: Path, text: str) -> None:
    with files.replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def is_finished(folder: Path) -> bool:
    """Whether a folder contains a finished run."""
    return (folder / CONFIG).is_file() and (folder / METRICS).is_file()


@rank_zero_only
def announce(lines: Iterable[str]) -> None:
    """Print notes for the user, one line each."""
    for line in lines:
        say(line)


@rank_zero_only
def draw_stage(plan: Plan, stage: StagePlan, folder: Path) -> None:
    """Plot what a stage without labels has trained: filters, reconstructions, latent codes and samples."""
    with _drawing(f"the plots of stage {stage.name}"):
        stage_plots.draw(plan.net, plan.splits, plan.preprocess, folder, prefix=stage.name, latent_map=plan.latent_map)


@contextmanager
def _drawing(what: str) -> Iterator[None]:
    """Turn any error of a plot into a warning, since the results of a run do not depend on its plots."""
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        sys.stderr.write(f"warning: {what} could not be drawn ({reason})\n")


def description(plan: Plan, command: str, metrics: dict[str, float]) -> CheckpointInfo:
    """The description that is stored in the checkpoint."""
    # A net trained without labels has no classes, unless it has label units.
    last = plan.stages[-1]
    knows_classes = last.needs_labels or (isinstance(plan.net, HasLabelUnits) and bool(plan.net.label_units))
    classes = list(plan.splits.classes) if knows_classes else []
    # Training may have changed arguments of the net: wake-sleep, for example, unties the recognition weights.
    net = dict(plan.net_config)
    if isinstance(plan.net, ChangesConfig):
        net |= plan.net.config_changes()
    return CheckpointInfo(
        name=plan.model,
        net=net,
        task=dict(last.task),
        preprocess=plan.preprocess.to_dict(),
        classes=classes,
        metrics=metrics,
        num_params=sum(parameter.numel() for parameter in plan.net.parameters()),
        command=command,
        dataset=plan.dataset,
        dataset_config=plan.dataset_config,
        license=plan.license,
        splits=plan.splits.fingerprints(),
        table=plan.splits.table.to_dict() if plan.splits.table is not None else {},
        **checkpoints.provenance(hardware.device(plan.trainer_kwargs)),
    )


def check_description(plan: Plan, command: str) -> None:
    """Raise ValueError if the checkpoint's description could not be written after training, such as a long license."""
    try:
        to_stored(description(plan, command, {}))
    except ValueError as error:
        raise ValueError(f"the checkpoint of this run could not be written: {error}") from error


@rank_zero_only
def finish(
    plan: Plan, folder: Path, about: CheckpointInfo, task: Task, logger: CSVLogger, *, finished: bool = True
) -> None:
    """Write the results; a run that is not ``finished`` gets no ``metrics.json``, so that it can be resumed."""
    # Write the weights, then the tables of the classes, then the metrics: their file marks a run as finished.
    net = unwrapped(plan.net)
    if plan.net_config:
        checkpoints.save(net, folder / "model.safetensors", about)
    else:
        _save_weights(net, folder / "model.safetensors")
    if isinstance(task, Classification) and task.confusion:
        write_tables(task.confusion, about.classes, statistics=folder / PER_CLASS, counts=folder / CONFUSION)
    if isinstance(task, MultiLabelClassification) and task.counts:
        write_statistics(per_label(task.counts, about.classes), folder / PER_CLASS)
    if finished:
        _write(folder / METRICS, json.dumps(about.metrics, indent=2) + "\n")

    # Draw the plots.
    with _drawing("curves.png"):
        curves.curves(_panels(plan, logger), folder / "curves.png")
    if isinstance(task, Classification) and task.confusion:
        with _drawing("confusion.png"):
            curves.confusion(task.confusion, about.classes, folder / "confusion.png")
    if plan.report:
        with _drawing(REPORT):
            page.write(reports.of_run(plan, folder, about, task, net), folder / REPORT)


def _save_weights(net: nn.Module, path: Path) -> None:
    """Save the weights alone, of a net that no config describes. Parameters that share memory are all written."""
    tensors = {name: value.detach().cpu().clone().contiguous() for name, value in net.state_dict().items()}
    with files.replacing(path, errors=[SafetensorError]) as temporary:
        save_file(tensors, temporary)


def _panels(plan: Plan, logger: CSVLogger) -> dict[str, dict[str, Any]]:
    """The panels of ``curves.png``: title -> name of a line -> its steps and values."""
    # One panel shows the losses; each other metric that a stage monitors gets its own panel.
    panels: dict[str, tuple[str, ...]] = {"loss": ("train/loss", "val/loss")}
    for stage in plan.stages:
        if stage.monitor != "val/loss":
            panels[stage.monitor] = (stage.monitor,)

    # One line for each metric of each fit. A single fit, "fit", needs no name in the legend.
    lines: dict[str, dict[str, Any]] = {}
    for title, names in panels.items():
        lines[title] = {}
        for name in names:
            for fit, series in logger.series(name).items():
                lines[title][name if fit == "fit" else f"{fit} {name}"] = series

    # Without a validation split, some panels have no lines.
    logged = {title: found for title, found in lines.items() if found}
    return logged or lines


@rank_zero_only
def print_metrics(plan: Plan, metrics: Mapping[str, float], folder: Path | None) -> None:
    """Print the metrics of a finished run, and its folder unless that is None."""
    count = sum(parameter.numel() for parameter in plan.net.parameters())
    title = f"{plan.model} on {plan.dataset}: {count:,} parameters"
    rows = [(name, str(value) if isinstance(value, int) else f"{value:.4f}") for name, value in sorted(metrics.items())]
    print_table(title, ("metric", "value"), rows, right=("value",))
    if folder is None:
        return
    say(f"run folder: {_shown(folder)}")
    if plan.report and (folder / REPORT).is_file():
        say(f"report: {_shown(folder / REPORT)}")
    if plan.settings.profiler is not None:
        say(f"profile: {_shown(folder / PROFILE)}")


def _shown(folder: Path) -> Path:
    """A folder relative to the working directory, if it lies inside it."""
    here = Path.cwd()
    return folder.relative_to(here) if folder.is_relative_to(here) else folder
