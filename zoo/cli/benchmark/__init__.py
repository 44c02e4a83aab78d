"""``zoo benchmark``."""
