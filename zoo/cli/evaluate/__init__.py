"""``zoo evaluate``."""
