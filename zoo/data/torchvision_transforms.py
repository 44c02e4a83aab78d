"""RandAugment, mixup and CutMix by torchvision, with randomness from a given generator.

torchvision draws from the CPU's default generator. Within each function that generator is seeded from the given one,
and its state is restored afterwards. Imports torchvision when called.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


def rand_augment(x: Tensor, generator: torch.Generator, *, operations: int, magnitude: int) -> Tensor:
    """Apply random operations to each image: E. Cubuk et al., "RandAugment", 2020.

    Args:
        x: N x C x H x W uint8, C is 1 or 3.
        generator: the only source of randomness.
        operations: number of operations for each image.
        magnitude: of the operations, 0 to 30.

    Returns:
        The same shape and type.
    """
    from torchvision.transforms.v2 import RandAugment

    # Each image gets operations of its own, so they are transformed one by one.
    transform = RandAugment(num_ops=operations, magnitude=magnitude)
    with _default_generator_seeded_from(generator):
        return torch.stack([transform(image) for image in x])


def mix(
    x: Tensor, y: Tensor, num_classes: int, generator: torch.Generator, *, mixup: float, cutmix: float
) -> tuple[Tensor, Tensor]:
    """Blend each example with its neighbor in the batch, by mixup or CutMix; if both are on, by one of them at random.

    H. Zhang et al., "mixup", 2018; S. Yun et al., "CutMix", 2019.

    Args:
        x: N x C x H x W.
        y: N class numbers.
        num_classes: number of classes.
        generator: the only source of randomness.
        mixup: alpha of the Beta distribution from which the weight is drawn; 0: no mixup.
        cutmix: alpha of the Beta distribution from which the area is drawn; 0: no CutMix.

    Returns:
        x of the same shape, and y as N x num_classes probabilities.
    """
    from torchvision.transforms.v2 import CutMix, MixUp

    # Choose one of the two if both are on, with the same generator as everything else.
    choices = [(kind, alpha) for kind, alpha in ((MixUp, mixup), (CutMix, cutmix)) if alpha]
    with _default_generator_seeded_from(generator):
        kind, alpha = choices[int(torch.randint(len(choices), ()))]
        x, y = kind(alpha=float(alpha), num_classes=num_classes)(x, y)
    return x.contiguous(memory_format=torch.channels_last), y


@contextmanager
def _default_generator_seeded_from(generator: torch.Generator) -> Iterator[None]:
    """Seed the CPU's default generator within the block; restore its state after it."""
    # Not by torch.manual_seed, which would also seed the generators of the accelerators.
    default = torch.default_generator
    state = default.get_state()
    # The seed is drawn from the given generator, which so moves on: the next call draws other numbers.
    default.manual_seed(int(torch.randint(2**31 - 1, (), device=generator.device, generator=generator)))
    try:
        yield
    finally:
        default.set_state(state)
