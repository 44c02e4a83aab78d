"""Analyses of a trained net: likelihood and class activation maps."""
