"""Does ``zoo train experiment=dbn-diabetes`` reach a plain PyTorch loop? A regression on a table, with ten seeds.

    python benchmarks/diabetes.py [FOLDER]

Both train the same net from the same initial weights on the same splits, by the same recipe: contrastive divergence one
RBM after another, then AdamW on the squared error, with early stopping on the validation split. The loop below uses
nothing of the zoo but the net and the splits. Prints the test error of both for each seed, the paired difference with
its 95 % interval (Student's t), and the error of a linear regression. Errors are mean squared errors in units of the
variance of the target over the training split.
"""

import json
import sys
from copy import deepcopy
from pathlib import Path
from statistics import mean, stdev

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import t
from torch import Tensor, nn

import zoo
from zoo.cli.main import main
from zoo.config.compose import compose
from zoo.training.checks import run_checks

SEEDS = range(1, 11)


def with_zoo(seed: int, folder: Path) -> float:
    """The test error of ``zoo train``; a finished run is not repeated."""
    run = folder / str(seed)
    if not (run / "metrics.json").is_file():
        main(
            "train",
            ["experiment=dbn-diabetes", f"seed={seed}", "progress=false", "accelerator=cpu", f"hydra.run.dir={run}"],
        )
    return float(json.loads((run / "metrics.json").read_text())["test/mse"])


def initial_net(seed: int) -> nn.Module:
    """The net with the initial weights of the run."""
    return deepcopy(
        run_checks.plan(compose("train", ["experiment=dbn-diabetes", f"seed={seed}", "accelerator=cpu"])).net
    )


def with_loop(net: nn.Module, x: dict[str, Tensor], y: dict[str, Tensor], seed: int) -> float:
    """The test error of a plain loop. ``x`` and ``y``: standardized inputs and targets of each split."""
    torch.manual_seed(seed)
    # Pretraining: CD-1 on each RBM, with means in place of samples for the reconstruction.
    h = x["train"]
    for number, rbm in enumerate(net.layers):
        weight, visible, hidden = rbm.weight.data, rbm.visible_bias.data, rbm.hidden_bias.data
        rate = 0.001 if number == 0 else 0.1  # Gaussian units need a lower learning rate
        velocity = [torch.zeros_like(p) for p in (weight, visible, hidden)]
        for epoch in range(50):
            momentum = 0.5 if epoch < 5 else 0.9
            for batch in torch.randperm(len(h)).split(32):
                v0 = h[batch]
                h0 = torch.sigmoid(v0 @ weight.T + hidden)
                v1 = h0.bernoulli() @ weight + visible
                v1 = v1 if number == 0 else torch.sigmoid(v1)
                h1 = torch.sigmoid(v1 @ weight.T + hidden)
                n = len(batch)
                gradients = [(h1.T @ v1 - h0.T @ v0) / n + 2e-4 * weight, (v1 - v0).mean(0), (h1 - h0).mean(0)]
                for p, u, g in zip((weight, visible, hidden), velocity, gradients, strict=True):
                    u.mul_(momentum).add_(g)
                    p.sub_(rate * u)
        h = torch.sigmoid(h @ weight.T + hidden)

    # Fine-tuning, until ten epochs bring no better validation error.
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.001)
    best, best_state, waited = float("inf"), deepcopy(net.state_dict()), 0
    for _ in range(100):
        for batch in torch.randperm(len(x["train"])).split(32):
            optimizer.zero_grad()
            F.mse_loss(net(x["train"][batch]), y["train"][batch]).backward()
            optimizer.step()
        with torch.no_grad():
            error = float(F.mse_loss(net(x["validation"]), y["validation"]))
        if error < best:
            best, best_state, waited = error, deepcopy(net.state_dict()), 0
        else:
            waited += 1
            if waited > 10:
                break
    net.load_state_dict(best_state)
    with torch.no_grad():
        return float(F.mse_loss(net(x["test"]), y["test"]))


def benchmark(folder: Path) -> None:
    """Print a row for each seed, and the differences."""
    # Standardize the inputs by the training split.
    splits = zoo.dataset("diabetes").existing()
    x = {name: examples.batch(range(len(examples)))[0] for name, examples in splits.items()}
    y = {name: examples.labels() for name, examples in splits.items()}
    center, scale = x["train"].mean(0), x["train"].std(0, correction=0)
    x = {name: (values - center) / scale for name, values in x.items()}

    # Train both with every seed.
    rows = []
    for seed in SEEDS:
        rows.append((with_zoo(seed, folder), with_loop(initial_net(seed), x, y, seed)))
        sys.stdout.write(f"seed {seed}: zoo {rows[-1][0]:.4f}, loop {rows[-1][1]:.4f}\n")
    d = [a - b for a, b in rows]
    margin = float(t.ppf(0.975, len(d) - 1)) * stdev(d) / len(d) ** 0.5
    sys.stdout.write(f"mean: zoo {mean(a for a, _ in rows):.4f}, loop {mean(b for _, b in rows):.4f}\n")
    sys.stdout.write(f"zoo - loop: {mean(d):+.4f} ({mean(d) - margin:+.4f} to {mean(d) + margin:+.4f})\n")

    # Linear regression by least squares.
    design = np.column_stack([x["train"].numpy(), np.ones(len(x["train"]))])
    solution = np.linalg.lstsq(design, y["train"].numpy(), rcond=None)[0]
    predicted = np.column_stack([x["test"].numpy(), np.ones(len(x["test"]))]) @ solution
    sys.stdout.write(f"linear regression: {float(((predicted - y['test'].numpy()) ** 2).mean()):.4f}\n")


if __name__ == "__main__":
    benchmark(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/diabetes"))
