"""Annealed importance sampling of an RBM with 784 visible and 500 hidden units.

    python benchmarks/ais.py [--rounds N] [--quick]

100 chains and 10,000 temperatures. The weights are random: the time does not depend on them. The products are the two
that a temperature needs at least: the pre-activations of the hidden units, then those of the visible ones.
"""

from functools import partial

import torch
from timing import Benchmark, seconds

from zoo.analysis.likelihood import log_partition
from zoo.models import RBM

CHAINS, TEMPERATURES, QUICK = 100, 10_000, 100


@torch.no_grad()
def products(rbm: RBM, temperatures: int) -> None:
    """The arithmetic alone: no sampling, no weights of chains."""
    v = torch.rand(CHAINS, 784)
    for _ in range(temperatures):
        h = torch.addmm(rbm.hidden_bias, v, rbm.weight.t()) * 1e-3  # N x H, small, so that the numbers stay finite
        v = torch.addmm(rbm.visible_bias, h, rbm.weight)  # N x V


if __name__ == "__main__":
    bench = Benchmark(__doc__)
    torch.manual_seed(0)
    rbm = RBM(hidden=500, init="xavier")
    temperatures = QUICK if bench.quick else TEMPERATURES
    settings = {"chains": CHAINS, "temperatures": temperatures, "burn_in": temperatures // 10}
    programs = {
        "AIS": partial(seconds, partial(log_partition, rbm, "ais", **settings)),
        "two products": partial(seconds, partial(products, rbm, temperatures)),
        "reverse AIS": partial(seconds, partial(log_partition, rbm, "reverse_ais", **settings)),
    }
    bench.compare(f"{CHAINS} chains, {temperatures:,} temperatures", programs, goals={"two products": 1.6})
