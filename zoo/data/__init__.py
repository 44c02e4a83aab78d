"""Datasets: each module of ``sources`` has a ``load(...)`` that returns `zoo.data.splits.Splits`.

Values stay raw (pixels stay uint8) until a batch is on its device. There `zoo.data.datamodule` augments it and
`zoo.data.preprocess` scales it. Import the module that you need: this package imports none of them.
"""
