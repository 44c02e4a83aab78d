"""The labels of all training examples of a trainer, from which tasks compute the weights of classes."""

from typing import Any, Protocol, cast, runtime_checkable

import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset

from zoo.data.datamodule import DataModule


@runtime_checkable
class HasLabels(Protocol):
    """A dataset such as the zoo's (`zoo.data.splits.Examples`)."""

    def labels(self) -> Tensor: ...


@runtime_checkable
class HasTargets(Protocol):
    """A dataset such as torchvision's."""

    targets: Any


def training_labels(trainer: Trainer, *, fix: str) -> Tensor:
    """The labels of all training examples: N class numbers, or N x K zeros and ones.

    Args:
        trainer: a trainer that has loaded its training data.
        fix: what to do if the labels cannot be read, for the message.

    Raises:
        ValueError: the dataset is of a kind whose labels cannot be read without reading every example.
    """
    # Image files that are augmented when they are read have labels in the splits only.
    data = cast(Any, trainer).datamodule  # an attribute that Lightning sets without declaring it
    if isinstance(data, DataModule):
        return data.splits.train.labels()
    loader = trainer.train_dataloader
    labels = _labels(loader.dataset) if isinstance(loader, DataLoader) else None
    if labels is None:
        name = type(loader.dataset if isinstance(loader, DataLoader) else loader).__name__
        raise ValueError(f"the labels of all examples of a {name} are not known; {fix}")
    return labels


def _labels(dataset: Dataset[Any]) -> Tensor | None:
    """The labels of a dataset; None if it is of an unknown kind."""
    if isinstance(dataset, HasLabels):
        return dataset.labels()
    if isinstance(dataset, TensorDataset) and len(dataset.tensors) > 1:
        return dataset.tensors[1]
    if isinstance(dataset, HasTargets):
        return torch.as_tensor(dataset.targets)
    # A part of another dataset, or several datasets in a row.
    if isinstance(dataset, Subset):
        whole = _labels(dataset.dataset)
        return None if whole is None else whole[torch.as_tensor(dataset.indices)]
    if isinstance(dataset, ConcatDataset):
        parts = [_labels(part) for part in dataset.datasets]
        known = [part for part in parts if part is not None]
        return torch.cat(known) if len(known) == len(parts) else None
    return None
