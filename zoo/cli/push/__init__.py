"""``zoo push``."""
