"""What a report shows: plain values, and single predictions with their images. Imports `zoo.analysis` only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zoo.analysis.calibration import Bin


@dataclass(frozen=True)
class Prediction:
    """The prediction for one example, with its image.

    Attributes:
        name: the path of its file, or its number.
        predicted, true: names of classes.
        p: probability of the predicted class.
        image: a ``data:`` URI of the image, with its Grad-CAM map beside it if the net has one; empty if the input is
            not an image.
    """

    name: str
    predicted: str
    true: str
    p: float
    image: str = ""


@dataclass(frozen=True)
class Report:
    """The content of a report.

    Attributes:
        name: name of the model.
        examples: the examples that were evaluated, in words.
        prefix: how the names of their metrics begin: train, val, test or all.
        metrics: all metrics by name.
        saved: the metrics of the same examples when the checkpoint was saved, if they are known.
        statistics: precision, recall, F1 and support of each class or label, as in `zoo.training.class_statistics`.
        classes: names of the classes; empty without a confusion matrix.
        confusion: number of examples of each true class (row) that were predicted as each class (column).
        bins: the bins of the reliability diagram; empty without one.
        wrong: wrong predictions, the most confident first.
        uncertain: right predictions, the least confident first.
        explained: whether the images have Grad-CAM maps.
        curves: a PNG of the training curves, or None.
        commands: comment -> command, in the order of their use.
        config: the config as YAML.
        facts: where the checkpoint comes from: term -> text.
        notes: notes about the data, one line each.
    """

    name: str
    examples: str
    prefix: str
    metrics: Mapping[str, float]
    saved: Mapping[str, float] = field(default_factory=dict)
    statistics: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    classes: Sequence[str] = ()
    confusion: Sequence[Sequence[int]] = ()
    bins: Sequence[Bin] = ()
    wrong: Sequence[Prediction] = ()
    uncertain: Sequence[Prediction] = ()
    explained: bool = False
    curves: Path | None = None
    commands: Mapping[str, str] = field(default_factory=dict)
    config: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)
    notes: Sequence[str] = ()
