"""The options of contrastive divergence that not every RBM supports, and the groups of parameters of an RBM."""

from typing import Any

from zoo.protocols import Centering, RBMLayer, SharesWeights


def check_options(rbm: RBMLayer, *, centered: bool, sparsity_cost: float) -> None:
    """Raise ValueError for an option that the RBM does not support; see `zoo.tasks.ContrastiveDivergence`."""
    if centered and not isinstance(rbm, Centering):
        raise ValueError(f"centered=true: {type(rbm).__name__} has no centered gradient; set centered=false")
    if sparsity_cost and not rbm.hidden.binary:
        raise ValueError(f"sparsity_cost={sparsity_cost} needs Bernoulli hidden units; set it to 0")


def parameter_groups(
    rbm: RBMLayer,
    *,
    gaussian_lr_factor: float,
    gaussian_weight_decay: float | None,
    hidden_bias_lr_factor: float | None,
) -> list[dict[str, Any]]:
    """Weights with weight decay, biases without; each group has the ``lr_factor`` of its learning rate.

    Args:
        rbm: the RBM.
        gaussian_lr_factor: factor for an RBM with Gaussian units: their states have no bound, so training with a large
            step could diverge.
        gaussian_weight_decay: weight decay for such an RBM; None: that of the optimizer.
        hidden_bias_lr_factor: factor for the hidden biases of an RBM whose units share weights, in place of the other;
            None: they are like all biases.

    Raises:
        ValueError: ``hidden_bias_lr_factor`` for another RBM.
    """
    is_gaussian = not (rbm.visible.binary and rbm.hidden.binary)
    factor = gaussian_lr_factor if is_gaussian else 1.0
    parameters = rbm.energy_parameters()
    # Biases are vectors.
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "lr_factor": factor},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0, "lr_factor": factor},
    ]
    if is_gaussian and gaussian_weight_decay is not None:
        groups[0]["weight_decay"] = gaussian_weight_decay
    if hidden_bias_lr_factor is None:
        return groups

    # The hidden biases as a group of their own.
    if not isinstance(rbm, SharesWeights):
        raise ValueError(
            f"hidden_bias_lr_factor={hidden_bias_lr_factor} is for convolutional RBMs, not {type(rbm).__name__}; "
            "set it to null"
        )
    hidden_bias = parameters[2]
    groups[1]["params"] = [p for p in groups[1]["params"] if p is not hidden_bias]
    return [*groups, {"params": [hidden_bias], "weight_decay": 0.0, "lr_factor": hidden_bias_lr_factor}]
