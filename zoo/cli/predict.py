"""``zoo predict``: label a picture, a folder of them, a CSV of pixels or an ``.npz``, one batch in memory at a time.

Writes a CSV with file (or row), class and probability - for regression the values, for a net without classes the
code - or, for a CSV of pixels, the ``ImageId,Label`` that Kaggle's Digit Recognizer takes. Of pictures there is also a
sheet to look at: the wrong ones, where the names of the folders are labels, and the least certain.
"""

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor, nn

from zoo.checkpoints.checkpoint import CheckpointInfo, open_checkpoint
from zoo.checkpoints.files import refuse_existing, replacing
from zoo.cli import predict_inputs as inputs
from zoo.config import hardware
from zoo.data.splits import shape_text
from zoo.losses import probabilities
from zoo.plots import images as pictures

Answer = Callable[[Tensor], Tensor]  # raw batch -> class probabilities, values or codes, on the CPU
Header = Callable[[int], list[str]]  # of the number of outputs
Rows = Callable[[list[str], Tensor, list[str]], Iterator[list[Any]]]  # of a batch: its names, answers and labels
SHOWN = 24  # pictures on the sheet


def predict(cfg: DictConfig) -> int:
    """Returns how many inputs were labelled.

    Raises:
        FileNotFoundError, ValueError: no such checkpoint or input, or an input that the net cannot take.
        FileExistsError: an output is there already.
    """
    _check(cfg)
    device = hardware.device(hardware.trainer_kwargs(cfg.accelerator))
    net, about = open_checkpoint(cfg.checkpoint)
    answer = _answer(net.to(device), about, device, mirror_average=cfg.mirror_average)
    source, output = Path(cfg.input), Path(cfg.output)
    files = inputs.find(source)
    sheet = output.with_suffix(".png") if cfg.sheet and files and about.classes else None
    _refuse_outputs(output, sheet, files or [source], overwrite=cfg.overwrite)
    labels, notice = inputs.labels(files, source, about.classes)
    if cfg.format == "kaggle" or (cfg.format == "auto" and source.suffix.lower() == ".csv"):
        header, rows_of = _kaggle(about, top=cfg.top)
    else:
        header, rows_of = _table(about, "file" if files else "row", top=cfg.top, labelled=bool(labels))
    skipped: list[Exception] = []
    if files:
        read, skip = inputs.reader(about, resize=cfg.resize), skipped.append if cfg.on_bad_image == "skip" else None
        batches = inputs.pictures(files, source, read, batch_size=cfg.batch_size, skip=skip)
    else:
        batches = inputs.table(source, about.transforms().shape, batch_size=cfg.batch_size)
    tally = _Tally(about.classes)
    with ExitStack() as stack:
        drawing = stack.enter_context(replacing(sheet)) if sheet else None
        temporary = stack.enter_context(replacing(output))
        # a file's name may hold bytes that are no text
        with (
            temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file,
            torch.inference_mode(),
        ):
            writer = csv.writer(file, lineterminator="\n")
            for names, raw in batches:
                answers, true = answer(raw), [labels[name] for name in names] if labels else []
                if not tally.count:
                    writer.writerow(header(answers.shape[1]))
                writer.writerows(rows_of(names, answers, true))
                tally.add(names, raw if sheet else None, answers, true)
            if not tally.count:
                writer.writerow(header(1))
        if drawing:
            tally.draw(drawing, labelled=bool(labels))
    for error in skipped:
        sys.stderr.write(f"left out: {error}\n")
    _report(tally, output, sheet, labelled=bool(labels), skipped=len(skipped), notice=notice)
    return tally.count


def _check(cfg: DictConfig) -> None:
    """Raise for what can be known before anything is read."""
    refuse_existing(cfg.output, overwrite=cfg.overwrite)
    if cfg.format not in ("auto", "table", "kaggle"):
        raise ValueError(f"format={cfg.format}: choose auto, table or kaggle")
    if cfg.on_bad_image not in ("refuse", "skip"):
        raise ValueError(f"on_bad_image={cfg.on_bad_image}: choose refuse or skip")
    for key in ("batch_size", "top"):
        if cfg[key] < 1:
            raise ValueError(f"{key}={cfg[key]}: at least 1 is needed")


def _refuse_outputs(output: Path, sheet: Path | None, read: Sequence[Path], *, overwrite: bool) -> None:
    """Raise where the sheet's place is taken, or an output would replace what is read."""
    if sheet == output:
        raise ValueError(f"output={output}: the sheet of pictures would go there; name a .csv, or add sheet=false")
    there = {path.resolve() for path in read}
    for path in (output, sheet):
        if path and path.resolve() in there:
            raise ValueError(f"{path} is part of the input and would be replaced; name another output=")
    if sheet:
        refuse_existing(sheet, overwrite=overwrite)


def _answer(net: nn.Module, about: CheckpointInfo, device: torch.device, *, mirror_average: bool | None) -> Answer:
    preprocess, loss = about.transforms(), about.task.get("loss", "cross_entropy")
    model: Any = net.to(memory_format=torch.channels_last)
    if mirror_average and not about.classes:
        raise ValueError("mirror_average=true averages the probabilities of classes; this checkpoint has none")
    if mirror_average and len(preprocess.shape) != 3:
        raise ValueError(f"mirror_average=true is for pictures; the checkpoint takes {shape_text(preprocess.shape)}")
    flipped = about.task.get("mirror_average", False) if mirror_average is None else mirror_average

    def values(raw: Tensor) -> Tensor:
        return model(preprocess(raw.to(device))).float().cpu()

    def code(raw: Tensor) -> Tensor:
        return model.encode(preprocess(raw.to(device))).float().cpu()

    def chances(raw: Tensor) -> Tensor:
        chance = probabilities(values(raw), loss)  # N x classes
        return (chance + probabilities(values(raw.flip(-1)), loss)) / 2 if flipped else chance

    if about.classes:
        return chances
    return code if _coded(about) else values


def _coded(about: CheckpointInfo) -> bool:
    """Whether a net has neither classes nor values: an untrained head has nothing to say."""
    return not about.classes and about.task.get("_target_") != "zoo.tasks.Regression"


def _table(about: CheckpointInfo, what: str, *, top: int, labelled: bool) -> tuple[Header, Rows]:
    if not about.classes:
        if top > 1:
            raise ValueError(f"top={top}: this checkpoint has no classes to rank")
        column = "code" if _coded(about) else "value"

        def header(width: int) -> list[str]:
            return [what, *(f"{column}{k}" for k in range(width))] if width > 1 else [what, column]

        def values(names: list[str], answers: Tensor, true: list[str]) -> Iterator[list[Any]]:
            for name, row in zip(names, answers.tolist(), strict=True):
                yield [name, *(f"{value:.6g}" for value in row)]

        return header, values

    if top > len(about.classes):
        raise ValueError(f"top={top}: the checkpoint knows {len(about.classes)} classes")
    places = [word for k in range(2, top + 1) for word in (f"class{k}", f"probability{k}")]
    columns = [what, "class", "probability", *places, *(["label"] if labelled else [])]

    def rows(names: list[str], answers: Tensor, true: list[str]) -> Iterator[list[Any]]:
        chances, numbers = answers.sort(dim=1, descending=True, stable=True)  # of equals the first, as argmax does
        best = zip(numbers[:, :top].tolist(), chances[:, :top].tolist(), strict=True)
        for i, (name, ranked) in enumerate(zip(names, best, strict=True)):
            cells = [cell for k, p in zip(*ranked, strict=True) for cell in (about.classes[k], f"{p:.6f}")]
            yield [name, *cells, *true[i : i + 1]]

    return lambda _: columns, rows


def _kaggle(about: CheckpointInfo, *, top: int) -> tuple[Header, Rows]:
    if not about.classes:
        raise ValueError("format=kaggle is for classes; this checkpoint predicts values, use format=table")
    if top > 1:
        raise ValueError(f"top={top}: format=kaggle has room for one class; use format=table")

    def rows(names: list[str], answers: Tensor, true: list[str]) -> Iterator[list[Any]]:
        for name, k in zip(names, answers.argmax(dim=1).tolist(), strict=True):
            yield [name, about.classes[k]]

    return lambda _: ["ImageId", "Label"], rows


class _Shown(NamedTuple):
    """A picture for the sheet; the first in order are those to look at first."""

    right: bool  # or not known to be wrong
    probability: float  # of the predicted class
    place: int  # in the input
    caption: list[str]
    tile: Tensor  # C x H x W bytes


class _Tally:
    """How many there were, how many were right, and the few pictures to look at first."""

    def __init__(self, classes: Sequence[str]):
        self.classes, self.count, self.right = classes, 0, 0
        self.shown: list[_Shown] = []

    def add(self, names: list[str], raw: Tensor | None, answers: Tensor, true: list[str]) -> None:
        """Take in a batch; ``raw`` are its pictures where they are to be drawn, ``true`` its labels where known."""
        chances, numbers = answers.max(dim=1)
        guesses = [self.classes[k] for k in numbers.tolist()] if self.classes else []
        self.right += sum(guess == label for guess, label in zip(guesses, true, strict=False))
        if raw is not None:
            for i, (name, guess, chance) in enumerate(zip(names, guesses, chances.tolist(), strict=True)):
                right = not true or guess == true[i]
                rank = (right, chance, self.count + i)
                if len(self.shown) == SHOWN and rank >= self.shown[-1][:3]:
                    continue
                caption = [name, f"{guess} {chance:.3f}", *([] if right else [f"true {true[i]}"])]
                tile = raw[i].clone()  # a view would keep the whole batch
                self.shown = sorted([*self.shown, _Shown(*rank, caption, tile)], key=lambda shown: shown[:3])[:SHOWN]
        self.count += len(names)

    def draw(self, path: Path, *, labelled: bool) -> None:
        """Write the sheet."""
        wrong, least = self.count - self.right, "least certain"
        title = (
            f"the {SHOWN} {least} of {self.count:,}" if self.count > SHOWN else f"all {self.count}, the {least} first"
        )
        if labelled:
            after = f", then the {least}" if wrong < SHOWN else f", the {SHOWN} {least} of them"
            title = f"{wrong:,} of {self.count:,} wrong" + (after if wrong < len(self.shown) or wrong > SHOWN else "")
        pictures.sheet(
            [shown.tile / 255 for shown in self.shown],
            [shown.caption for shown in self.shown],
            path,
            title=title,
            wrong=[not shown.right for shown in self.shown],
        )


def _report(tally: _Tally, output: Path, sheet: Path | None, *, labelled: bool, skipped: int, notice: str) -> None:
    said = [f"{tally.count:,} predictions in {output}"]
    if labelled:
        said.append(f"{tally.right:,} of {tally.count:,} right ({tally.right / tally.count:.1%})")
    if skipped:
        said.append(f"{skipped:,} left out")
    if sheet:
        said.append(f"what to look at first in {sheet}")
    text = "\n".join([", ".join(said), *([notice] if notice else [])])
    Console().print(text, soft_wrap=True, highlight=False, markup=False)


if __name__ == "__main__":
    from zoo.cli.main import main

    main("predict")
