"""``zoo embed``."""
