"""Compute the features of a net's fixed lower layers once for a whole fit, instead of in every batch."""

import torch
from torch import Tensor, nn

from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory, Splits
from zoo.protocols import Net, eval_mode

LIMIT = 4 * 2**30  # bytes of features; above it they are computed batch by batch


@torch.no_grad()
def cache_features(
    net: nn.Module, splits: Splits, preprocess: Preprocess, *, depth: int, device: torch.device, workers: int = 0
) -> tuple[Splits, Preprocess] | None:
    """The training and validation split with features in place of inputs, and a preprocessing that changes nothing.

    The features are those of layer ``depth`` in evaluation mode: N x H, float32, in the order of the examples.

    Args:
        net: its `encode` computes them.
        splits: the data.
        preprocess: from raw values to the net's input.
        depth: number of layers.
        device: where they are computed.
        workers: number of processes that read images.

    Returns:
        None if they need more than `LIMIT` bytes.
    """
    net = net.to(device)
    assert isinstance(net, Net)

    def features(raw: Tensor) -> Tensor:
        return net.encode(preprocess(raw.to(device)), depth).flatten(1)  # N x H

    def encode(examples: Examples, width: int) -> InMemory:
        # A loader reads batches in order; only its test split is used.
        only = Splits(examples, None, examples, splits.shape)
        loader = DataModule(only, preprocess=preprocess, workers=workers).test_dataloader()
        x = torch.empty(len(examples), width)
        first = 0
        for raw, _ in loader:
            x[first : first + len(raw)] = features(raw)
            first += len(raw)
        return InMemory(x, examples.labels())

    with eval_mode(net):
        # One example tells the number of features, and so the size of all.
        width = features(splits.train.__getitems__([0])[0]).shape[1]
        size = 4 * width * sum(len(part) for part in (splits.train, splits.validation) if part is not None)
        if size > LIMIT:
            return None
        train = encode(splits.train, width)
        validation = None if splits.validation is None else encode(splits.validation, width)

    # The features are the input now, so nothing is left to preprocess.
    identity = Preprocess.from_data(train.x[:1], standardize=False)
    return Splits(train, validation, None, (width,), splits.classes, splits.num_targets), identity
