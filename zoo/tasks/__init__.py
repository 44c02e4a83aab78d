"""Training objectives: one LightningModule a file, joined to a net by a config.

A task takes ``(net, layer=None)``, registers the whole net, and trains all of it or one layer. `zoo.tasks.task.Task` is
the base of all; what a task asks of the net is a protocol of `zoo.protocols`.
"""

from zoo.tasks.classification import Classification
from zoo.tasks.contrastive_divergence import ContrastiveDivergence
from zoo.tasks.reconstruction import Reconstruction
from zoo.tasks.regression import Regression
from zoo.tasks.task import Task
from zoo.tasks.wake_sleep import WakeSleep

__all__ = ["Classification", "ContrastiveDivergence", "Reconstruction", "Regression", "Task", "WakeSleep"]
