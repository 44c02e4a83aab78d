"""Curves."""

from zoo.plots.images import confusion, curves

__all__ = ["confusion", "curves"]
