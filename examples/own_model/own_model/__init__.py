"""A net and a dataset of your own: ``zoo --trust own_model train model=spirals_net dataset=spirals``."""

from own_model.data import spirals
from own_model.net import SpiralsNet

__all__ = ["SpiralsNet", "spirals"]
