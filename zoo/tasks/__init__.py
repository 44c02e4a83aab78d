"""How a net is learned: one final LightningModule a file, joined to a net by a config.

A task takes ``(net, layer=None)``, registers the whole net and fits it, or one layer of it. What it asks of the net
is a ``Protocol`` at the top of its file. Its class attributes say what else the training verb must know:
``targets`` ("classes", "values" or "none"), and the metric ``monitor`` with its ``mode`` by which runs are compared.
"""

from zoo.tasks.classification import Classification
from zoo.tasks.contrastive_divergence import ContrastiveDivergence
from zoo.tasks.reconstruction import Reconstruction
from zoo.tasks.regression import Regression
from zoo.tasks.wake_sleep import WakeSleep

Task = Classification | ContrastiveDivergence | Reconstruction | Regression | WakeSleep

__all__ = ["Classification", "ContrastiveDivergence", "Reconstruction", "Regression", "Task", "WakeSleep"]
