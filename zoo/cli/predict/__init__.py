"""``zoo predict``; its inputs and checks also serve ``zoo explain`` and ``zoo embed``."""
