"""The command line: ``main`` reads it, and each command has a module or a folder of its name."""
