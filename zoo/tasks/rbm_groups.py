"""The groups of parameters of an RBM, each with its learning rate and weight decay."""

from typing import Any

from zoo.protocols import RBMLayer, SharesWeights


def parameter_groups(
    rbm: RBMLayer, *, gaussian_lr_factor: float, hidden_bias_lr_factor: float | None
) -> list[dict[str, Any]]:
    """Weights with weight decay, biases without; each group has the ``lr_factor`` of its learning rate.

    Args:
        rbm: the RBM.
        gaussian_lr_factor: factor for an RBM with Gaussian units: their states have no bound, so training with a large
            step could diverge.
        hidden_bias_lr_factor: factor for the hidden biases of an RBM whose units share weights, in place of the other;
            None: they are like all biases.

    Raises:
        ValueError: ``hidden_bias_lr_factor`` for another RBM.
    """
    factor = 1.0 if rbm.visible.binary and rbm.hidden.binary else gaussian_lr_factor
    parameters = rbm.energy_parameters()
    # Biases are vectors.
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if p.dim() > 1], "lr_factor": factor},
        {"params": [p for p in parameters if p.dim() == 1], "weight_decay": 0.0, "lr_factor": factor},
    ]
    if hidden_bias_lr_factor is None:
        return groups

    # The hidden biases as a group of their own.
    if not isinstance(rbm, SharesWeights):
        raise ValueError(
            f"hidden_bias_lr_factor={hidden_bias_lr_factor} is for convolutional RBMs, not {type(rbm).__name__}; "
            "set it to null"
        )
    groups[1]["params"] = [p for p in groups[1]["params"] if p is not rbm.hidden_bias]
    return [*groups, {"params": [rbm.hidden_bias], "weight_decay": 0.0, "lr_factor": hidden_bias_lr_factor}]
