"""The predicted class of every example, collected while a split is evaluated. Imports torch and torchmetrics only."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric


class Predictions(Metric):
    """Collects N x 3: the probability of the predicted class, the predicted class, the true class.

    With several processes, the result has the examples of the first process, then those of the second one, and so on.
    """

    full_state_update = False
    rows: Any  # a list of batches; after a synchronization of processes, one tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("rows", default=[], dist_reduce_fx="cat")

    def update(self, probabilities: Tensor, y: Tensor) -> None:
        """Add a batch: class probabilities, N x K, and N class numbers."""
        p, predicted = probabilities.float().max(dim=1)  # N, N
        self.rows.append(torch.stack([p, predicted.float(), y.float()], dim=1))

    def compute(self) -> Tensor:
        if isinstance(self.rows, Tensor):
            return self.rows
        return torch.cat(self.rows) if self.rows else torch.zeros(0, 3)
