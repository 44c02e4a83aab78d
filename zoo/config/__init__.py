"""Configuration: where ``conf/`` is, how it is composed and checked, and what may be built from it."""
