"""Figures: plain values in, image files or matplotlib figures out."""
