"""What all plots have in common."""

import torch

from zoo.plots.curves import confusion, curves
from zoo.plots.images import grid, panels, sheet
from zoo.plots.latent import latent_map
from zoo.plots.network import network


def test_figures_come_back_and_need_no_file():
    """A notebook shows what a function returns; ``path`` writes the same figure as a PNG it."""
    drawn = {
        "curves": curves({"loss": {"train": ([0, 1], [2.0, 1.0])}}, x_label="epoch"),
        "confusion": confusion([[3, 1], [0, 2]], ["a", "b"]),
        "grid": grid(torch.rand(4, 1, 5, 5)),
        "sheet": sheet([torch.rand(1, 5, 5)], [["one"]], title="one image"),
        "latent_map": latent_map(torch.randn(6, 2), [0, 1] * 3, ["a", "b"]),
        "network": network([3, 2]),
        "panels": panels({"one": torch.rand(4, 4)}),
    }
    assert {name: len(figure.axes) for name, figure in drawn.items()} == dict.fromkeys(drawn, 1)
    assert drawn["curves"].axes[0].get_xlabel() == "epoch"
