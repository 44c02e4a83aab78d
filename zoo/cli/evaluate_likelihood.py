"""The likelihood that ``zoo evaluate`` estimates for generative nets."""

import sys
from math import prod
from typing import cast

import torch
from torch import Tensor, nn

from zoo.analysis import likelihood
from zoo.models import DBN, RBM
from zoo.protocols import RBMLayer, SharesWeights, layers_of

CHUNK = 1000  # number of examples whose log-likelihood is computed at a time


def likelihoods(net: nn.Module, x: Tensor, device: torch.device, *, chains: int, temperatures: int) -> dict[str, float]:
    """The mean log p(x) of the inputs in nats; a lower bound for a DBN. Inputs of binary units are binarized.

    If log Z cannot be computed exactly, it is estimated by annealed importance sampling (AIS) and by reverse AIS. The
    log-likelihood tends to be too high by AIS and too low by reverse AIS.

    Args:
        net: a generative net whose layers are RBMs.
        x: N x in_shape, preprocessed.
        device: where to compute.
        chains: number of annealing chains, >= 2.
        temperatures: number of temperatures of each chain, >= 1.

    Returns:
        ``test/log_likelihood`` if log Z is exact. Otherwise ``test/log_likelihood_METHOD`` and the standard error of
        log Z, ``test/log_partition_METHOD_error``, for the methods ``ais`` and ``reverse_ais``. Empty if neither
        works for the net, or if an estimate for binary data is above 0, which shows that the chains missed most of Z.
    """
    net = net.to(device)
    x = x.to(device)
    layers = list(layers_of(net).values())
    bottom = layers[0]
    top = layers[-1]
    assert isinstance(bottom, RBMLayer)
    assert isinstance(top, RBMLayer)

    # The likelihood functions are for weight matrices, not for shared kernels.
    if isinstance(top, SharesWeights):
        return {}
    # Annealing does not work for Gaussian hidden units. The exact log Z is then a sum over all visible states, which
    # may be too many.
    if not top.hidden.binary and prod(top.visible_shape) > likelihood.MAX_UNITS:
        return {}

    # The likelihood functions are typed for the zoo's own nets.
    model = cast("RBM | DBN", net)
    top_rbm = cast("RBM", top)
    inputs = likelihood.binarize(x) if bottom.visible.binary else x
    generator = torch.Generator(device).manual_seed(0)
    with torch.inference_mode():
        # First compute log p(x) + log Z, which needs no annealing.
        unnormalized = [
            likelihood.log_likelihood(model, chunk, log_z=0.0, generator=generator)
            for chunk in torch.split(inputs, CHUNK)
        ]
        mean = float(torch.cat(unnormalized).mean())

        # Compute log Z exactly if the top RBM is small enough.
        try:
            exact = likelihood.log_partition(top_rbm, "exact")
            return {"test/log_likelihood": mean - float(exact.value)}
        except ValueError:
            data = model.encode(inputs, len(layers) - 1)  # N x V: the inputs of the top RBM

        # Otherwise estimate it, by AIS and by reverse AIS.
        metrics = {}
        for method in ("ais", "reverse_ais"):
            estimate = likelihood.log_partition(
                top_rbm, method, chains=chains, temperatures=temperatures, data=data, generator=generator
            )
            metrics[f"test/log_likelihood_{method}"] = mean - float(estimate.value)
            metrics[f"test/log_partition_{method}_error"] = estimate.standard_error

    # Leave out estimates that are impossible for binary data.
    highest = max(value for name, value in metrics.items() if name.startswith("test/log_likelihood"))
    if bottom.visible.binary and highest > 0:
        sys.stderr.write(
            f"note: the log-likelihood is left out: its estimate with temperatures={temperatures} is {highest:.1f} "
            "nats, but that of binary data cannot be above 0; increase temperatures=\n"
        )
        return {}
    return metrics
