"""From splits to batches on the device: order, transfer, augmentation, preprocessing.

All randomness is a function of (seed, epoch, batch, rank), or of (seed, epoch, index) for what worker processes draw:
no other random number generator is read or advanced.
"""

from collections.abc import Iterator
from math import ceil, prod
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from zoo.data.augment import Augment
from zoo.data.preprocess import Preprocess
from zoo.data.splits import AugmentedExamples, Examples, InMemory, Splits, seed_from

Batch = tuple[Tensor, Tensor]
# Batches for evaluation. Larger ones do not fit into the processor's cache and take longer.
EVALUATION_BATCH = 250
# The raw values in such a batch are limited too, or the feature maps of large images would fill the memory.
EVALUATION_VALUES = 2**23


class Shuffle(Sampler[int]):
    """A permutation of the examples that is a function of (seed, epoch), of which each process takes an equal share.

    Up to ``processes - 1`` examples are left out of an epoch, so that the shares are equal. Lightning calls
    `set_epoch` before each epoch.

    Args:
        length: number of examples.
        seed: of the order.
        process: rank of this process.
        processes: number of processes.
        epoch: the epoch of the first pass.
        seen: number of examples that the first pass skips, because a run is resumed within that epoch.
    """

    def __init__(self, length: int, *, seed: int, process: int = 0, processes: int = 1, epoch: int = 0, seen: int = 0):
        self.length = length
        self.seed = seed
        self.process = process
        self.processes = processes
        self.epoch = epoch
        self.seen = seen

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.processes

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch))
        # All processes draw the same permutation; each takes every n-th index of it, starting at its rank.
        order = torch.randperm(self.length, generator=generator)
        seen = self.seen
        self.seen = 0  # only the first pass skips
        yield from order[self.process :: self.processes][seen : len(self)].tolist()


class WithEpoch(Sampler[tuple[int, int]]):
    """The same order as pairs: each index with the epoch in which it is read."""

    def __init__(self, order: Shuffle):
        self.order = order

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        # All indices of a pass belong to the epoch in which it starts.
        epoch = self.order.epoch
        yield from ((index, epoch) for index in self.order)


class DataModule(LightningDataModule):
    """Data loaders over `Splits`.

    Datasets in memory are moved to the accelerator once and use no worker processes.

    Args:
        splits: from the ``load`` of a source.
        preprocess: from raw values to the input of the net.
        augment: distortions of training batches.
        batch_size: number of examples in a training batch, over all processes.
        seed: of the order and of the distortions.
        workers: number of processes that read datasets that are not in memory.
        drop_single: leave out a last training batch of one example: batch normalization needs at least two.

    Raises:
        ValueError: mixup or CutMix of examples that have no classes.
    """

    def __init__(
        self,
        splits: Splits,
        *,
        preprocess: Preprocess,
        augment: Augment | None = None,
        batch_size: int = 128,
        seed: int = 0,
        workers: int = 0,
        drop_single: bool = False,
    ):
        super().__init__()
        augment = augment or Augment()
        if augment.mixes and not splits.classes:
            raise ValueError("dataset.augment.mixup and cutmix blend classes; these data have real target values")
        self.splits = splits
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.drop_single = drop_single

        # A source may apply some distortions where it reads the examples. The others are applied on the device.
        self.augmented = splits.train.augmented(augment, seed)
        self.device_augment = augment if self.augmented is None else self.augmented.remaining

    def train_dataloader(self) -> DataLoader[Batch]:
        # Each process gets its share of each batch, and of the examples.
        process, processes = self._rank_and_world_size()
        batch_size = -(-self.batch_size // processes)

        # A resumed run begins within an epoch, after the batches that it has seen.
        epoch, batches_seen = self._progress()
        sampler = Shuffle(
            len(self.splits.train),
            seed=self.seed,
            process=process,
            processes=processes,
            epoch=epoch,
            seen=batches_seen * batch_size,
        )
        drop_last = batches(len(sampler), batch_size, drop_single=self.drop_single) * batch_size < len(sampler)
        # A source that augments needs to know the epoch of each example.
        if self.augmented is not None:
            return self._loader(self.augmented, WithEpoch(sampler), batch_size, drop_last=drop_last)
        return self._loader(self.splits.train, sampler, batch_size, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._in_order(self.splits.validation, "validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._in_order(self.splits.test, "test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """A raw batch on the device -> augmented (in training only) and preprocessed.

        Returns:
            x, N x shape of the net's input; y, N class numbers or N x num_targets values, or with mixup and CutMix
            N x num_outputs probabilities.
        """
        # Evaluation sees the plain images.
        x, y = batch
        trainer = self.trainer
        if not self.device_augment.active or trainer is None or not trainer.training:
            return self.preprocess(x), y

        # Seed a generator for this batch alone, so that a resumed run draws the same numbers.
        position = (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx, trainer.global_rank)
        generator = torch.Generator(x.device).manual_seed(seed_from(self.seed, *position))
        x = self.preprocess(self.device_augment(x, generator))
        return self.device_augment.mix(x, y, self.splits.num_outputs, generator)

    def _in_order(self, examples: Examples | None, split: str) -> DataLoader[Batch]:
        """A loader for evaluation: all examples in their own order."""
        if examples is None:
            raise ValueError(f"this dataset has no {split} split")
        process, processes = self._rank_and_world_size()
        # Each process reads every n-th example. Nothing is padded, so every example counts once.
        share = range(process, len(examples), processes)
        # Large images get smaller batches.
        batch_size = max(1, min(EVALUATION_BATCH, EVALUATION_VALUES // prod(self.splits.shape)))
        return self._loader(examples, cast("Sampler[int]", share), batch_size)

    def _loader(
        self,
        examples: Examples | AugmentedExamples,
        sampler: Sampler[int] | Sampler[tuple[int, int]],
        batch_size: int,
        *,
        drop_last: bool = False,
    ) -> DataLoader[Batch]:
        # A dataset in memory is moved to the accelerator, where batches are gathered without workers.
        workers = self.workers
        if isinstance(examples, InMemory):
            workers = 0
            if self.trainer is not None:
                examples = examples.to(self.trainer.strategy.root_device)
        # The source returns finished batches, so there is nothing to collate.
        return DataLoader(
            cast(Any, examples),
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=_finished_batch,
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=workers > 0,
            # With the default generator, every epoch would draw the base seed of the workers from the global one.
            generator=torch.Generator().manual_seed(seed_from(self.seed, "workers")),
        )

    def _rank_and_world_size(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _progress(self) -> tuple[int, int]:
        """The epoch in which training starts and the number of its batches seen already: (0, 0) unless resumed."""
        if self.trainer is None:
            return 0, 0
        # The counters of Lightning's loops, which a checkpoint restores.
        loop = self.trainer.fit_loop
        epochs = cast(Any, loop.epoch_progress)
        progress = cast(Any, loop.epoch_loop.batch_progress)
        return epochs.current.processed, 0 if progress.is_last_batch else progress.current.processed


def batches(count: int, batch_size: int, *, drop_single: bool) -> int:
    """Number of training batches in an epoch of ``count`` examples, see `DataModule`."""
    # True counts as 1. A first batch that is also the last one is never dropped.
    dropped = drop_single and count % batch_size == 1 < min(count, batch_size)
    return ceil(count / batch_size) - dropped


def _finished_batch(batch: Any) -> Any:
    """`__getitems__` has already collated the batch."""
    return batch
