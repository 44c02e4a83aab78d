"""Saved weights: the zoo's own checkpoints, and pretrained weights from other projects."""
