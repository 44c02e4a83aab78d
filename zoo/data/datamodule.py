"""Turn splits into batches on the device: order, transfer, augmentation, preprocessing.

All random numbers are functions of (seed, epoch, batch, rank), or of (seed, epoch, index) if they are drawn in worker
processes. No other random number generator is used or advanced.
"""

from collections.abc import Iterator
from math import ceil, prod
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader, Sampler

from zoo.data.augment import Augment
from zoo.data.preprocess import Preprocess
from zoo.data.splits import AugmentedExamples, Examples, InMemory, Splits, seed_from
from zoo.data.workers import Batch, Loader

# Examples in a batch for evaluation. Larger batches do not fit into the processor's cache and take longer.
EVALUATION_BATCH = 250
# Maximum number of raw values in such a batch, so that the feature maps of large images fit in memory.
EVALUATION_VALUES = 2**23


class Shuffle(Sampler[int]):
    """A permutation of the examples that is a function of (seed, epoch); each process takes an equal share of it.

    Up to ``processes - 1`` examples are left out of an epoch, so that the shares are equal. Lightning calls
    `set_epoch` before each epoch.

    Args:
        length: number of examples.
        seed: seeds the order.
        process: rank of this process.
        processes: number of processes.
        epoch: the epoch of the first pass.
        seen: number of examples that the first pass skips, if a run is resumed within that epoch.
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
    """Yields (index, epoch) pairs in the order of `Shuffle`."""

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
        preprocess: the preprocessing from raw values to the input of the net.
        augment: the augmentation of training batches.
        batch_size: number of examples in a training batch, over all processes.
        seed: seeds the order and the augmentation.
        workers: number of processes that read datasets that are not in memory.
        drop_single: drop a last training batch of one example, since batch normalization needs at least two.

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
            raise ValueError("dataset.augment.mixup and cutmix need classes, which these data do not have")
        self.splits = splits
        self.preprocess = preprocess
        self.batch_size = batch_size
        self.seed = seed
        self.workers = workers
        self.drop_single = drop_single

        # A source may apply a part of the augmentation when it reads examples. The rest is applied on the device.
        self.augmented_train = splits.train.augmented(augment, seed)
        self.device_augment = augment if self.augmented_train is None else self.augmented_train.remaining

    def train_dataloader(self) -> DataLoader[Batch]:
        own = self.splits.train.loader()
        if own is not None:
            return cast("DataLoader[Batch]", own)
        # Divide the batch size between the processes. It is rounded up, so their batches together may be larger.
        process, processes = self._rank_and_world_size()
        batch_size = ceil(self.batch_size / processes)

        # A resumed run may start within an epoch, after the batches that it has seen.
        epoch, batches_seen = self._progress()
        sampler = Shuffle(
            len(self.splits.train),
            seed=self.seed,
            process=process,
            processes=processes,
            epoch=epoch,
            seen=batches_seen * batch_size,
        )
        # Drop the last batch if `batches` does not count it.
        drop_last = batches(len(sampler), batch_size, drop_single=self.drop_single) * batch_size < len(sampler)
        # A source that augments examples needs the epoch of each one.
        if self.augmented_train is not None:
            return self._loader(self.augmented_train, WithEpoch(sampler), batch_size, drop_last=drop_last)
        return self._loader(self.splits.train, sampler, batch_size, drop_last=drop_last)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._in_order(self.splits.validation, "validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._in_order(self.splits.test, "test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augment (in training only) and preprocess a raw batch on the device.

        Returns:
            x, N x shape of the net's input; y, N class numbers or N x num_targets values, or with mixup and CutMix
            N x num_outputs probabilities.
        """
        # Do not augment in evaluation.
        x, y = batch
        trainer = self.trainer
        if not self.device_augment.active or trainer is None or not trainer.training:
            return self.preprocess(x), y

        # Seed a new generator for each batch, so that a resumed run draws the same numbers.
        position = (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx, trainer.global_rank)
        generator = torch.Generator(x.device).manual_seed(seed_from(self.seed, *position))
        x = self.preprocess(self.device_augment(x, generator))
        return self.device_augment.mix(x, y, self.splits.num_outputs, generator)

    def _in_order(self, examples: Examples | None, split: str) -> DataLoader[Batch]:
        """A loader for evaluation: all examples in the order of the dataset. Raises ValueError if there are none."""
        if examples is None:
            raise ValueError(f"this dataset has no {split} split")
        own = examples.loader()
        if own is not None:
            return cast("DataLoader[Batch]", own)
        process, processes = self._rank_and_world_size()
        # Each process reads every n-th example, without padding, so that every example counts once.
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
        # Move a dataset in memory to the accelerator, and gather its batches there without workers.
        workers = self.workers
        if isinstance(examples, InMemory):
            workers = 0
            if self.trainer is not None:
                examples = examples.to(self.trainer.strategy.root_device)
        return Loader(
            examples,
            workers=workers,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            # Without it, every epoch would draw the workers' seed from the global generator, which would advance it.
            generator=torch.Generator().manual_seed(seed_from(self.seed, "workers")),
        )

    def _rank_and_world_size(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _progress(self) -> tuple[int, int]:
        """The epoch in which training starts, and the number of its batches already seen: (0, 0) unless resumed."""
        if self.trainer is None:
            return 0, 0
        # The counters of Lightning's loops, which a checkpoint restores.
        loop = self.trainer.fit_loop
        epochs = cast(Any, loop.epoch_progress)
        progress = cast(Any, loop.epoch_loop.batch_progress)
        return epochs.current.processed, 0 if progress.is_last_batch else progress.current.processed


def batches(count: int, batch_size: int, *, drop_single: bool) -> int:
    """Number of training batches in an epoch of ``count`` examples, see ``drop_single`` of `DataModule`."""
    # Drop a final batch of one example, unless it is the only batch (the bool is subtracted as 0 or 1).
    dropped = drop_single and count % batch_size == 1 < min(count, batch_size)
    return ceil(count / batch_size) - dropped
