"""From splits to batches on the device: order, transfer, augmentation, preprocessing.

A run's chance here is a function of (seed, epoch, batch) alone: no other generator is read or advanced.
"""

from collections.abc import Iterator
from typing import cast

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from zoo.data.augment import Augment
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory, Splits, seed_from

Batch = tuple[Tensor, Tensor]
EVALUATION_BATCH = 250  # larger ones fall out of the processor's cache and take longer


class Shuffle(Sampler[int]):
    """A permutation that is a function of (seed, epoch), of which each process takes its equal share.

    Lightning calls `set_epoch`. Up to ``processes - 1`` examples sit out an epoch so that shares are equal.
    """

    def __init__(self, length: int, *, seed: int, process: int = 0, processes: int = 1):
        self.length, self.seed, self.process, self.processes, self.epoch = length, seed, process, processes, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.length // self.processes

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(seed_from(self.seed, self.epoch))
        order = torch.randperm(self.length, generator=generator)
        yield from order[self.process :: self.processes][: len(self)].tolist()


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
    ):
        super().__init__()
        self.splits, self.preprocess, self.augment = splits, preprocess, augment
        self.batch_size, self.seed, self.workers = batch_size, seed, workers

    def train_dataloader(self) -> DataLoader[Batch]:
        process, processes = self._place()
        sampler = Shuffle(len(self.splits.train), seed=self.seed, process=process, processes=processes)
        return self._loader(self.splits.train, sampler, -(-self.batch_size // processes))

    def val_dataloader(self) -> DataLoader[Batch]:
        return self._in_order(self.splits.validation, "validation")

    def test_dataloader(self) -> DataLoader[Batch]:
        return self._in_order(self.splits.test, "test")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Raw batch on the device -> distorted (in training) and scaled."""
        x, y = batch
        trainer = self.trainer
        if self.augment and trainer is not None and trainer.training:
            place = (trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_idx, trainer.global_rank)
            generator = torch.Generator(x.device).manual_seed(seed_from(self.seed, *place))
            x = self.augment(x, generator)
        return self.preprocess(x), y

    def _in_order(self, examples: Examples | None, part: str) -> DataLoader[Batch]:
        if examples is None:
            raise ValueError(f"this dataset has no {part} part")
        process, processes = self._place()
        share = range(process, len(examples), processes)  # unpadded: every example counts once
        return self._loader(examples, cast(Sampler[int], share), EVALUATION_BATCH)

    def _loader(self, examples: Examples, sampler: Sampler[int], batch_size: int) -> DataLoader[Batch]:
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
            num_workers=workers,
            persistent_workers=workers > 0,
            # Its own generator, or every epoch would draw the workers' base seed from the global one.
            generator=torch.Generator().manual_seed(seed_from(self.seed, "workers")),
        )

    def _place(self) -> tuple[int, int]:
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)


def _finished(batch: Batch) -> Batch:
    return batch  # `__getitems__` has already put it together
