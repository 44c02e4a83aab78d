"""Keys of earlier versions with their new names, for error messages and older checkpoints."""

from collections.abc import Collection

KEYS = {
    "schedule": "order",  # key of a stage: joint or layerwise
    "inputs": "input_scaling",  # key of a model
    "weights_head": "pretrained_head",  # reset or keep
    "codes": "latent_map",
    "flips": "mirror_average",  # key of zoo predict, argument of Classification
    "labels": "labeled_examples",  # key of a dataset
    "grey": "gray",  # argument of TorchvisionNet
}
VALUES = {"pretrained_head": {"fresh": "reset", "load": "keep"}}
NOTES = {"order": "joint or layerwise"}

# Arguments of Lightning's Trainer that other keys of the zoo set.
STAGE = "model.stages.STAGE"
ELSEWHERE = {
    "trainer.accelerator": "accelerator=, such as accelerator=gpu",
    "trainer.callbacks": "callbacks=",
    "trainer.default_root_dir": "hydra.run.dir=",
    "trainer.devices": "accelerator.devices=",
    "trainer.enable_progress_bar": "progress=",
    "trainer.fast_dev_run": "debug=fdr",
    "trainer.gradient_clip_val": f"{STAGE}.gradient_clip=",
    "trainer.logger": "logger=",
    "trainer.max_epochs": "epochs=",
    "trainer.min_epochs": "epochs=",
    "trainer.max_steps": "epochs=",
    "trainer.min_steps": f"{STAGE}.min_steps=",
    "trainer.num_nodes": "accelerator.num_nodes=",
    "trainer.precision": "accelerator.precision=",
    "trainer.strategy": "accelerator.strategy=",
}


def elsewhere(key: str) -> str | None:
    """One line that names the key to use in place of an argument of Lightning's Trainer; None for any other key."""
    return f"{key}: no such key; use {ELSEWHERE[key]}" if key in ELSEWHERE else None


def message(key: str, siblings: Collection[object]) -> str | None:
    """One line that names the new key, or None.

    Args:
        key: the unknown key with its path, such as ``model.inputs``.
        siblings: the valid keys at the same level. The new name must be one of them: ``inputs`` is an old key of a
            model, but elsewhere only a misspelling of ``input``.
    """
    # Look up the last part of the key, which is the unknown one.
    path, dot, name = key.rpartition(".")
    new = KEYS.get(name)
    if new is None or new not in siblings:
        return None
    # Name the renamed values as well, or the values that the new key takes.
    values = ", ".join(f"{old} is now {now}" for old, now in VALUES.get(new, {}).items())
    note = values or NOTES.get(new, "")
    return f"{key} was renamed: use {path}{dot}{new}" + (f" ({note})" if note else "")
