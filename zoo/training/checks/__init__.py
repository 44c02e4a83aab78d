"""Checks made before anything is written: the config, the data, the stages, the trainer, a net from Python."""
