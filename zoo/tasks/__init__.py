"""Training objectives: one LightningModule per file. A config sets which task trains a net.

A task takes ``(net, layer=None)``, registers the whole net, and trains all of it or one layer. `zoo.tasks.task.Task` is
the base class of all tasks. The methods that a task needs of its net are protocols of `zoo.protocols`.
"""

from zoo.tasks.classification import Classification
from zoo.tasks.contrastive_divergence import ContrastiveDivergence
from zoo.tasks.multi_label import MultiLabelClassification
from zoo.tasks.reconstruction import Reconstruction
from zoo.tasks.regression import Regression
from zoo.tasks.task import Task
from zoo.tasks.wake_sleep import WakeSleep

__all__ = [
    "Classification",
    "ContrastiveDivergence",
    "MultiLabelClassification",
    "Reconstruction",
    "Regression",
    "Task",
    "WakeSleep",
]
