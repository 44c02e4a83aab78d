"""Keys of earlier versions and what they are called now, for error messages and for older checkpoints."""

from collections.abc import Collection

KEYS = {
    "schedule": "order",  # of a stage: joint or layerwise
    "inputs": "input_scaling",  # of a model
    "weights_head": "pretrained_head",  # reset or keep
    "codes": "latent_map",
    "flips": "mirror_average",  # of zoo predict and of Classification
    "labels": "labeled_examples",  # of a dataset
    "grey": "gray",  # of TorchvisionNet
}
VALUES = {"pretrained_head": {"fresh": "reset", "load": "keep"}}
NOTES = {"order": "joint or layerwise"}


def message(key: str, siblings: Collection[object]) -> str | None:
    """One line that names the new key, or None.

    Args:
        key: the unknown key with its path, such as ``model.inputs``.
        siblings: the keys that exist in its place. The new name must be one of them: ``inputs`` is an old key of a
            model, but merely a misspelling of ``input`` elsewhere.
    """
    # Only the last part of a key is looked up: an unknown key ends where it is unknown.
    path, dot, name = key.rpartition(".")
    new = KEYS.get(name)
    if new is None or new not in siblings:
        return None
    # Values that were renamed as well are listed, since the config holds the old one.
    values = ", ".join(f"{old} is now {now}" for old, now in VALUES.get(new, {}).items())
    note = values or NOTES.get(new, "")
    return f"{key} was renamed: use {path}{dot}{new}" + (f" ({note})" if note else "")
