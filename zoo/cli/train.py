"""``zoo train``: train a model on a dataset. The work is done by `zoo.training.sweep_job`."""

from zoo.training.sweep_job import train as train

if __name__ == "__main__":
    from zoo.cli.main import main

    main("train")
