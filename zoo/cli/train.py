"""``zoo train``: train a model on a dataset. The work is done by `zoo.training.run`."""

from zoo.training.run import train as train

if __name__ == "__main__":
    from zoo.cli.main import main

    main("train")
