"""Datasets: the ``load(...)`` of each module returns `zoo.data.splits.Splits`."""
