"""``zoo export``."""
