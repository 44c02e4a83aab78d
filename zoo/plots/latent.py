"""Map of latent codes."""

from zoo.plots.images import CODE_MAPS as LATENT_MAPS

__all__ = ["LATENT_MAPS"]
