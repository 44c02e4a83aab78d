"""The base of every task."""

from zoo.tasks.fitting import Fitting as Task

__all__ = ["Task"]
