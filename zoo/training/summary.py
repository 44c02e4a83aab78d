"""The lines that ``zoo train`` prints before training starts: the data, how they are scaled, and what is trained."""

import textwrap
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import fields

from torch import Tensor, nn

from zoo.data.augment import Augment
from zoo.data.image_files import ImageFiles
from zoo.data.preprocess import Preprocess
from zoo.data.splits import UNLABELED, InMemory, Splits
from zoo.protocols import shape_text
from zoo.tasks.supervised import SupervisedTask
from zoo.tasks.task import Task
from zoo.training import pseudo_labels, stages, trainer_settings
from zoo.training.plan import Plan, StagePlan

WIDTH = 80  # columns
LISTED = 6  # maximum number of classes that are all listed; of more, only the smallest and the largest are named
IMBALANCE = 2.0  # minimum ratio of the largest class to the smallest that is reported as unbalanced
MAX_NAME = 24  # characters of a class name


def lines(plan: Plan) -> list[str]:
    """The summary of a plan: about ten lines of at most 80 columns, unless a single word is longer."""
    # The data: how many examples, from where, of which classes.
    entries = [(name, _split(plan.splits, name)) for name in ("train", "validation", "test")]
    entries += [("labels" if plan.splits.multi_label else "classes", _classes(plan.splits))]

    # How they become inputs of the net.
    entries += [("values", _values(plan.splits, plan.preprocess))]
    if len(plan.splits.shape) == 3:
        entries += [("images", _images(plan))]

    # What is trained. Tasks are built on a copy, since some change the net.
    total = sum(parameter.numel() for parameter in plan.net.parameters())
    architecture = plan.net_config.get("architecture")
    name = plan.model if architecture in (None, plan.model) else f"{plan.model} ({architecture})"
    weights = f"; {plan.weights}" if plan.weights else ""
    entries += [("model", f"{name}: {_count(total, 'parameter')}{weights}")]
    net = deepcopy(plan.net)
    entries += [(f"stage {stage.name}", _stage(stage, net, plan)) for stage in plan.stages]

    # What the trainer config and the callbacks change.
    settings = trainer_settings.texts(plan.settings)
    entries += [("trainer", "; ".join(settings))] if settings else []
    callbacks = [f"{name} ({node['_target_'].rpartition('.')[2]})" for name, node in plan.callbacks.items()]
    entries += [("callbacks", ", ".join(callbacks))] if callbacks else []
    width = max(len(label) for label, _ in entries) + 2
    return [line for label, text in entries for line in _wrapped(label.ljust(width), text)]


def _wrapped(label: str, text: str) -> list[str]:
    """``label`` and a text in a column of its own, in lines of at most `WIDTH` columns."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=label,
        subsequent_indent=" " * len(label),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _split(splits: Splits, name: str) -> str:
    """The number of examples of a split, and where it comes from."""
    examples = splits.existing().get(name)
    origin = splits.origins.get(name)
    if examples is None:
        return f"none: {origin}" if origin else "none"
    return _count(len(examples), "example") + (f": {origin}" if origin else "")


def _classes(splits: Splits) -> str:
    """The classes or labels with their numbers of training examples, or the number of target values."""
    if splits.num_targets:
        return f"none: {_count(splits.num_targets, 'real target value')} for each example"
    if not splits.classes:
        return "none: the data have no labels"
    labels = splits.train.labels()
    if splits.multi_label:
        counts = labels.sum(dim=0).long().tolist()
    else:
        counts = labels.bincount(minlength=len(splits.classes)).tolist()
    by_count = sorted(range(len(counts)), key=lambda label: counts[label])
    smallest, largest = by_count[0], by_count[-1]

    # List a few classes; of many, only the extremes.
    if len(counts) <= LISTED:
        listed = ", ".join(f"{_name(splits, label)} {count:,}" for label, count in enumerate(counts))
        text = f"{len(counts)}, with training examples: {listed}"
    else:
        text = (
            f"{len(counts)}, with {counts[smallest]:,} (class {_name(splits, smallest)}) to {counts[largest]:,} "
            f"(class {_name(splits, largest)}) training examples each"
        )

    # Point out classes without examples, and imbalance.
    empty = counts.count(0)
    if empty:
        return f"{text}; {empty} without any"
    if splits.multi_label:
        return f"{text}; {labels.sum(dim=1).mean():.2f} labels per example"
    ratio = counts[largest] / counts[smallest]
    return f"{text}; unbalanced, {ratio:.1f} to 1" if ratio >= IMBALANCE else text


def _name(splits: Splits, label: int) -> str:
    """The name of a class: control characters escaped, and not too long."""
    characters = [c if c.isprintable() else c.encode("unicode_escape").decode() for c in splits.classes[label]]
    name = "".join(characters)
    return name if len(name) <= MAX_NAME else name[: MAX_NAME - 1] + "…"


def _values(splits: Splits, preprocess: Preprocess) -> str:
    """The range of the raw values, and how they are scaled."""
    # A loader may yield any values; all values of image files are bytes.
    text = "bytes of image files, 0 to 255"
    if splits.train.loader() is not None:
        text = "as the DataLoader yields them"
    if isinstance(splits.train, InMemory):
        low, high = (float(value) for value in splits.train.x.aminmax())
        kind = "bytes" if not splits.train.x.is_floating_point() else "real numbers"
        text = f"{kind}, {low:g} to {high:g}"
    text += f", divided by {preprocess.scale:g}" if preprocess.scale != 1 else ", not scaled"

    if preprocess.whitening != "none":
        return f"{text}, then whitened by the {preprocess.whitening} filter, each image to mean square 1"
    # Values are standardized with one mean and std for all, or with one for each channel or feature.
    if preprocess.mean == (0.0,) * len(preprocess.mean) and preprocess.std == (1.0,) * len(preprocess.std):
        return text
    if len(preprocess.mean) > 3:
        return f"{text}, then standardized: each feature to mean 0 and std 1"
    means, stds = (", ".join(f"{value:.3g}" for value in values) for values in (preprocess.mean, preprocess.std))
    return f"{text}, then standardized with mean {means} and std {stds}"


def _images(plan: Plan) -> str:
    """The size of the images, which key sets it, how they are resized to it, and the augmentation."""
    splits, preprocess, augment = plan.splits, plan.preprocess, plan.augment
    text = f"{shape_text(splits.shape)} (channels x height x width"
    if isinstance(splits.train, ImageFiles):
        height, width = splits.shape[1:]
        size = plan.dataset_config.get("size")
        text += ", from dataset.shape; dataset.size= sets another)" if size is None else ", from dataset.size)"
        text += f"; {splits.train.sizes}" if splits.train.sizes else ""
        if preprocess.side is None:
            text += f", stretched to {height}x{width}"
        else:
            text += f", shorter side resized to {preprocess.side}, then its center cropped to {height}x{width}"
    else:
        text += ")"
    # The options that are switched on. ``magnitude`` alone switches nothing on, so it is not listed.
    default = Augment(magnitude=augment.magnitude)
    options = [
        f"{field.name} {_option(augment, field.name)}"
        for field in fields(Augment)
        if getattr(augment, field.name) != getattr(default, field.name)
    ]
    return f"{text}; augmentation: {', '.join(options) or 'none'}"


def _option(augment: Augment, name: str) -> str:
    value = getattr(augment, name)
    return "on" if value is True else f"{value:g}"


def _stage(stage: StagePlan, net: nn.Module, plan: Plan) -> str:
    """How long a stage trains, and which parameters."""
    # One fit, or one for each layer.
    tasks = [task for _, task in stages.fits(stage, net)]
    steps = stage.total_steps // stage.epochs
    optimizer = stage.optimizer["_target_"].rpartition(".")[2]
    each = f" for each of {len(tasks)} layers" if len(tasks) > 1 else ""
    text = (
        f"{type(tasks[0]).__name__}, {_count(stage.epochs, 'epoch')} of {_count(steps, 'step')}{each}, "
        f"batch size {stage.batch_size:,}, {optimizer} with lr {stage.optimizer['lr']:g}"
    )
    if stage.pseudo_labels is not None:
        labels = stage.splits.train.labels()
        labeled = int((labels != UNLABELED).sum())
        chosen = pseudo_labels.count(labels, stage.pseudo_labels) - labeled
        text += f"; {labeled:,} examples keep their labels, {chosen:,} get pseudo-labels"
    if len(stage.splits.train) != len(plan.splits.train) and not plan.settings.overfit_batches:
        text += f"; {len(stage.splits.train):,} examples keep their labels"
    if stage.fit_head:
        text += "; before that, the head is fitted to the features of the training examples"
    return f"{text}; {_trained(tasks, net, stage.epochs)}"


def _trained(tasks: Sequence[Task], net: nn.Module, epochs: int) -> str:
    """The parameters that are trained in some of the epochs, and the layers that are frozen at first or always."""
    # In fine-tuning, groups of layers may be frozen at first, or for longer than there are epochs.
    trained: set[Tensor] = set()
    later, never = [], []
    for task in tasks:
        if not isinstance(task, SupervisedTask):
            trained.update(task.trainable_parameters())
            continue
        for group in task.layer_groups:
            if group.begin is None or group.begin >= epochs:
                never.append(group.name)
                continue
            trained.update(group.parameters)
            if group.begin > 0:
                later.append(group.name)

    # Count the parameters, and name the groups.
    total = sum(parameter.numel() for parameter in net.parameters())
    count = sum(parameter.numel() for parameter in trained)
    text = "trains all parameters" if count == total else f"trains {count:,} of {_count(total, 'parameter')}"
    text += f"; frozen at first: {_few(later)}" if later else ""
    return text + (f"; frozen in all epochs: {_few(never)}" if never else "")


def _few(names: Sequence[str]) -> str:
    """All names, or the first and the number of the others."""
    return ", ".join(names) if len(names) <= LISTED else f"{', '.join(names[:2])} and {len(names) - 2} more"


def _count(number: int, noun: str) -> str:
    """2, "example" -> "2 examples"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
