"""``zoo predict``: predict the classes of an image, a folder of images, a CSV of pixels or arrays, in batches.

Writes a CSV (`zoo.cli.predict.outputs`) and, for images, a contact sheet of the wrong and the least certain ones
(`zoo.cli.predict.sheet`).
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple, cast

import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from zoo.checkpoints.checkpoint import CheckpointInfo, locate, open_checkpoint
from zoo.checkpoints.files import check_output, is_stream, replacing
from zoo.cli.checkpoint_task import is_multi_label, output_probabilities, task_class
from zoo.cli.predict import image_lists, image_names, inputs, outputs, tables
from zoo.cli.predict.checks import InputCheck, preprocess_for
from zoo.cli.predict.sheet import Summary
from zoo.config import hardware
from zoo.config.console import say, warn
from zoo.data.preprocess import Preprocess
from zoo.data.tables import pixel_columns
from zoo.protocols import Net, shape_text

Compute = Callable[[Tensor], Tensor]  # raw batch -> probabilities, values or features on the CPU, N x width


class Predictor(NamedTuple):
    """The function that computes the predictions of a checkpoint, and the column that they are written to."""

    compute: Compute
    column: str  # "feature" for features, else "value"; not used for classes


def predict(cfg: DictConfig) -> int:
    """Predict every input and write the CSV.

    Returns:
        The number of predictions.

    Raises:
        FileNotFoundError, ValueError: an invalid value, no such checkpoint or input, or an input that the net cannot
            take.
        FileExistsError: an output exists already.
    """
    # Refuse invalid values before anything is computed.
    _check(cfg)
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    net, about = open_checkpoint(cfg.checkpoint)
    source = Path(cfg.input)
    output = Path(cfg.output)
    encoding = tables.encoding_for(about, source)
    listed = None if encoding is not None else image_lists.find(source, about, header=str(cfg.header).lower())
    folder = image_names.folder(source)
    if listed is not None:
        files, folder, notes = listed.files, listed.folder, listed.notes
    else:
        files, notes = ([], []) if encoding is not None else inputs.find(source)
    preprocess = preprocess_for(about.transforms(), files=bool(files), scale=cfg.scale, invert=cfg.invert)
    predictor = _predictor(net.to(device), about, preprocess, device, mirror_average=cfg.mirror_average)
    # An output to a device or a pipe has no folder for the contact sheet.
    multi_label = is_multi_label(about)
    has_sheet = cfg.sheet and files and about.classes and not multi_label and not is_stream(output)
    if has_sheet and preprocess.shape[0] not in (1, 3):
        has_sheet = False
        notes.append(f"no contact sheet: the images have {preprocess.shape[0]} channels, not 1 (gray) or 3 (RGB)")
    sheet = output.with_suffix(".png") if has_sheet else None
    _check_outputs(output, sheet, [*files, source, locate(cfg.checkpoint)[0]], overwrite=cfg.overwrite)

    # Choose the columns. Labels are known if the images are in subfolders named after classes.
    labels, notice = image_names.labels(files, source, about.classes) if listed is None else (listed.labels, "")
    if multi_label:
        labels, notice = {}, ""
    notes += [notice] if notice else []
    of_pixels = inputs.is_csv(source) and encoding is None and listed is None
    one_class = bool(about.classes) and not multi_label and cfg.top == 1  # in each row, as Kaggle's format needs
    as_kaggle = cfg.format == "kaggle" or (cfg.format == "auto" and of_pixels and one_class)
    top = cfg.top
    if about.classes and not multi_label and top > len(about.classes):
        top = len(about.classes)
        notes.append(f"top={cfg.top}: the checkpoint has {top} classes, so {top} are listed")
    columns = outputs.choose(
        "kaggle" if as_kaggle else "table",
        classes=about.classes,
        name_column="file" if files else "row",
        value_column=predictor.column,
        top=top,
        labeled=bool(labels),
        multi_label=multi_label,
        spreadsheet=cfg.spreadsheet,
    )

    # Real target values of a table are written in their original units, under the names of their columns.
    compute = predictor.compute
    if encoding is not None and encoding.kind == "values" and predictor.column == "value":
        compute = tables.original_values(compute, encoding)
        columns = tables.NamedValues(columns, encoding.targets)

    # Prepare to read the input batch by batch. Images are prefetched while the net computes.
    skipped: list[Exception] = []
    if files:
        read = inputs.reader(about, resize=cfg.resize)
        skip = skipped.append if cfg.on_bad_image == "skip" else None
        batches = inputs.read_images(files, folder, read, batch_size=cfg.batch_size, skip=skip)
    elif encoding is not None:
        header = str(cfg.header).lower()
        batches = tables.read(source, encoding, preprocess, header=header, batch_size=cfg.batch_size, note=notes.append)
    else:
        batches = inputs.read_table(
            source,
            preprocess,
            batch_size=cfg.batch_size,
            header=str(cfg.header).lower(),
            stated=cfg.scale is not None,
            note=notes.append,
        )

    # Write both files under temporary names; they appear once both are complete.
    summary = Summary(about.classes, multi_label=multi_label)
    check = InputCheck(preprocess, where=str(source), files=bool(files), stated=cfg.scale is not None)
    with ExitStack() as stack:
        temporary_sheet = stack.enter_context(replacing(sheet)) if sheet else None
        temporary = stack.enter_context(replacing(output))
        # The columns of a table have their own checks.
        checked = _checked(batches, check) if encoding is None else batches
        _write_csv(temporary, checked, compute, columns, labels, summary, draw=sheet is not None)
        notes += check.finish()
        if temporary_sheet:
            summary.draw(temporary_sheet, labeled=bool(labels))

    # Report what was written and what was skipped.
    for error in skipped:
        warn(f"skipped: {error}")
    _report(summary, output, sheet, labeled=bool(labels), skipped=len(skipped), notes=notes)
    if summary.formulas and not cfg.spreadsheet:
        rows = "1 row has" if summary.formulas == 1 else f"{summary.formulas:,} rows have"
        say(f"{rows} a name or class that a spreadsheet would run as a formula; spreadsheet=true makes it text")
    return summary.count


def _check(cfg: DictConfig) -> None:
    """Raise ValueError or FileExistsError for invalid values, before anything is read."""
    # The output is always a CSV, so another suffix is a mistake.
    check_output(cfg.output, overwrite=cfg.overwrite, suffixes=[".csv"])
    if cfg.format not in ("auto", "table", "kaggle"):
        raise ValueError(f"format={cfg.format} must be auto, table or kaggle")
    if str(cfg.header).lower() not in pixel_columns.HEADERS:
        raise ValueError(f"header={cfg.header} must be auto, true or false")
    if cfg.on_bad_image not in ("refuse", "skip"):
        raise ValueError(f"on_bad_image={cfg.on_bad_image} must be refuse or skip")
    for key in ("batch_size", "top"):
        if cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]} must be >= 1")


def _check_outputs(output: Path, sheet: Path | None, inputs_read: Sequence[Path], *, overwrite: bool) -> None:
    """Raise ValueError if an output would replace an input, FileExistsError if the sheet exists."""
    check_output(output, overwrite=overwrite, suffixes=[".csv"], inputs=inputs_read)
    if sheet:
        instead = "another output=, or sheet=false to leave out the contact sheet"
        check_output(sheet, overwrite=overwrite, inputs=inputs_read, instead=instead)


def _predictor(
    net: nn.Module, about: CheckpointInfo, preprocess: Preprocess, device: torch.device, *, mirror_average: bool | None
) -> Predictor:
    """Choose what a checkpoint predicts: class probabilities, values, or the features of a net without a head.

    Args:
        net: the net, on ``device``.
        about: description of its checkpoint.
        preprocess: the preprocessing for the inputs.
        device: where to compute.
        mirror_average: average over an image and its mirror image; None: as in the config of the checkpoint.

    Raises:
        ValueError: ``mirror_average`` is True, but the checkpoint has no classes or does not take images.
    """
    # Only images can be mirrored, and only probabilities are averaged.
    if mirror_average and not about.classes:
        raise ValueError("mirror_average=true averages class probabilities; this checkpoint has no classes")
    if mirror_average and len(preprocess.shape) != 3:
        raise ValueError(f"mirror_average=true needs images; the checkpoint takes {shape_text(preprocess.shape)}")

    # Convolutions are fastest in the channels-last memory format.
    model = net.to(memory_format=torch.channels_last)
    read = output_probabilities(about)
    average = about.task.get("mirror_average", False) if mirror_average is None else mirror_average

    def values(raw: Tensor) -> Tensor:
        outputs: Tensor = model(preprocess(raw.to(device)))
        return outputs.float().cpu()

    def features(raw: Tensor) -> Tensor:
        return cast(Net, model).encode(preprocess(raw.to(device))).float().cpu()

    def class_probabilities(raw: Tensor) -> Tensor:
        p = read(values(raw))  # N x classes
        if not average:
            return p
        return (p + read(values(raw.flip(-1)))) / 2

    if about.classes:
        return Predictor(class_probabilities, "value")
    # Without classes, a regression predicts values. Other nets have no trained outputs, only features.
    if task_class(about).targets == "values":
        return Predictor(values, "value")
    if not isinstance(model, Net):
        raise ValueError(f"{about.file}: it has no classes, and {type(model).__name__} has no method encode")
    return Predictor(features, "feature")


def _checked(batches: inputs.Batches, check: InputCheck) -> inputs.Batches:
    """The same batches; ``check`` sees each of them first."""
    for names, raw in batches:
        check.add(raw)
        yield names, raw


def _write_csv(
    path: Path,
    batches: inputs.Batches,
    compute: Compute,
    columns: outputs.Columns,
    labels: dict[str, str],
    summary: Summary,
    *,
    draw: bool,
) -> None:
    """Predict batch by batch and write the rows.

    ``summary`` counts the predictions and, with ``draw``, keeps images for the contact sheet.
    """
    # File names may contain bytes that are not valid text; they are written unchanged.
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file, torch.inference_mode():
        for names, raw in batches:
            predictions = compute(raw)  # N x width
            if not predictions.isfinite().all():
                first = names[int((~predictions.isfinite()).any(1).nonzero()[0])]
                raise ValueError(
                    f"the predictions of {first} are NaN or Inf; check the input, or use another checkpoint"
                )
            batch_labels = [labels[name] for name in names] if labels else []
            # The number of columns is known once there are predictions.
            if not summary.count:
                outputs.write_rows(file, [columns.header(predictions.shape[1])])
            outputs.write_rows(file, columns.rows(names, predictions, batch_labels))
            summary.add(names, raw if draw else None, predictions, batch_labels)
        if not summary.count:
            outputs.write_rows(file, [columns.header(1)])


def _report(
    summary: Summary, output: Path, sheet: Path | None, *, labeled: bool, skipped: int, notes: Sequence[str]
) -> None:
    """Print what was written."""
    # One line, with the parts that apply.
    parts = [f"{summary.count:,} prediction{'' if summary.count == 1 else 's'} in {output}"]
    if labeled:
        parts.append(f"{summary.right:,} of {summary.count:,} right ({summary.right / summary.count:.1%})")
    if skipped:
        parts.append(f"{skipped:,} skipped")
    if sheet:
        parts.append(f"contact sheet in {sheet}")
    say(", ".join(parts))
    for note in notes:
        say(f"note: {note}")
