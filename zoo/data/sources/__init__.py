"""Datasets, one a file: the ``load(...)`` of each module returns `zoo.data.splits.Splits`."""
