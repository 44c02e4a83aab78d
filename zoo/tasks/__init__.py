"""Training objectives: one LightningModule a file, joined to a net by a config.

A task takes ``(net, layer=None)``, registers the whole net and trains it, or one layer of it. What it needs of the net
is a protocol of `zoo.protocols`; what else the training command must know are class attributes and methods of
`zoo.tasks.task.Task`.
"""

from zoo.tasks.classification import Classification
from zoo.tasks.contrastive_divergence import ContrastiveDivergence
from zoo.tasks.reconstruction import Reconstruction
from zoo.tasks.regression import Regression
from zoo.tasks.task import Task
from zoo.tasks.wake_sleep import WakeSleep

__all__ = ["Classification", "ContrastiveDivergence", "Reconstruction", "Regression", "Task", "WakeSleep"]
