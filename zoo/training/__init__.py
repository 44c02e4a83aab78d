"""One training run: checks, stages, the trainer and its callbacks, signals, logs and sweeps."""
