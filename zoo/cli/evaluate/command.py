"""``zoo evaluate``: evaluate a checkpoint on a split of a dataset, by default the test split of its own dataset."""

import json
import warnings
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import Any

from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from zoo.analysis.calibration import reliability
from zoo.checkpoints.checkpoint import CheckpointInfo, locate, open_checkpoint
from zoo.checkpoints.files import check_output, replacing
from zoo.cli.checkpoint_task import build_task, task_class
from zoo.cli.evaluate import calibration, examples, report_file
from zoo.cli.evaluate.likelihood import likelihoods
from zoo.cli.predict.checks import InputCheck, preprocess_for
from zoo.cli.predict.tables import far_columns
from zoo.config import compose, hardware
from zoo.config.console import print_table, say
from zoo.data.datamodule import DataModule
from zoo.data.image_files import ImageFiles
from zoo.protocols import Generative
from zoo.tasks import Classification, MultiLabelClassification
from zoo.tasks.task import Task
from zoo.training import class_statistics
from zoo.training.checks import data_checks
from zoo.training.fit.trainer import measure
from zoo.training.report import commands, config_of, of_task

CHECKED = 256  # number of examples that must be read to check the scale of their values
# Minimum values of keys. A standard error needs two chains.
MINIMUM = {"chains": 2, "temperatures": 1}


def evaluate(cfg: DictConfig) -> dict[str, float]:
    """Print the metrics next to those stored in the checkpoint.

    Returns:
        The metrics by name, such as ``test/accuracy``; the name begins with the split: train, val, test or all.

    Raises:
        FileNotFoundError, ValueError: an invalid value, no such checkpoint, dataset or split, or they do not match.
        FileExistsError: the output exists already.
        OSError: the output cannot be written.
    """
    # Refuse invalid values before anything is read, even of keys that only some nets use.
    for key, minimum in MINIMUM.items():
        if cfg[key] < minimum:
            raise ValueError(f"{key}={cfg[key]} must be >= {minimum}")
    report_path = report_file.path_of(cfg)
    _check_outputs(cfg, report_path)
    if cfg.calibrate:
        calibration.check(cfg.checkpoint)
    trainer_kwargs = hardware.trainer_kwargs(cfg.accelerator)
    net, about = open_checkpoint(cfg.checkpoint)

    # Read the examples, and check that they are on the scale of the training data.
    data = examples.load(cfg, about)
    assert data.splits.test is not None
    is_files = isinstance(data.splits.train, ImageFiles)
    preprocess = preprocess_for(about.transforms(), files=is_files, scale=cfg.scale, invert=cfg.invert)
    check = InputCheck(preprocess, where=f"dataset {data.name}", files=is_files, stated=cfg.scale is not None)
    sample = data_checks.sample(replace(data.splits, train=data.splits.test), CHECKED)
    # The columns of a table have different ranges: each is compared with its own.
    if data.splits.table is None:
        check.add(sample)
        notes = [*data.notes, *check.finish()]
    else:
        notes = [*data.notes, *far_columns(sample, data.splits.table, about.transforms())]

    # Measure the net; with ``calibrate``, fit a temperature first, which its task then divides the logits by. Lightning
    # evaluates the examples as a test split, whichever split they are.
    saved = about.metrics
    calibrated = None
    task: Task
    if cfg.calibrate:
        calibrated = calibration.calibrate(net, about, data, preprocess, trainer_kwargs)
        about, task, metrics = calibrated.about, calibrated.task, calibrated.metrics()
    else:
        task = build_task(about, net)
        module = DataModule(data.splits, preprocess=preprocess, workers=data.workers)
        with warnings.catch_warnings():
            # Hide this warning of the calibration error; the error message below is clearer.
            warnings.filterwarnings("ignore", "Encountered `nan` values")
            metrics = measure(task, module, trainer_kwargs=trainer_kwargs)
    if not isfinite(metrics.get("test/loss", 0.0)):
        raise ValueError(f"{cfg.checkpoint}: its loss on {data.title} is NaN or Inf; use another checkpoint")

    # A generative net has a likelihood, unless it was fine-tuned with supervision afterwards.
    is_generative = isinstance(net, Generative) and task_class(about).targets == "none"
    if cfg.likelihood and is_generative:
        x = preprocess(data_checks.sample(replace(data.splits, train=data.splits.test)))  # N x in_shape
        device = hardware.device(trainer_kwargs)
        metrics |= likelihoods(net, x, device, chains=cfg.chains, temperatures=cfg.temperatures)
    prefix = examples.PREFIXES.get(data.split, data.split)
    metrics = {name.replace("test/", f"{prefix}/", 1): value for name, value in metrics.items()}

    # Write the metrics and the report, then the temperature.
    if cfg.output is not None:
        _write(cfg.output, metrics, task, about)
    if report_path is not None:
        report = of_task(
            task,
            about,
            data.splits.test,
            net=net,
            preprocess=preprocess,
            trainer_kwargs=trainer_kwargs,
            title=data.title,
            prefix=prefix,
            metrics=metrics,
            saved=saved if data.is_stored else {},
            commands=commands(about, cfg.checkpoint, compose.command_line("evaluate")),
            config=config_of(Path(cfg.checkpoint), about),
            notes=notes,
        )
        report_file.write(report, report_path)
    if calibrated is not None:
        notes.append(calibration.store(cfg.checkpoint, calibrated, data, metrics))
    elif about.temperature != 1:
        notes.append(f"the checkpoint is calibrated: logits are divided by its temperature, {about.temperature:.4f}")

    # Print the metrics next to those that were stored.
    _print(metrics, replace(about, metrics=saved), data, notes)
    if report_path is not None:
        _say(f"report: {report_path}")
    return metrics


def _check_outputs(cfg: DictConfig, report: Path | None) -> None:
    """Raise ValueError or FileExistsError if an output cannot be written, or would replace another file."""
    inputs: list[str | Path] = [locate(cfg.checkpoint)[0]] if cfg.output is not None or report is not None else []
    root = OmegaConf.select(cfg, "dataset.root")
    inputs += [root] if root is not None else []
    if cfg.output is not None:
        check_output(cfg.output, overwrite=cfg.overwrite, suffixes=[".json"], inputs=inputs)
        for path in _tables(cfg.output):
            check_output(path, overwrite=cfg.overwrite, suffixes=[".csv"], inputs=inputs)
    if report is not None:
        check_output(report, overwrite=cfg.overwrite, inputs=inputs)


def _write(output: str, metrics: dict[str, float], task: Task, about: CheckpointInfo) -> None:
    """Write the metrics as JSON and, of a classifier, the tables of its classes or labels beside it."""
    content: dict[str, Any] = dict(metrics)
    statistics, counts = _tables(output)
    if isinstance(task, Classification):
        content["classes"] = class_statistics.per_class(task.confusion, about.classes)
        p, predicted, true = task.predictions.unbind(dim=1)  # N each
        content["reliability"] = [found._asdict() for found in reliability(p, predicted == true)]
        class_statistics.write_tables(task.confusion, about.classes, statistics=statistics, counts=counts)
    if isinstance(task, MultiLabelClassification):
        content["labels"] = class_statistics.per_label(task.counts, about.classes)
        class_statistics.write_statistics(content["labels"], statistics)
    with replacing(output) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n")


def _tables(output: str) -> tuple[Path, Path]:
    """The CSV files beside ``output``, NAME.json: NAME_per_class.csv and, if there is one, NAME_confusion.csv."""
    path = Path(output)
    names = (class_statistics.PER_CLASS, class_statistics.CONFUSION)
    statistics, counts = (path.with_name(f"{path.stem}_{name}") for name in names)
    return statistics, counts


@rank_zero_only  # all processes of a distributed run have the same metrics
def _print(metrics: dict[str, float], about: CheckpointInfo, data: examples.Evaluated, notes: list[str]) -> None:
    """Print the notes and the table of metrics, with the stored ones if they are of the same examples."""
    for note in notes:
        say(f"note: {note}")
    title = f"{about.title} on {data.title}"
    if not data.is_stored:
        rows = [(name, f"{value:.4f}") for name, value in sorted(metrics.items())]
        print_table(title, ("metric", "value"), rows, right=("value",))
        return
    compared: list[tuple[str, str, str]] = []
    for name, value in sorted(metrics.items()):
        saved = about.metrics.get(name)
        compared.append((name, f"{value:.4f}", "" if saved is None else f"{saved:.4f}"))
    print_table(title, ("metric", "now", "when saved"), compared, right=("now", "when saved"))


@rank_zero_only
def _say(text: str) -> None:
    say(text)


# Lightning starts the other processes of a run with several processes as ``python FILE KEY=VALUE …``.
if __name__ == "__main__":
    from zoo.cli.main import main

    main("evaluate")
