"""``zoo train``: train a model on a dataset. The work is done by `zoo.training.run`."""

from zoo.training.run import train as train
