"""The examples of several splits as one."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from zoo.data.image_files import ImageFiles, path_key
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory


@dataclass(frozen=True, eq=False)
class Combined(Examples):
    """The examples of several splits, one after another."""

    parts: tuple[Examples, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def batch(self, indices: Sequence[int]) -> tuple[Tensor, Tensor]:
        # Consecutive indices may be in different splits, so read each example alone. That costs little, since most of
        # the time goes into decoding files.
        batches = [part.batch([at]) for part, at in map(self.locate, indices)]
        return torch.cat([x for x, _ in batches]), torch.cat([y for _, y in batches])

    def labels(self) -> Tensor:
        return torch.cat([part.labels() for part in self.parts])

    def take(self, indices: Sequence[int]) -> "Combined":
        return Combined(tuple(part.take([at]) for part, at in map(self.locate, indices)))

    def renumbered(self, numbers: Tensor) -> "Combined":
        return Combined(tuple(part.renumbered(numbers) for part in self.parts))

    def with_labels(self, columns: Tensor) -> "Combined":
        return Combined(tuple(part.with_labels(columns) for part in self.parts))

    def relabeled(self, labels: Tensor) -> "Combined":
        # Each part gets its share of the labels.
        shares = torch.split(labels, [len(part) for part in self.parts])
        return Combined(tuple(part.relabeled(share) for part, share in zip(self.parts, shares, strict=True)))

    def with_preprocess(self, preprocess: Preprocess) -> "Combined":
        return Combined(tuple(part.with_preprocess(preprocess) for part in self.parts))

    def locate(self, index: int) -> tuple[Examples, int]:
        """The split of an example, and the index there."""
        at = int(index)
        for part in self.parts:
            if at < len(part):
                return part, at
            at -= len(part)
        raise IndexError(index)


def combined(parts: Sequence[Examples]) -> Examples:
    """The examples of several splits as one."""
    if len(parts) == 1:
        return parts[0]
    # Examples in memory stay there.
    in_memory = [part for part in parts if isinstance(part, InMemory)]
    if len(in_memory) == len(parts):
        return InMemory(torch.cat([part.x for part in in_memory]), torch.cat([part.y for part in in_memory]))
    return Combined(tuple(parts))


def name_of(examples: Examples, index: int) -> str:
    """The path of an example's file below the folder of the dataset; for examples without files, its number."""
    if isinstance(examples, Combined):
        return name_of(*examples.locate(index))
    if isinstance(examples, ImageFiles):
        return path_key(examples.files[index], examples.root).decode(errors="surrogateescape")
    return f"example {index}"
