"""RandAugment, mixup and CutMix by torchvision, with randomness from a given generator.

torchvision uses the CPU's default generator. Each function seeds that generator from the given one, and restores its
state afterwards. Imports torchvision when a function is called.
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
        magnitude: magnitude of the operations, 0 to 30.

    Returns:
        The same shape and type.
    """
    from torchvision.transforms.v2 import RandAugment

    # Transform the images one by one, so that each gets different operations.
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

    # If both are switched on, choose one at random.
    choices = [(kind, alpha) for kind, alpha in ((MixUp, mixup), (CutMix, cutmix)) if alpha]
    with _default_generator_seeded_from(generator):
        kind, alpha = choices[int(torch.randint(len(choices), ()))]
        x, y = kind(alpha=float(alpha), num_classes=num_classes)(x, y)
    return x.contiguous(memory_format=torch.channels_last), y


@contextmanager
def _default_generator_seeded_from(generator: torch.Generator) -> Iterator[None]:
    """Seed the CPU's default generator within the block; restore its state after it."""
    # torch.manual_seed would also seed the generators of the accelerators, so set the state of this one.
    default = torch.default_generator
    state = default.get_state()
    # Draw the seed from the given generator, which advances it: the next call draws other numbers.
    default.manual_seed(int(torch.randint(2**31 - 1, (), device=generator.device, generator=generator)))
    try:
        yield
    finally:
        default.set_state(state)
