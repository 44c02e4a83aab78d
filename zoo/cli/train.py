"""``zoo train``: train a model on a dataset. The work is done by `zoo.training.run`."""

from zoo.training.run import train as train

# Lightning starts the other processes of a run with several processes as ``python FILE KEY=VALUE …``.
if __name__ == "__main__":
    from zoo.cli.main import main

    main("train")
