"""The sparsity penalty of contrastive divergence. Imports torch only.

The penalty is the cross-entropy between the target p and the mean activation q of a hidden unit,
-p log q - (1 - p) log(1 - q). Its derivative with respect to q is (q - p) / (q (1 - q)). The derivative of the mean
activation with respect to the pre-activation a is about q (1 - q). The product is q - p (Hinton 2010, section 11), so
the term is (q - p)·a, with q - p held constant. For maps, q and a are means over the units that share a kernel; applied
to the hidden biases alone, that is the update of Lee et al. 2009, Δc ∝ p - q.
"""

from torch import Tensor

ON = ("all", "hidden_bias")  # the parameters that the penalty changes


def check(target: float, on: str, decay: float) -> None:
    """Raise ValueError for options that are out of range."""
    if not 0 < target < 1:
        raise ValueError(f"sparsity_target={target} must be in (0, 1)")
    if on not in ON:
        raise ValueError(f"sparsity_on={on}: choose one of: {', '.join(ON)}")
    if not 0 <= decay < 1:
        raise ValueError(f"sparsity_decay={decay} must be in [0, 1)")


def mean_of_units(values: Tensor) -> Tensor:
    """The mean over examples and over units that share a kernel: N x H -> H, or N x K x rows x columns -> K."""
    return values.mean(dim=[0, *range(2, values.dim())])


def penalty(a: Tensor, activation: Tensor, target: float) -> Tensor:
    """A scalar with the gradient of the penalty.

    Args:
        a: pre-activations, N x H, or N x K x rows x columns for maps.
        activation: q, of shape H or K.
        target: p, in (0, 1).
    """
    return ((activation - target) * mean_of_units(a)).sum()
