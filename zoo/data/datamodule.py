"""From splits to batches on the device: order, transfer, augmentation, preprocessing.

A run's chance here is a function of (seed, epoch, batch) alone, or of (seed, epoch, index) where worker processes draw
it: no other generator is read or advanced.
"""

from collections.abc import Iterator
from dataclasses import replace
from math import ceil, prod
from typing import Any, cast

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from zoo.data.augment import Augment
from zoo.data.preprocess import Preprocess
from zoo.data.sources.image_folder import Pictures, Views
from zoo.data.splits import Examples, InMemory, Splits, seed_from

Batch = tuple[Tensor, Tensor]
EVALUATION_BATCH = 250  # larger ones fall out of the processor's cache and take longer
EVALUATION_VALUES = 2**23  # raw values in a batch, or the maps of large pictures would fill the memory


class Shuffle(Sampler[int]):
    """A permutation that is a function of (seed, epoch), of which each process takes its equal share.

    Lightning calls `set_epoch`. Up to ``processes - 1`` examples sit out an epoch so that shares are equal. The first
    pass begins in ``epoch`` after so many examples as were ``seen`` of it, where a run goes on.
    """

    def __init__(self, length: int, *, seed: int, process: int = 0, processes: int = 1, epoch: int = 0, seen: int = 0):
        self.length, self.seed, self.process, self.processes = length, seed, process, processes
        self.epoch, self.seen = epoch, seen

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.processes

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator)
        seen, self.seen = self.seen, 0
        yield from order[self.process :: self.processes][seen : len(self)].tolist()


class Dated(Sampler[tuple[int, int]]):
    """The same order, each index beside the epoch in which it is to be read."""

    def __init__(self, order: Shuffle):
        self.order = order

    def set_epoch(self, epoch: int) -> None:
        self.order.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.order)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.order.epoch
        yield from ((index, epoch) for index in self.order)


class DataModule(LightningDataModule):
    """Loaders over `Splits` for one fit.

    Sets in memory move to the accelerator once and skip worker processes; others are read by ``workers`` of them.

    Args:
        splits: from a source's ``load``.
        preprocess: from raw values to the net's input.
        augment: distortions for training batches.
        batch_size: examples in a training batch, over all processes.
        seed: of the order and the distortions.
        workers: processes that read sets not held in memory.
        drop_single: a last training batch of one example is left out: it has no deviation to normalise by.

    Raises:
        ValueError: mixing of examples that have no classes.
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
        self.splits, self.preprocess = splits, preprocess
        self.augment = augment or Augment()
        if self.augment.mixes and not splits.classes:
            raise ValueError("dataset.augment.mixup and cutmix blend classes; these data have real target values")
        # What is cut from a picture at its full resolution is cut where it is read, and not a second time.
        self.read_as_views = isinstance(splits.train, Pictures) and Views.wanted(self.augment)
        self.distort = replace(self.augment, crop=1.0, randaugment=0) if self.read_as_views else self.augment
        self.batch_size, self.seed, self.workers, self.drop_single = batch_size, seed, workers, drop_single

    def train_dataloader(self) -> DataLoader[Batch]:
        process, processes = self._place()
        batch_size = -(-self.batch_size // processes)
        epoch, seen = self._progress()
        sampler = Shuffle(
            len(self.splits.train),
            seed=self.seed,
            process=process,
            processes=processes,
            epoch=epoch,
            seen=seen * batch_size,
        )
        short = batches(len(sampler), batch_size, drop_single=self.drop_single) * batch_size < len(sampler)
        if self.read_as_views:
            views = Views(cast(Pictures, self.splits.train), augment=self.augment, seed=self.seed)
            return self._loader(views, Dated(sampler), batch_size, drop_last=short)
        return self._loader(self.splits.train, sampler, batch_size, drop_last=short)

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._in_order(self.splits.validation, "validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._in_order(self.splits.test, "test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Raw batch on the device -> distorted (in training), scaled and mixed (in training)."""
        x, y = batch
        trainer = self.trainer
        if not self.distort or trainer is None or not trainer.training:
            return self.preprocess(x), y
        place = (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx, trainer.global_rank)
        generator = torch.Generator(x.device).manual_seed(seed_from(self.seed, *place))
        return self.distort.mix(self.preprocess(self.distort(x, generator)), y, self.splits.num_outputs, generator)

    def _in_order(self, examples: Examples | None, part: str) -> DataLoader[Batch]:
        if examples is None:
            raise ValueError(f"this dataset has no {part} part")
        process, processes = self._place()
        share = range(process, len(examples), processes)  # unpadded: every example counts once
        batch_size = max(1, min(EVALUATION_BATCH, EVALUATION_VALUES // prod(self.splits.shape)))
        return self._loader(examples, cast("Sampler[int]", share), batch_size)

    def _loader(
        self,
        examples: Examples | Views,
        sampler: Sampler[int] | Sampler[tuple[int, int]],
        batch_size: int,
        *,
        drop_last: bool = False,
    ) -> DataLoader[Batch]:
        workers = self.workers
        if isinstance(examples, InMemory):
            workers = 0
            if self.trainer is not None:
                examples = examples.to(self.trainer.strategy.root_device)
        return DataLoader(
            examples,  # type: ignore[arg-type]
            batch_size=batch_size,
            sampler=sampler,
            collate_fn=_finished,  # type: ignore[arg-type]
            drop_last=drop_last,
            num_workers=workers,
            persistent_workers=workers > 0,
            # Its own generator, or every epoch would draw the workers' base seed from the global one.
            generator=torch.Generator().manual_seed(seed_from(self.seed, "workers")),
        )

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def _progress(self) -> tuple[int, int]:
        """The epoch that a fit begins with, and how many of its batches it has seen: where it goes on, not (0, 0)."""
        if self.trainer is None:
            return 0, 0
        loop = self.trainer.fit_loop
        epochs, batches = cast(Any, loop.epoch_progress), cast(Any, loop.epoch_loop.batch_progress)
        return epochs.current.processed, 0 if batches.is_last_batch else batches.current.processed


def batches(count: int, batch_size: int, *, drop_single: bool) -> int:
    """How many training batches an epoch has, see `DataModule`."""
    single = drop_single and count % batch_size == 1 < min(count, batch_size)
    return ceil(count / batch_size) - single


def _finished(batch: Batch) -> Batch:
    return batch  # `__getitems__` has already put it together
