"""Check that the data have the targets that a task needs; a part of `zoo.training.checks.stage_checks`."""

from zoo.data.splits import Splits
from zoo.tasks.task import Task

# The kinds of targets (`Task.targets`) in words.
WORDS = {
    "classes": "class labels",
    "labels": "multi-label targets (any number of labels per example)",
    "values": "real target values",
    "none": "no labels",
}


def check_targets(task: type[Task], splits: Splits, *, where: str, model_and_dataset: str) -> None:
    """Raise ValueError unless the data have the targets of a task.

    Args:
        task: the class of the task.
        splits: the data.
        where: the key of the stage, for messages.
        model_and_dataset: names of both, for messages.
    """
    # A classifier needs two classes, or two labels of which an example may have any number.
    if task.targets in ("classes", "labels") and len(splits.classes) == 1:
        found = f"the only label is {splits.classes[0]}"
        if not splits.multi_label:
            found = f"all examples have the label {splits.classes[0]}"
        raise ValueError(f"{model_and_dataset}: {task.__name__} needs at least two classes; {found}")

    # The data must have the kind of targets that the task needs.
    kind = "values" if splits.num_targets else "none"
    if splits.classes:
        kind = "labels" if splits.multi_label else "classes"
    if task.targets not in ("none", kind):
        # Without labels, only the stages that need none can be trained.
        reason = f" ({splits.unlabeled})" if splits.unlabeled else ""
        fix = "choose another stage or dataset"
        if task.targets == "classes" and kind == "values":
            fix = f"for a regression, set stage@{where}=regress; {_to_classes(splits)}"
        if task.targets == "values" and kind == "classes":
            fix = f"set stage@{where}=classify; {_to_values(splits)}"
        if {task.targets, kind} == {"classes", "labels"}:
            fix = f"set stage@{where}={'multi_label' if kind == 'labels' else 'classify'}"
        if kind == "none":
            fix = f"remove the stage with ~{where}, or choose a model that trains without labels, such as rbm"
        raise ValueError(
            f"{model_and_dataset}: {task.__name__} needs {WORDS[task.targets]}, the data have {WORDS[kind]}{reason}; "
            f"{fix}"
        )


def _to_classes(splits: Splits) -> str:
    """How real target values become classes."""
    if splits.table is not None:
        return "for a classification of your own table, set dataset.target_type=classes"
    return "for a classification, save class numbers as integers (for one-hot labels: y.argmax(1))"


def _to_values(splits: Splits) -> str:
    """How classes become real target values."""
    if splits.table is not None:
        return "for a regression of your own table, set dataset.target_type=values"
    return "for a regression, save the targets as floating-point numbers"
