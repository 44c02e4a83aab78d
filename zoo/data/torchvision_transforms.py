"""RandAugment, mixup and CutMix by torchvision, with the chance of a given generator.

torchvision draws from the CPU's default generator: it is lent the given one's chance and put back as it was. Imports
torchvision when called.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def rand_augment(x: Tensor, generator: torch.Generator, *, operations: int, magnitude: int) -> Tensor:
    """N x C x H x W bytes (C 1 or 3) -> the same, each picture changed by ``operations`` random ones.

    E. Cubuk et al., "RandAugment", 2020.
    """
    from torchvision.transforms.v2 import RandAugment

    transform = RandAugment(num_ops=operations, magnitude=magnitude)
    with _chance_of(generator):
        return torch.stack([transform(picture) for picture in x])


def mix(
    x: Tensor, y: Tensor, num_classes: int, generator: torch.Generator, *, mixup: float, cutmix: float
) -> tuple[Tensor, Tensor]:
    """Each example blended with its neighbour in the batch, by mixup or CutMix - if both, by one of them at random.

    H. Zhang et al., "mixup", 2018; S. Yun et al., "CutMix", 2019.

    Args:
        x: N x C x H x W.
        y: N class numbers.
        num_classes: how many there are.
        generator: the only source of chance.
        mixup, cutmix: alpha of the Beta distribution from which the share is drawn; 0: not this one.

    Returns:
        x, and N x classes probabilities.
    """
    from torchvision.transforms.v2 import CutMix, MixUp

    choices = [(kind, alpha) for kind, alpha in ((MixUp, mixup), (CutMix, cutmix)) if alpha]
    with _chance_of(generator):
        kind, alpha = choices[int(torch.randint(len(choices), ()))]
        x, y = kind(alpha=float(alpha), num_classes=num_classes)(x, y)
    return x.contiguous(memory_format=torch.channels_last), y


@contextmanager
def _chance_of(generator: torch.Generator) -> Iterator[None]:
    default = torch.default_generator  # not torch.manual_seed, which would seed the accelerators' too
    state = default.get_state()
    default.manual_seed(int(torch.randint(2**31 - 1, (), device=generator.device, generator=generator)))
    try:
        yield
    finally:
        default.set_state(state)
