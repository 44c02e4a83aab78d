"""The content of a report: from a task that was measured, and of a finished run."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import nn

from zoo.checkpoints.checkpoint import CheckpointInfo
from zoo.config import hardware
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples
from zoo.report import gallery
from zoo.report.content import Report
from zoo.tasks import Classification, MultiLabelClassification
from zoo.tasks.task import Task
from zoo.training.class_statistics import per_class, per_label
from zoo.training.plan import Plan


def of_task(
    task: Task,
    about: CheckpointInfo,
    examples: Examples,
    *,
    net: nn.Module,
    preprocess: Preprocess,
    trainer_kwargs: Mapping[str, Any],
    title: str,
    prefix: str,
    metrics: Mapping[str, float],
    **others: Any,
) -> Report:
    """The report of a task that has just been measured.

    Args:
        task: the task; the attributes that a test sets are those of ``examples``.
        about: the description of its checkpoint.
        examples: the examples that were measured.
        net: the net.
        preprocess: the preprocessing from raw values to the net's input.
        trainer_kwargs: the accelerator config, as arguments of a Trainer.
        title: the examples in words.
        prefix: how the names of their metrics begin.
        metrics: all metrics by name.
        others: further attributes of the `Report`.
    """
    # The tables and predictions of a classifier; the table of a net with labels.
    if isinstance(task, Classification) and task.confusion:
        shown = gallery.show(
            task.predictions,
            examples,
            net=net,
            preprocess=preprocess,
            classes=about.classes,
            processes=hardware.processes(dict(trainer_kwargs)),
        )
        others |= {"statistics": per_class(task.confusion, about.classes), "classes": about.classes}
        others |= {"confusion": task.confusion, **shown._asdict()}
    if isinstance(task, MultiLabelClassification) and task.counts:
        others["statistics"] = per_label(task.counts, about.classes)
    facts = {
        "trained on": about.dataset,
        "license of the data": about.license,
        "parameters": f"{about.num_params:,}",
        "temperature": f"{about.temperature:.4f}" if about.temperature != 1 else "",
        "hardware": about.hardware,
        "versions": ", ".join(f"{name} {version}" for name, version in about.versions.items()),
        "commit": about.commit,
    }
    return Report(about.title, title, prefix, metrics, facts=facts, **others)


def of_run(plan: Plan, folder: Path, about: CheckpointInfo, task: Task, net: nn.Module) -> Report:
    """The report of a finished run, on its test split or, without one, on its validation split."""
    # A classifier says which split it measured, since a limit of batches may leave the test split out.
    splits = plan.splits.existing()
    name = list(splits)[-1]
    if isinstance(task, Classification) and task.measured == "val":
        name = "validation"
    examples = splits[name]
    count = f"{len(examples):,} example{'s' if len(examples) != 1 else ''}"
    return of_task(
        task,
        about,
        examples,
        net=net,
        preprocess=plan.preprocess,
        trainer_kwargs=plan.trainer_kwargs,
        title=f"the {name} split of {plan.dataset}, {count}",
        prefix={"validation": "val"}.get(name, name),
        metrics=about.metrics,
        curves=folder / "curves.png",
        commands=commands(about, str(folder)),
        config=plan.config_yaml,
        notes=[note.removeprefix("note: ") for note in plan.notes if note.startswith("note: ")],
    )


def commands(about: CheckpointInfo, checkpoint: str, evaluation: str = "") -> dict[str, str]:
    """The commands around a checkpoint: comment -> command.

    Args:
        about: the description of the checkpoint.
        checkpoint: as a user names it.
        evaluation: the command that evaluated it; empty if it was not evaluated by itself.
    """
    given = shlex.quote(f"checkpoint={checkpoint}")
    found = {"train it": about.command} if about.command else {}
    found["evaluate it"] = evaluation or f"zoo evaluate {given}"
    if about.classes:
        found["predict new inputs"] = f"zoo predict {given} input=FOLDER"
        found["see which regions of an image support a class"] = f"zoo explain {given} input=FOLDER"
    found["deploy it"] = f"zoo export {given} format=onnx preprocess=true"
    return found


def config_of(checkpoint: Path, about: CheckpointInfo) -> str:
    """The config of a run folder, or else what the checkpoint stores of it, as YAML."""
    path = checkpoint / "config.yaml"
    if path.is_file():
        return path.read_text(encoding="utf-8", errors="replace")
    stored = {"net": about.net, "task": about.task, "preprocess": about.preprocess, "dataset": about.dataset_config}
    return yaml.safe_dump(stored, sort_keys=False, allow_unicode=True)
