"""The summary of ``zoo predict``: counts, and the contact sheet of the wrong and the least certain images."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from zoo.cli.predict.outputs import is_formula, label_list
from zoo.plots import images as plots

SHOWN = 24  # number of images on the sheet


class Shown(NamedTuple):
    """An image for the sheet. Images are sorted by the first three fields."""

    right: bool  # True if the prediction is right, or if the label is not known
    probability: float  # of the predicted class
    position: int  # in the input
    caption: list[str]
    tile: Tensor  # C x H x W bytes


class Summary:
    """Counts predictions, correct ones and names that look like formulas; keeps the `SHOWN` images for the sheet.

    Wrong predictions come first, then the least certain ones.

    Args:
        classes: the classes of the checkpoint. If empty, predictions are only counted.
        multi_label: whether an input may have any number of these labels. Predictions are then only counted.
    """

    def __init__(self, classes: Sequence[str], *, multi_label: bool = False):
        self.classes = () if multi_label else classes
        self.labels = classes if multi_label else ()
        self.count = 0
        self.right = 0
        self.formulas = 0  # number of inputs whose name or class a spreadsheet would run as a formula
        self.formula_classes = [is_formula(name) for name in classes]
        self.shown: list[Shown] = []

    def add(self, names: Sequence[str], raw: Tensor | None, outputs: Tensor, labels: Sequence[str]) -> None:
        """Add a batch.

        Args:
            names: names of the inputs.
            raw: N x C x H x W bytes, if they are to be drawn.
            outputs: probabilities, N x classes; without classes, any outputs, which are only counted.
            labels: the true classes, or empty if they are not known.
        """
        formulas = [is_formula(name) for name in names]
        if self.classes:
            p, numbers = outputs.max(dim=1)
            formulas = [found or self.formula_classes[k] for found, k in zip(formulas, numbers.tolist(), strict=True)]
            predicted = [self.classes[k] for k in numbers.tolist()]
            self.right += sum(guess == label for guess, label in zip(predicted, labels, strict=False))
            if raw is not None:
                self._keep(names, raw, predicted, p.tolist(), labels)
        if self.labels:
            formulas = [
                found or is_formula(label_list(self.labels, row))
                for found, row in zip(formulas, outputs.tolist(), strict=True)
            ]
        self.formulas += sum(formulas)
        self.count += len(names)

    def _keep(
        self,
        names: Sequence[str],
        raw: Tensor,
        predicted: Sequence[str],
        p: Sequence[float],
        labels: Sequence[str],
    ) -> None:
        """Keep the images of a batch that are among the first `SHOWN` so far."""
        for i, name in enumerate(names):
            right = not labels or predicted[i] == labels[i]
            rank = (right, p[i], self.count + i)
            if len(self.shown) == SHOWN and rank >= self.shown[-1][:3]:
                continue
            caption = [name, f"{predicted[i]} {p[i]:.3f}"]
            if not right:
                caption.append(f"true {labels[i]}")
            # A copy: a view would keep the whole batch in memory.
            candidates = [*self.shown, Shown(*rank, caption, raw[i].clone())]
            self.shown = sorted(candidates, key=lambda shown: shown[:3])[:SHOWN]

    def draw(self, path: Path, *, labeled: bool) -> None:
        """Write the sheet as a PNG; ``labeled``: whether the true classes are known."""
        plots.sheet(
            [shown.tile / 255 for shown in self.shown],
            [shown.caption for shown in self.shown],
            path,
            title=self._title(labeled=labeled),
            wrong=[not shown.right for shown in self.shown],
        )

    def _title(self, *, labeled: bool) -> str:
        """The title of the sheet."""
        # Without labels, the images are sorted by their probability alone.
        if not labeled:
            if self.count > SHOWN:
                return f"the {SHOWN} least certain of {self.count:,}"
            return f"all {self.count}, the least certain first" if self.count > 1 else ""
        # With labels, wrong predictions come first.
        wrong = self.count - self.right
        title = f"{wrong:,} of {self.count:,} wrong"
        if wrong > SHOWN:
            return f"{title}, the {SHOWN} least certain of them"
        if wrong < len(self.shown):
            return f"{title}, then the least certain"
        return title
