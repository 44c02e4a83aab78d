"""Compute the features of a net's fixed lower layers once for a whole fit, instead of in every batch."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from zoo.config import hardware
from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory, Splits
from zoo.data.workers import told_errors
from zoo.protocols import Net, eval_mode, layers_of
from zoo.training.fit.progress import reported
from zoo.training.plan import Plan, StagePlan

LIMIT = 4 * 2**30  # bytes; larger features are not cached, but computed batch by batch


@torch.no_grad()
def cache_features(
    net: nn.Module,
    splits: Splits,
    preprocess: Preprocess,
    *,
    depth: int,
    device: torch.device,
    workers: int = 0,
    progress: str | None = None,
) -> tuple[Splits, Preprocess] | None:
    """The training and validation splits with features in place of inputs, and an identity preprocessing.

    The features are those of layer ``depth`` in evaluation mode: N x H, float32, in the order of the examples.

    Args:
        net: the net whose `encode` computes the features; it is moved to ``device``.
        splits: the data.
        preprocess: the preprocessing from raw values to the net's input.
        depth: number of layers to apply.
        device: device on which the features are computed.
        workers: number of processes that read images.
        progress: name for progress reports, which are printed if this takes more than a few seconds; None: no reports.

    Returns:
        The splits, without a test split, and the preprocessing; or None if the features need more than `LIMIT` bytes.
    """
    net = net.to(device)
    assert isinstance(net, Net)

    def features(raw: Tensor) -> Tensor:
        return net.encode(preprocess(raw.to(device)), depth).flatten(1)  # N x H

    def encode(examples: Examples, width: int) -> InMemory:
        # A DataModule reads its test split in order, so pass the examples as a test split.
        as_test_split = Splits(examples, None, examples, splits.shape)
        loader = DataModule(as_test_split, preprocess=preprocess, workers=workers).test_dataloader()
        x = torch.empty(len(examples), width)
        first = 0
        shown = loader if progress is None else reported(loader, len(loader), f"{progress}: computing features")
        with told_errors():
            for raw, _ in shown:
                x[first : first + len(raw)] = features(raw)
                first += len(raw)
        return InMemory(x, examples.labels())

    with eval_mode(net):
        # Encode one example to get the number of features, and so the size of all of them.
        width = features(splits.train.batch([0])[0]).shape[1]
        count = sum(len(split) for split in (splits.train, splits.validation) if split is not None)
        size = 4 * width * count  # bytes of float32
        if size > LIMIT:
            return None
        train = encode(splits.train, width)
        validation = None if splits.validation is None else encode(splits.validation, width)

    # The features are preprocessed already, so the new preprocessing is the identity.
    identity = Preprocess.from_data(train.x[:1], standardize=False)
    cached = Splits(
        train, validation, None, (width,), splits.classes, splits.num_targets, multi_label=splits.multi_label
    )
    return cached, identity


def training_features(
    net: nn.Module, stage: StagePlan, plan: Plan, *, key: str, off: str, progress: str | None
) -> tuple[Tensor, Tensor]:
    """The features of the topmost layer for the training examples of a stage: N x H, and their N labels.

    Args:
        net: the net.
        stage: the stage, whose training examples are used without augmentation.
        plan: the plan of the run.
        key: the key of the stage that needs the features, and its value if that helps, for the error message.
        off: the value of the key that does without them.
        progress: as in `cache_features`.

    Raises:
        ValueError: the features need more than `LIMIT` bytes.
    """
    cached = cache_features(
        net,
        replace(stage.splits, validation=None),
        plan.preprocess,
        depth=len(layers_of(net)),
        device=hardware.device(plan.trainer_kwargs),
        workers=plan.workers,
        progress=progress,
    )
    if cached is None:
        raise ValueError(
            f"model.stages.{stage.name}.{key}: the features of {len(stage.splits.train):,} examples need too much "
            f"memory; set it to {off}"
        )
    train = cached[0].train
    assert isinstance(train, InMemory)
    return train.x, train.y
