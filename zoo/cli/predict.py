"""``zoo predict``: the classes of an image, a folder of them, a CSV of pixels or an ``.npz``, one batch at a time.

Writes a CSV (`zoo.cli.predict_outputs`) and, for images, a sheet of those to look at first (`zoo.cli.predict_sheet`).
"""

import csv
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from zoo.checkpoints.checkpoint import CheckpointInfo, open_checkpoint
from zoo.checkpoints.files import refuse_existing, replacing
from zoo.cli import predict_inputs as inputs
from zoo.cli import predict_outputs as outputs
from zoo.cli.checkpoint_task import task_class
from zoo.cli.console import say
from zoo.cli.predict_sheet import Tally
from zoo.config import hardware
from zoo.data.splits import shape_text
from zoo.losses import probabilities
from zoo.protocols import Net

Answer = Callable[[Tensor], Tensor]  # raw batch -> probabilities, values or features on the CPU, N x width


class Answers(NamedTuple):
    """How a checkpoint answers."""

    compute: Answer
    column: str  # "code" if the answers are features, else "value"; not used for classes


def predict(cfg: DictConfig) -> int:
    """Predict every input and write the CSV.

    Returns:
        The number of predictions.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint or input, or an input that the net cannot take.
        FileExistsError: an output exists already.
    """
    # Refuse what cannot work before anything is computed.
    _check(cfg)
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    net, about = open_checkpoint(cfg.checkpoint)
    answers = _answers(net.to(device), about, device, mirror_average=cfg.mirror_average)
    source = Path(cfg.input)
    output = Path(cfg.output)
    files = inputs.find(source)
    sheet = output.with_suffix(".png") if cfg.sheet and files and about.classes else None
    _check_outputs(output, sheet, files or [source], overwrite=cfg.overwrite)

    # Choose the columns: labels are known if the images lie in subfolders named for classes.
    labels, notice = inputs.labels(files, source, about.classes)
    as_kaggle = cfg.format == "kaggle" or (cfg.format == "auto" and source.suffix.lower() == ".csv")
    columns = outputs.choose(
        "kaggle" if as_kaggle else "table",
        classes=about.classes,
        name_column="file" if files else "row",
        value_column=answers.column,
        top=cfg.top,
        labeled=bool(labels),
    )

    # Open the input, which is read while the net computes.
    skipped: list[Exception] = []
    if files:
        read = inputs.reader(about, resize=cfg.resize)
        skip = skipped.append if cfg.on_bad_image == "skip" else None
        batches = inputs.read_images(files, source, read, batch_size=cfg.batch_size, skip=skip)
    else:
        batches = inputs.read_table(source, about.transforms().shape, batch_size=cfg.batch_size)

    # Both files appear together once they are complete, or not at all.
    tally = Tally(about.classes)
    with ExitStack() as stack:
        temporary_sheet = stack.enter_context(replacing(sheet)) if sheet else None
        temporary = stack.enter_context(replacing(output))
        _write_csv(temporary, batches, answers.compute, columns, labels, tally, draw=sheet is not None)
        if temporary_sheet:
            tally.draw(temporary_sheet, labeled=bool(labels))

    # Say what was written, and what was not.
    for error in skipped:
        sys.stderr.write(f"skipped: {error}\n")
    _report(tally, output, sheet, labeled=bool(labels), skipped=len(skipped), notice=notice)
    return tally.count


def _check(cfg: DictConfig) -> None:
    """Raise for values that can be refused before anything is read."""
    refuse_existing(cfg.output, overwrite=cfg.overwrite)
    if cfg.format not in ("auto", "table", "kaggle"):
        raise ValueError(f"format={cfg.format} must be auto, table or kaggle")
    if cfg.on_bad_image not in ("refuse", "skip"):
        raise ValueError(f"on_bad_image={cfg.on_bad_image} must be refuse or skip")
    for key in ("batch_size", "top"):
        if cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]} must be >= 1")


def _check_outputs(output: Path, sheet: Path | None, inputs_read: Sequence[Path], *, overwrite: bool) -> None:
    """Raise if the sheet exists already, or if an output would replace an input."""
    # Two outputs in one place, an output in the place of an input, and a file that is there already.
    if sheet == output:
        raise ValueError(f"output={output} is where the sheet of images goes; use a .csv file, or add sheet=false")
    taken = {path.resolve() for path in inputs_read}
    for path in (output, sheet):
        if path and path.resolve() in taken:
            raise ValueError(f"{path} is part of the input and would be replaced; use another output=")
    if sheet:
        refuse_existing(sheet, overwrite=overwrite)


def _answers(net: nn.Module, about: CheckpointInfo, device: torch.device, *, mirror_average: bool | None) -> Answers:
    """How a checkpoint answers: by class probabilities, by values, or by the features of a net that has neither.

    Args:
        net: on ``device``.
        about: describes it.
        device: where to compute.
        mirror_average: average over an image and its mirror image; None: as the task of the checkpoint says.

    Raises:
        ValueError: averaging was asked for, but the checkpoint has no classes or takes no images.
    """
    # Only images have a mirror image, and only probabilities can be averaged.
    preprocess = about.transforms()
    if mirror_average and not about.classes:
        raise ValueError("mirror_average=true averages class probabilities; this checkpoint has no classes")
    if mirror_average and len(preprocess.shape) != 3:
        raise ValueError(f"mirror_average=true needs images; the checkpoint takes {shape_text(preprocess.shape)}")

    # Channels-last is the order in which convolutions run fastest.
    assert isinstance(net, Net)
    model: Net = net.to(memory_format=torch.channels_last)
    loss = about.task.get("loss", "cross_entropy")
    average = about.task.get("mirror_average", False) if mirror_average is None else mirror_average

    def values(raw: Tensor) -> Tensor:
        return model(preprocess(raw.to(device))).float().cpu()

    def features(raw: Tensor) -> Tensor:
        return model.encode(preprocess(raw.to(device))).float().cpu()

    def class_probabilities(raw: Tensor) -> Tensor:
        p = probabilities(values(raw), loss)  # N x classes
        if not average:
            return p
        return (p + probabilities(values(raw.flip(-1)), loss)) / 2

    if about.classes:
        return Answers(class_probabilities, "value")
    # Without classes the head was trained on values, or it was not trained and says nothing.
    if task_class(about).targets == "values":
        return Answers(values, "value")
    return Answers(features, "code")


def _write_csv(
    path: Path,
    batches: inputs.Batches,
    answer: Answer,
    columns: outputs.Columns,
    labels: dict[str, str],
    tally: Tally,
    *,
    draw: bool,
) -> None:
    """Predict batch by batch and write the rows; ``tally`` counts them and, with ``draw``, keeps some images."""
    # The name of a file may hold bytes that are not valid text; they are written as they are.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file, torch.inference_mode():
        writer = csv.writer(file, lineterminator="\n")
        for names, raw in batches:
            answers = answer(raw)  # N x width
            batch_labels = [labels[name] for name in names] if labels else []
            # The width of the header is known once there are answers.
            if not tally.count:
                writer.writerow(columns.header(answers.shape[1]))
            writer.writerows(columns.rows(names, answers, batch_labels))
            tally.add(names, raw if draw else None, answers, batch_labels)
        if not tally.count:
            writer.writerow(columns.header(1))


def _report(tally: Tally, output: Path, sheet: Path | None, *, labeled: bool, skipped: int, notice: str) -> None:
    """Print what was written."""
    # One line, with only the parts that apply.
    parts = [f"{tally.count:,} predictions in {output}"]
    if labeled:
        parts.append(f"{tally.right:,} of {tally.count:,} right ({tally.right / tally.count:.1%})")
    if skipped:
        parts.append(f"{skipped:,} skipped")
    if sheet:
        parts.append(f"images to look at first in {sheet}")
    say(", ".join(parts))
    if notice:
        say(notice)


if __name__ == "__main__":
    from zoo.cli.main import main

    main("predict")
