"""The input of a layer."""

from zoo.tasks.encoded import Encoded as LayerInput

__all__ = ["LayerInput"]
