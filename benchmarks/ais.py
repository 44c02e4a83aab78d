"""Seconds for annealed importance sampling of an RBM with 784 visible and 500 hidden units.

    python benchmarks/ais.py [CHAINS] [TEMPERATURES]

The weights are random: the time does not depend on them.
"""

import sys
import time

import torch

from zoo.analysis.likelihood import log_partition
from zoo.models import RBM

if __name__ == "__main__":
    chains, temperatures = (int(argument) for argument in (*sys.argv[1:], *("100", "10000")[len(sys.argv) - 1 :]))
    torch.manual_seed(0)
    rbm = RBM(hidden=500, init="xavier")
    for method in ("ais", "reverse_ais"):
        start = time.perf_counter()
        estimate = log_partition(rbm, method, chains=chains, temperatures=temperatures)
        seconds = time.perf_counter() - start
        print(f"{method:12} {seconds:7.1f} s   log Z {estimate.value:.2f} +- {estimate.standard_error:.2f}")  # noqa: T201
