"""The codes of a net's lower layers, computed once for a whole fit instead of in every batch."""

import torch
from torch import nn

from zoo.data.preprocess import Preprocess
from zoo.data.splits import Examples, InMemory, Splits

LIMIT = 4 * 2**30  # bytes of codes; beyond it they are computed batch by batch
CHUNK = 2000  # examples at a time


def encoded(
    net: nn.Module, splits: Splits, preprocess: Preprocess, *, depth: int, device: torch.device
) -> tuple[Splits, Preprocess] | None:
    """The same examples as codes of layer ``depth``, N x H in float32, and what is left to do to them: nothing.

    None where they are not in memory or would not fit there.
    """
    parts = (splits.train, splits.validation)
    if not all(part is None or isinstance(part, InMemory) for part in parts):
        return None
    net = net.to(device)

    def codes(x: torch.Tensor) -> torch.Tensor:
        return net.encode(preprocess(x.to(device)), depth)  # type: ignore[operator]

    with torch.inference_mode():
        width = codes(splits.train.__getitems__([0])[0]).shape[1]
    if 4 * width * sum(len(part) for part in parts if part is not None) > LIMIT:
        return None

    def encode(part: Examples | None) -> InMemory | None:
        if not isinstance(part, InMemory):
            return None
        x = torch.empty(len(part), width)
        with torch.no_grad():
            for into, raw in zip(x.split(CHUNK), part.x.split(CHUNK), strict=True):
                into.copy_(codes(raw))
        return InMemory(x, part.y)

    train = encode(splits.train)
    assert train is not None
    return Splits(train, encode(splits.validation), None, (width,), splits.classes, splits.targets), Preprocess.fit(
        train.x[:1], standardize=False
    )
