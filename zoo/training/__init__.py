"""One training run: its checks, its stages, the fits, signals, outputs, and sweeps of many runs."""
