"""A net: any `torch.nn.Module` that turns a batch of inputs into one row of logits per example."""

from torch import Tensor, nn


class SpiralsNet(nn.Module):
    """Two hidden layers with SiLU activation.

    Args:
        num_classes: number of outputs.
        width: number of units of each hidden layer.
    """

    def __init__(self, *, num_classes: int = 3, width: int = 64):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(2, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))  # N x 2 -> N x K
