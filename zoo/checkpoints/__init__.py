"""Saved weights: the zoo's own checkpoint format, and pretrained weights from other projects."""
