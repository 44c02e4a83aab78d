"""Datasets, one a file: each module's ``load(...)`` returns `zoo.data.splits.Splits`."""
