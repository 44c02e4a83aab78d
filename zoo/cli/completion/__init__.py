"""``zoo completion``."""
