"""The codes of a net's lower layers, computed once for a whole fit instead of in every batch."""

import torch
from torch import nn

from zoo.data.datamodule import DataModule
from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory, Splits
from zoo.protocols import eval_mode

LIMIT = 4 * 2**30  # bytes of codes; beyond it they are computed batch by batch


@torch.no_grad()
def encoded(
    net: nn.Module, splits: Splits, preprocess: Preprocess, *, depth: int, device: torch.device, workers: int = 0
) -> tuple[Splits, Preprocess] | None:
    """The same examples as codes of layer ``depth``, N x H in float32, and what is left to do to them: nothing.

    The layers are used as in evaluation. None where the codes would not fit in memory.

    Args:
        net: whose `encode` gives them.
        splits, preprocess: the data, and what the net takes of them.
        depth: how many layers.
        device: where they are computed.
        workers: processes that read pictures.
    """
    net = net.to(device)

    def codes(x: torch.Tensor) -> torch.Tensor:
        return net.encode(preprocess(x.to(device)), depth).flatten(1)  # type: ignore[operator]

    def encode(part: Examples) -> InMemory:
        x, first = torch.empty(len(part), width), 0
        whole = Splits(part, None, part, splits.shape)
        for raw, _ in DataModule(whole, preprocess=preprocess, workers=workers).test_dataloader():
            x[first : first + len(raw)] = codes(raw)
            first += len(raw)
        return InMemory(x, part.labels())

    with eval_mode(net):
        width = codes(splits.train.__getitems__([0])[0]).shape[1]
        size = 4 * width * sum(len(part) for part in (splits.train, splits.validation) if part is not None)
        if size > LIMIT:
            return None
        train = encode(splits.train)
        validation = None if splits.validation is None else encode(splits.validation)
    ready = Preprocess.from_data(train.x[:1], standardize=False)
    return Splits(train, validation, None, (width,), splits.classes, splits.num_targets), ready
