"""What is learned from: each source is a module whose ``load(...)`` gives `zoo.data.splits.Splits`.

Raw values stay raw (bytes stay bytes) until a batch is on its device; there `zoo.data.datamodule` augments and
`zoo.data.preprocess` scales it. Whoever wants one part imports that module.
"""
