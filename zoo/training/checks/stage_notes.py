"""What a user is told about the stages before training starts; a part of `zoo.training.checks`."""

from omegaconf import DictConfig

from zoo.tasks.task import Task


def of_random_weights(enabled: dict[str, DictConfig]) -> list[str]:
    """One note for each key that only makes sense for pretrained weights, in a run from random weights."""
    notes = []
    for number, (name, stage) in enumerate(enabled.items()):
        if stage.task.get("freeze_statistics"):
            what = "freeze_statistics=true keeps batch normalization at its initial mean 0 and variance 1"
            notes.append(f"model.stages.{name}.task.{what}: few nets train with it; set it to false, or set weights=")
        if stage.interpolation is not None and number == 0:
            what = f"interpolation={stage.interpolation} mixes the trained weights with random ones"
            notes.append(f"model.stages.{name}.{what}; set it to null, or set weights=")
    return notes


def of_layers(name: str, task: Task, epochs: int) -> list[str]:
    """The first epoch in which each group of layers of a fit trains; none if all train from the start.

    A group that would start after the last epoch never trains, which is a warning if its epoch was given.
    """
    first_epochs = task.training_plan()
    if not set(first_epochs.values()) - {0}:
        return []
    starts = [group for group, begin in first_epochs.items() if begin is not None and begin < epochs]
    never = [group for group in first_epochs if group not in starts]
    late = [group for group in never if first_epochs[group] is not None]

    # Name each group that trains. In a deep net, many groups may never train: name only the first.
    parts = [f"{group} from epoch {first_epochs[group]}" for group in starts]
    notes = [f"{name}: {', '.join([*parts, *([_first_of(never) + ' never'] if never else [])])}"]
    if late:
        notes.append(
            f"warning: {name}: {_first_of(late)} never train{'s' if len(late) == 1 else ''}, since unfreeze_at is not "
            f"below epochs={epochs}; set more epochs or an earlier unfreeze_at"
        )
    return notes


def _first_of(names: list[str]) -> str:
    """The first name, and the number of the others."""
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} below"
