"""Maintainers' tools: claims of the recipes, publishing checkpoints, generated result tables. Not in the wheel."""
