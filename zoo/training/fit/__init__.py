"""One fit: the data, the trainer with its settings and callbacks, the progress display and the log."""
